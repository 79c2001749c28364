"""Flow as bytes, 20 pixels to either side of no motion, and .flo files."""

import struct
from pathlib import Path

import numpy as np
from keras import ops

from keras_attn.errors import DataError
from keras_attn.utils.files import write_atomic

BOUND = 20.0  # pixels per frame at the bytes 0 and 255, as in the TSN tools

_LEVELS = 255
_SCALE = _LEVELS / (2 * BOUND)  # levels per pixel
_HEADER = struct.Struct("<fii")  # the mark, width, height
_MARK = 202021.25  # reads "PIEH" in bytes
_LONGEST_SIDE = 2**16


def to_bytes(flow):
    """Quantize flow: `round(255 * (v + 20) / 40)`, halves to even, clipped at the bound.

    Shapes: `(...) -> (...)`, to uint8. No motion is 128; inside the bound a value returns from
    `from_bytes` to within 40 / 510 of a pixel. The TSN tools' code (Wang et al., ECCV 2016).

    Args:
        flow: Finite numbers in pixels per frame.
    """
    flow = ops.cast(ops.convert_to_tensor(flow), "float32")
    return ops.cast(ops.clip(ops.round(flow * _SCALE + _LEVELS / 2), 0, _LEVELS), "uint8")


def from_bytes(planes):
    """Return flow in pixels per frame, float32, from the bytes of `to_bytes`.

    Shapes: `(...) -> (...)`. The byte of no motion, 128, gives half a step, 40 / 510: the scale has
    no level at zero. (A network's input subtracts 128 and has a zero there.)

    Args:
        planes: Bytes of flow.
    """
    return (ops.cast(ops.convert_to_tensor(planes), "float32") - _LEVELS / 2) / _SCALE


def flip(planes, axis=-2):
    """Mirror bytes of flow left to right: reverse the width and invert x.

    Shapes: `(..., C) -> (..., C)` with the components x, y, x, y, ... as channels. Inverting is
    `255 - byte`, so that no motion, 128, becomes 127: the one level that the reference tools
    accept. Flipped twice, planes are as before.

    Args:
        planes: Bytes of flow.
        axis: The width.
    """
    planes = ops.flip(ops.convert_to_tensor(planes), axis)
    horizontal = np.arange(planes.shape[-1]) % 2 == 0
    return ops.where(horizontal, ops.subtract(ops.full_like(planes, _LEVELS), planes), planes)


def read_flo(path) -> np.ndarray:
    """Read the flow `(H, W, 2)`, float32, of a .flo file (Middlebury; FlyingChairs, Sintel).

    Args:
        path: The file.

    Raises:
        DataError: When the file is missing, not a .flo file, or not as long as its size says.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror})") from None
    if len(data) < _HEADER.size:
        raise DataError(f"{path}: no .flo file: {len(data)} bytes, and the header alone has 12")
    mark, width, height = _HEADER.unpack_from(data)
    if mark != _MARK:
        raise DataError(f"{path}: no .flo file: it begins with {data[:4]!r}, expected b'PIEH'")
    if not (0 < width <= _LONGEST_SIDE and 0 < height <= _LONGEST_SIDE):
        raise DataError(f"{path}: the .flo file says {width} x {height} pixels; it is damaged")
    expected = _HEADER.size + 8 * width * height
    if len(data) != expected:
        raise DataError(
            f"{path}: {len(data)} bytes, expected {expected} for flow of {width} x {height} "
            "pixels; the .flo file is cut short or damaged: copy or make it again"
        )
    flow = np.frombuffer(data, "<f4", offset=_HEADER.size).reshape(height, width, 2)
    return flow.astype("float32")


def write_flo(path, flow) -> None:
    """Write flow to a .flo file, whole or not at all.

    Args:
        path: The file.
        flow: Array (H, W, 2), x then y, in pixels.

    Raises:
        ValueError: For another shape.
        UserError: When the file cannot be written.
    """
    flow = np.asarray(flow)
    if flow.ndim != 3 or flow.shape[-1] != 2 or 0 in flow.shape:
        raise ValueError(f"flow must have the shape (H, W, 2), got {flow.shape}")
    height, width, _ = flow.shape
    data = np.ascontiguousarray(flow, "<f4").tobytes()
    write_atomic(path, _HEADER.pack(_MARK, width, height) + data)
