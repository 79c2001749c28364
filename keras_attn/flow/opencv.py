"""OpenCV's flow methods on NumPy frames: DIS, Farnebäck and TV-L1."""

import numpy as np

from keras_attn.errors import UserError, require

SETTINGS = {
    "dis": {"preset": "medium"},
    "farneback": {
        "pyr_scale": 0.5,
        "levels": 5,
        "winsize": 15,
        "iterations": 3,
        "poly_n": 5,
        "poly_sigma": 1.1,
    },
    # The class's own defaults, written out: they are what the TSN tools use.
    "tvl1_opencv": {
        "tau": 0.25,
        "lambda": 0.15,
        "theta": 0.3,
        "nscales": 5,
        "warps": 5,
        "epsilon": 0.01,
        "innnerIterations": 30,
        "outerIterations": 10,
        "scaleStep": 0.8,
        "gamma": 0.0,
        "medianFiltering": 5,
    },
}
_MINIMUM_SIDE = 16  # DIS and Farnebäck fail on, or read beyond, frames with a shorter side


def opencv_flow(first, second, method):
    """Estimate flow between gray frames with OpenCV, one pair after the other.

    Shapes: `(B, H, W), (B, H, W) -> (B, H, W, 2)`, uint8 to float32; x, then y, in pixels. Frames
    with a side below 16 are mirrored out to 16 before, since DIS takes none so small. A pair of
    constant frames has zero flow.

    Kroeger et al., ECCV 2016 (DIS); Farnebäck, SCIA 2003; Zach et al., DAGM 2007 (TV-L1).

    Args:
        first, second: Frames.
        method: A key of `SETTINGS`.

    Raises:
        UserError: When OpenCV, or its contrib part that TV-L1 needs, is not installed.
    """
    calculate = _CALCULATORS[method]()
    flows = np.zeros((*first.shape, 2), "float32")
    height, width = first.shape[1:]
    margins = ((0, max(0, _MINIMUM_SIDE - height)), (0, max(0, _MINIMUM_SIDE - width)))
    for flow, *pair in zip(flows, first, second, strict=True):
        if any(np.ptp(frame) for frame in pair):
            before, after = (np.pad(frame, margins, "symmetric") for frame in pair)
            flow[:] = calculate(before, after)[:height, :width]
    return flows


def _dis():
    cv2 = require("cv2", "DIS flow")
    presets = {"medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM}
    flow = cv2.DISOpticalFlow_create(presets[SETTINGS["dis"]["preset"]])
    return lambda first, second: flow.calc(first, second, None)


def _farneback():
    cv2 = require("cv2", "Farnebäck flow")

    def calculate(first, second):
        return cv2.calcOpticalFlowFarneback(first, second, None, **SETTINGS["farneback"], flags=0)

    return calculate


def _tvl1():
    cv2 = require("cv2", "OpenCV's TV-L1 flow")
    if not hasattr(cv2, "optflow"):
        raise UserError(
            "OpenCV's TV-L1 flow needs the contrib modules, which this OpenCV lacks: "
            "pip install opencv-contrib-python-headless in place of it (one OpenCV wheel only), "
            "or choose the method tvl1, which needs no OpenCV"
        )
    settings = SETTINGS["tvl1_opencv"]
    keywords = {"lambda_" if name == "lambda" else name: x for name, x in settings.items()}
    flow = cv2.optflow.DualTVL1OpticalFlow_create(**keywords)
    return lambda first, second: flow.calc(first, second, None)


_CALCULATORS = {"dis": _dis, "farneback": _farneback, "tvl1_opencv": _tvl1}
