"""Read the frames of one video file in a worker process with limits of memory and time."""

import numpy as np

from keras_attn.decoding.pool import Pool
from keras_attn.errors import DataError


def read_frames(
    path, short_side: int = 256, *, memory_gib=2.0, timeout: float = 60.0, max_bytes=2**30
) -> tuple[np.ndarray, dict]:
    """Frames `(n, H, W, 3)` uint8 RGB of a video file, and facts about the file.

    The shorter of H and W is `short_side`; a smaller video keeps its size, since enlarging adds
    nothing that a model could see. `info` has `frames`, `promised`, `fps`, `width`, `height` (of
    the file), `bytes` and `sha256`. Raises `DataError` with the path, the problem and the remedy
    for a file that is damaged in any part, needs more than `memory_gib` or `timeout` seconds, or
    whose frames take more than `max_bytes`: 1 GiB holds 2.7 minutes of 256 x 341 pixels at 25
    frames per second.
    """
    request = {
        "operation": "frames",
        "path": str(path),
        "short_side": short_side,
        "max_bytes": max_bytes,
    }
    with Pool(1, int(memory_gib * 2**30), timeout) as pool:
        answer = next(pool.map([request]))
    if answer.reason:
        raise DataError(f"{path}: {answer.reason}")
    height, width = answer.info["stored_height"], answer.info["stored_width"]
    frames = np.frombuffer(b"".join(answer.result), np.uint8)
    return frames.reshape(-1, height, width, 3), answer.info
