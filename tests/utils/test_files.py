"""Files are whole or absent, whatever happens while they are written."""

import errno
import hashlib
import os
import subprocess
import sys

import pytest

from keras_attn.errors import UserError
from keras_attn.utils import files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_write_and_read(tmp_path):
    path = tmp_path / "new" / "folder" / "a.json"
    files.write_json(path, {"ä": [1, 2.5, None]})
    assert files.read_json(path) == {"ä": [1, 2.5, None]}
    assert "ä" in path.read_text(encoding="utf-8")
    files.write_atomic(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff" and names(path.parent) == ["a.json"]
    assert files.sha256(path) == hashlib.sha256(b"\x00\xff").hexdigest()


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt(), OSError("odd")])
def test_a_failure_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.bin"
    files.write_atomic(path, b"old")
    with pytest.raises(type(error)), files.staging(path) as beside:
        assert beside.parent == path.parent and beside.suffix == ".bin"
        beside.write_bytes(b"new")
        raise error
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_disk_names_the_file_and_the_room(tmp_path, monkeypatch, number):
    path = tmp_path / "a.bin"
    files.write_atomic(path, b"old")

    def full(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=rf"a\.bin: could not be .*{os.strerror(number)}.* free"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a.bin"]


def test_a_file_in_the_place_of_a_folder_is_an_error_of_the_user(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"file/a\.bin: could not be written"):
        files.write_atomic(tmp_path / "file" / "a.bin", b"new")


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_a_process_that_dies_leaves_old_or_new(tmp_path, moment):
    path = tmp_path / "a.bin"
    files.write_atomic(path, b"old")
    patch = {
        "write": "pathlib.Path.write_bytes = lambda self, data: os._exit(9)",
        "fsync": "os.fsync = lambda handle: os._exit(9)",
        "replace": "os.replace = lambda *paths: os._exit(9)",
    }[moment]
    code = (
        "import os, pathlib, sys\nfrom keras_attn.utils import files\n"
        f"{patch}\nfiles.write_atomic(sys.argv[1], b'new')\n"
    )
    assert subprocess.run([sys.executable, "-c", code, path]).returncode == 9
    assert path.read_bytes() == b"old"
    assert len(names(tmp_path)) == (1 if moment == "write" else 2)
    (tmp_path / ".hidden-file").touch()
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == [".hidden-file", "a.bin"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"{", "not valid JSON"), (b"\xff\xfe", "not valid JSON")],
)
def test_reading_json_names_the_file(tmp_path, content, message):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.json: .*{message}"):
        files.read_json(path)
