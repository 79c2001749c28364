"""A frame at several scales, and the median-filtered dense flow between two frames at each.

Wang & Schmid, ICCV 2013: Farnebäck's flow, from the coarsest scale to the finest, with a median
filter after each scale; the flow of a scale begins with that of the coarser one.
"""

import numpy as np

from keras_attn.errors import require

PER_OCTAVE = 2  # scales from a size to half of it
MOST_SCALES = 8
MINIMUM_SIDE = 32  # pixels of the short side

_FARNEBACK = {"winsize": 10, "iterations": 2, "poly_n": 7, "poly_sigma": 1.5}
_MEDIAN = 5  # pixels
SETTINGS = {
    "per_octave": PER_OCTAVE,
    "scales": MOST_SCALES,
    "minimum_side": MINIMUM_SIDE,
    "farneback": _FARNEBACK,
    "median": _MEDIAN,
}


def factor(level: int) -> float:
    """The full size over that of a level, from 0."""
    return 2 ** (level / PER_OCTAVE)  # exact where it is whole


def sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Height and width at each scale, the full size first.

    Raises `ValueError` for frames with a side below 32 pixels.
    """
    if min(height, width) < MINIMUM_SIDE:
        raise ValueError(
            f"frames must be at least {MINIMUM_SIDE} x {MINIMUM_SIDE} pixels, since a descriptor "
            f"covers that much, got {height} x {width}"
        )
    found = []
    while len(found) < MOST_SCALES and min(height, width) / factor(len(found)) >= MINIMUM_SIDE:
        smaller = factor(len(found))
        found.append((round(height / smaller), round(width / smaller)))
    return found


def pyramid(gray) -> list[np.ndarray]:
    """A gray frame at each scale of `sizes`: `(H, W)` uint8 -> list of `(h, w)` uint8."""
    cv2 = require("cv2", "trajectories")
    levels = [gray]
    for height, width in sizes(*gray.shape)[1:]:
        levels.append(cv2.resize(levels[-1], (width, height), interpolation=cv2.INTER_LINEAR))
    return levels


def flows(first, second) -> list[np.ndarray]:
    """Flow from the pyramid `first` to the pyramid `second` at each scale.

    Shapes: two lists of `(h, w)` uint8 -> list of `(h, w, 2)` float32, in pixels of the scale.
    """
    cv2 = require("cv2", "trajectories")
    flags = cv2.OPTFLOW_USE_INITIAL_FLOW | cv2.OPTFLOW_FARNEBACK_GAUSSIAN
    flow, found = None, []
    for before, after in zip(reversed(first), reversed(second), strict=True):
        height, width = before.shape
        if flow is None:
            flow = np.zeros((height, width, 2), "float32")
        else:
            flow = factor(1) * cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
        flow = cv2.calcOpticalFlowFarneback(  # this scale alone: ours are the levels
            before, after, flow, pyr_scale=0.5, levels=0, flags=flags, **_FARNEBACK
        )
        flow = cv2.merge([cv2.medianBlur(part, _MEDIAN) for part in cv2.split(flow)])
        found.append(flow)
    return found[::-1]
