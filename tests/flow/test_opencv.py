"""OpenCV's flow methods, and what `estimate` asks of frames, whatever the method."""

import cv2
import numpy as np
import pytest

from keras_attn import flow
from keras_attn.errors import UserError
from keras_attn.flow import codec
from keras_attn.flow.tvl1 import tvl1

OPENCV = ("dis", "farneback", "tvl1_opencv")


def moving(rng, x, y, height=60, width=75):
    """Two pairs `(2, H, W)` of smooth uint8 frames that move by whole pixels."""
    margin = 6
    frames = rng.normal(size=(height + 2 * margin, width + 2 * margin, 2))
    frames = cv2.GaussianBlur(frames, (0, 0), 2.5).transpose(2, 0, 1)
    frames = np.clip(127 + 40 * frames / frames.std(), 0, 255).astype("uint8")
    first, second = (
        frames[:, margin - b : margin - b + height, margin - a : margin - a + width]
        for a, b in ((0, 0), (x, y))
    )
    return first, second


@pytest.mark.parametrize("method", OPENCV)
def test_known_motion_is_found(rng, method):
    first, second = moving(rng, 3, -2)
    found = flow.estimate(first, second, method)
    assert found.dtype == np.float32 and found.shape == (2, 60, 75, 2)
    errors = np.linalg.norm(found - [3, -2], axis=-1)[:, 8:-8, 8:-8]
    assert errors.mean() < 0.1
    floats = flow.estimate(first + 0.3, second.astype("float64"), method)
    np.testing.assert_array_equal(floats, found)  # rounded, since OpenCV takes bytes


@pytest.mark.parametrize("method", OPENCV)
def test_colors_become_gray_as_in_opencv(rng, method):
    first, second = moving(rng, 1, 0, 40, 50)
    colors = [np.stack([x, x[:, ::-1], x[:, :, ::-1]], axis=-1) for x in (first, second)]
    gray = [np.stack([cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in y]) for y in colors]
    found, expected = flow.estimate(*colors, method), flow.estimate(*gray, method)
    assert np.abs(found - expected).mean() < 0.02  # a byte may be rounded the other way


@pytest.mark.parametrize("method", OPENCV)
@pytest.mark.parametrize("size", [(1, 1), (8, 40), (12, 400), (17, 5), (16, 16)])
def test_small_and_constant_frames(rng, method, size):
    first, second = rng.integers(0, 256, (2, 3, *size), dtype="uint8")
    first[1], second[1] = 70, 70
    first[2], second[2] = 0, 255
    found = flow.estimate(first, second, method)
    assert found.shape == (3, *size, 2) and np.isfinite(found).all()
    assert not found[1:].any()
    assert flow.estimate(first[:0], second[:0], method).shape == (0, *size, 2)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((2, 8, 9)), np.zeros((2, 9, 8)), r"\(2, 8, 9\) and \(2, 9, 8\); resize"),
        (np.zeros((2, 8, 9)), np.zeros((3, 8, 9)), "one shape"),
        (np.zeros((8, 9)), np.zeros((8, 9)), r"first must be \(B, H, W\) or .* got \(8, 9\)"),
        (np.zeros((2, 8, 9, 3)), np.zeros((2, 8, 9, 4)), "second must be"),
        (np.zeros((2, 0, 9)), np.zeros((2, 0, 9)), "first must have pixels"),
        (np.full((2, 8, 9), np.nan), np.zeros((2, 8, 9)), "first must be finite"),
        (np.zeros((2, 8, 9)), np.full((2, 8, 9), np.inf), "second must be finite"),
    ],
)
@pytest.mark.parametrize("method", flow.METHODS)
def test_frames_that_cannot_be_used(first, second, message, method):
    with pytest.raises(ValueError, match=message):
        flow.estimate(first, second, method)


def test_methods_and_their_settings():
    for method in flow.METHODS:
        settings = flow.settings(method)
        assert settings and settings == flow.settings(method)
        settings.clear()
        assert flow.settings(method)  # a copy
    for function in (flow.settings, lambda name: flow.estimate(*np.zeros((2, 1, 8, 9)), name)):
        with pytest.raises(ValueError, match="method must be one of tvl1, dis, .*, got 'lk'"):
            function("lk")


def test_the_settings_are_those_in_use():
    ours, theirs = flow.settings("tvl1"), flow.settings("tvl1_opencv")
    opencv = cv2.optflow.DualTVL1OpticalFlow_create()
    assert (ours["tau"], ours["lambda_"], ours["theta"]) == (
        opencv.getTau(),
        opencv.getLambda(),
        opencv.getTheta(),
    )
    assert (ours["scales"], ours["scale_step"], ours["warps"], ours["iterations"]) == (
        opencv.getScalesNumber(),
        opencv.getScaleStep(),
        opencv.getWarpingsNumber(),
        opencv.getInnerIterations(),
    )
    assert (theirs["epsilon"], theirs["outerIterations"], theirs["medianFiltering"]) == (
        opencv.getEpsilon(),
        opencv.getOuterIterations(),
        opencv.getMedianFiltering(),
    )


def test_opencv_without_its_contrib_part_is_named(monkeypatch):
    monkeypatch.delattr(cv2, "optflow")
    frames = np.eye(9)[None]
    with pytest.raises(UserError, match=r"contrib.*or choose the method tvl1, which needs no"):
        flow.estimate(frames, frames, "tvl1_opencv")


@pytest.mark.real
def test_real_frames_are_matched_as_well_as_by_opencv(shared_data):
    folder = shared_data / "flow"
    rows, columns = slice(150, 246), slice(200, 328)
    first, second = (
        cv2.imread(str(folder / f"0000003-img{i}.ppm"), cv2.IMREAD_GRAYSCALE)[None, rows, columns]
        for i in (0, 1)
    )
    truth = codec.read_flo(folder / "0000003-gt.flo")[rows, columns]
    estimates = np.asarray(tvl1(first, second)), flow.estimate(first, second, "tvl1_opencv")
    ours, theirs = (np.linalg.norm(x[0] - truth, axis=-1).mean() for x in estimates)
    still = np.linalg.norm(truth, axis=-1).mean()
    assert ours < 1.05 * theirs
    assert ours < 0.5 * still
