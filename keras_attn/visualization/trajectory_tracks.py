"""Trajectories drawn over a frame: green tails, and a red head where each point is now."""

import numpy as np

from keras_attn.errors import require

_GREEN, _RED = (0, 255, 0), (255, 0, 0)
_PARTS = 4  # bits of a pixel's fraction that OpenCV draws with


def draw(frames, trajectories, number: int | None = None) -> np.ndarray:
    """Frame `number` of a video with the trajectories that pass through it.

    Shapes: `(T, H, W, 3)` uint8 RGB -> `(H, W, 3)` uint8. Without a `number`: the frame that most
    trajectories have come to. Raises `ValueError` for a number that is not a frame's, `UserError`
    without OpenCV.
    """
    if number is None:
        number = busiest_frame(trajectories, len(frames))
    if not 0 <= number < len(frames):
        raise ValueError(f"number must be from 0 to {len(frames) - 1}, got {number}")
    cv2 = require("cv2", "drawing trajectories")
    picture = np.array(frames[number], "uint8", order="C")
    ages = number - trajectories.first
    here = (ages > 0) & (ages < trajectories.positions.shape[1])
    paths = np.rint(trajectories.positions * 2**_PARTS).astype("int32")
    tails = [path[: age + 1] for path, age in zip(paths[here], ages[here], strict=True)]
    cv2.polylines(picture, tails, False, _GREEN, 1, cv2.LINE_AA, _PARTS)
    for tail in tails:
        head = tuple(tail[-1].tolist())
        cv2.circle(picture, head, 1 << _PARTS, _RED, cv2.FILLED, cv2.LINE_AA, _PARTS)
    return picture


def busiest_frame(trajectories, length: int) -> int:
    """The frame, of `length`, that most trajectories have come to, the first of several."""
    arrivals = trajectories.first[:, None] + np.arange(1, trajectories.positions.shape[1])
    return int(np.bincount(arrivals.ravel(), minlength=length).argmax())
