"""Flow as a picture: the color is the direction, its strength the length."""

import numpy as np

from keras_attn.errors import require


def draw(flow, longest: float | None = None) -> np.ndarray:
    """Flow in colors: red is to the right, yellow-green down, cyan to the left, violet up.

    Shapes: `(H, W, 2)`, x then y, in pixels, to `(H, W, 3)` uint8 RGB. No motion is white, motion
    of `longest` pixels or more a full color; by default the longest there is, or 1 if all is less.
    Raises `ValueError` for another shape, values that are not finite or a `longest` not above 0,
    `UserError` without OpenCV.
    """
    flow = np.asarray(flow, "float32")
    if flow.ndim != 3 or flow.shape[-1] != 2:
        raise ValueError(f"flow must be (H, W, 2), got {flow.shape}")
    if not np.isfinite(flow).all():
        raise ValueError("flow must be finite, got NaN or infinite values")
    lengths = np.hypot(flow[..., 0], flow[..., 1])
    longest = max(1.0, float(lengths.max(initial=0))) if longest is None else longest
    if not longest > 0:
        raise ValueError(f"longest must be above 0, got {longest}")
    cv2 = require("cv2", "drawing flow")
    degrees = np.degrees(np.arctan2(flow[..., 1], flow[..., 0])) % 360
    strength = np.minimum(lengths / longest, 1)
    colors = np.stack([degrees, strength, np.ones_like(strength)], axis=-1)
    return np.rint(255 * cv2.cvtColor(colors.astype("float32"), cv2.COLOR_HSV2RGB)).astype("uint8")
