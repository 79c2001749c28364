"""Files that are whole or absent: write to a temporary file, flush, then rename."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path

from keras_attn.errors import UserError

_LEFTOVER = f".{'[0-9a-f]' * 8}-*"  # what `staging` calls its files, as a glob
_CANNOT_WRITE = {
    getattr(errno, name)
    for name in (
        "ENOSPC",
        "EDQUOT",
        "EFBIG",
        "EROFS",
        "EACCES",
        "EPERM",
        "ENOTDIR",
        "EISDIR",
        "EEXIST",
    )
}


@contextlib.contextmanager
def staging(path):
    """Yield a sibling name of `path`; rename it to `path` on success, remove it on failure.

    The name keeps its end, because Keras and PyAV choose a format by it. Raises `UserError` that
    names `path` and the room on its disk when that is full, read-only or not ours; what was at
    `path` before is then still there.
    """
    path = Path(path)
    beside = path.with_name(f".{secrets.token_hex(4)}-{path.name[-80:]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        flush(beside)
        os.replace(beside, path)
        flush(path.parent)
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        raise UserError(f"{path}: could not be written ({error}). {_room(path)}") from error
    finally:
        with contextlib.suppress(NotADirectoryError):
            beside.unlink(missing_ok=True)


def _room(path):
    folder = path.absolute().parent
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return (
        f"{free} bytes ({free / 2**30:.2f} GiB) are free on that disk. Free some, or choose "
        "another place, and run the command again: what is complete is kept."
    )


def make_folder(path) -> None:
    """Create a folder and those above it; `UserError` as of `staging` where that is impossible."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: could not be created ({error}). {_room(path)}") from error


def leftovers(folder) -> set[Path]:
    """Unfinished files in `folder`, of killed processes or of running ones."""
    return set(Path(folder).glob(_LEFTOVER))


def remove_leftovers(folder) -> None:
    """Remove `leftovers`; only for the one process that writes to `folder` (see `locked`)."""
    for path in leftovers(folder):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder, refusal: str = ""):
    """Hold `folder` alone among the processes of this package; the lock ends with the process.

    Yields whether it is held: a file system may have no locks. While another process holds it this
    one waits, or, with a `refusal`, raises `UserError` with that text.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
            held = True
        except BlockingIOError:
            raise UserError(refusal) from None
        except OSError:
            held = False
        yield held
    finally:
        os.close(handle)


@contextlib.contextmanager
def exclusive(folder, refusal: str):
    """`locked` with a refusal, and what killed processes left in `folder` removed at once."""
    with locked(folder, refusal) as held:
        if held:
            remove_leftovers(folder)
        yield


def flush(path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path, data: bytes | str) -> None:
    """Write `data` to `path`; a reader sees the old file or the new one, never a part."""
    data = data.encode() if isinstance(data, str) else data
    with staging(path) as beside:
        beside.write_bytes(data)


def write_json(path, value) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path):
    """Read a JSON file; `UserError` names the file when it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid JSON ({error}); it was changed or damaged") from None


def sha256(path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
