"""Files that are whole or absent: write beside, flush, then rename."""

import contextlib
import hashlib
import json
import os
import secrets
from pathlib import Path

from keras_attn.errors import UserError


@contextlib.contextmanager
def staging(path):
    """Yield a sibling name of `path`; rename it to `path` on success, remove it on failure.

    The name keeps its end, because Keras and PyAV choose a format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{secrets.token_hex(4)}-{path.name[-80:]}")
    try:
        yield beside
        _flush(beside)
        os.replace(beside, path)
        _flush(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _flush(path):
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
