"""Optical flow between frames: our TV-L1 on any backend, and OpenCV's methods."""

import numpy as np

METHODS = ("tvl1", "dis", "farneback", "tvl1_opencv")

GRAY = (0.299, 0.587, 0.114)  # of red, green and blue


def settings(method):
    """Return the settings of `estimate` for a method, as a new dictionary of plain values.

    Args:
        method: One of `METHODS`.

    Raises:
        ValueError: For an unknown method.
    """
    _check_method(method)
    if method == "tvl1":
        from keras_attn.flow.tvl1 import SETTINGS

        return dict(SETTINGS)
    from keras_attn.flow.opencv import SETTINGS

    return dict(SETTINGS[method])


def estimate(first, second, method="tvl1") -> np.ndarray:
    """Estimate the motion from each frame of `first` to the frame of `second` at its place.

    Shapes: `(B, H, W), (B, H, W) -> (B, H, W, 2)`, or from RGB
    `(B, H, W, 3), (B, H, W, 3) -> (B, H, W, 2)`: float32, x, then y, in pixels. A pair of constant
    frames has zero flow.

    Args:
        first: Frames, uint8 or floats from 0 to 255.
        second: Frames of the same shape.
        method: "tvl1", ours; or OpenCV's "dis", "farneback" or "tvl1_opencv".

    Raises:
        ValueError: For an unknown method, another rank, two shapes, and values that are not finite.
        UserError: When OpenCV is needed and not installed.
    """
    _check_method(method)
    first, second = np.asarray(first), np.asarray(second)
    _check_frames(first, second)
    if method == "tvl1":
        from keras_attn.flow.tvl1 import estimate_tvl1

        return estimate_tvl1(first, second)
    from keras_attn.flow.opencv import opencv_flow

    return opencv_flow(gray_bytes(first), gray_bytes(second), method)


def _check_method(method):
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")


def _check_frames(first, second):
    for name, frames in (("first", first), ("second", second)):
        gray = frames.ndim == 3
        if not (gray or (frames.ndim == 4 and frames.shape[-1] == 3)):
            raise ValueError(f"{name} must be (B, H, W) or (B, H, W, 3), got {frames.shape}")
        if 0 in frames.shape[1:]:
            raise ValueError(f"{name} must have pixels, got {frames.shape}")
        if not np.isfinite(frames).all():
            raise ValueError(f"{name} must be finite, got NaN or infinite pixels")
    if first.shape != second.shape:
        raise ValueError(
            f"first and second must have one shape, got {first.shape} and {second.shape}; "
            "resize the frames before"
        )


def gray_bytes(frames) -> np.ndarray:
    """Convert frames to `(B, H, W)` uint8, which OpenCV takes.

    Args:
        frames: `(B, H, W)`, or RGB `(B, H, W, 3)`, 0 to 255.
    """
    frames = np.asarray(frames)
    if frames.ndim == 4:
        frames = frames.astype("float32") @ np.array(GRAY, "float32")
    return np.clip(np.rint(frames), 0, 255).astype("uint8")
