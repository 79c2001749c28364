"""TV-L1 against loops in NumPy, on motions that are known, and as part of a model."""

import keras
import numpy as np
import pytest
from checks import BACKEND, assert_close, compiled, numpy

from keras_attn import flow
from keras_attn.flow import tvl1 as module
from keras_attn.flow.tvl1 import TVL1, tvl1
from keras_attn.testing import check_layer
from keras_attn.testing.layer_contract import copy_from_config

# Off the defaults, quick to run, and with a second scale from 18 pixels a side on.
SHORT = dict(tau=0.2, lambda_=0.05, theta=0.4, scales=2, scale_step=0.9, warps=2, iterations=3)


def pattern(height, width, x=0.0, y=0.0, seed=0):
    """A smooth frame, 0 to 255, whose contents lie (x, y) further than without."""
    rows, columns = np.mgrid[:height, :width].astype("float64")
    waves = np.random.default_rng(seed).uniform(0.1, 0.45, (6, 3)) * [1, 1, 14]
    value = sum(np.sin(a * (columns - x) + b * (rows - y) + c) for a, b, c in waves)
    across = sum(np.sin(a * (columns - x) - b * (rows - y) - c) for a, b, c in waves)
    return (127.5 + 10.6 * (value + across)).astype("float32")


def moving(height, width, x, y, seeds=(0, 1)):
    """Pairs of a moving `pattern`, one for each seed: two of `(B, H, W)`."""
    first = np.stack([pattern(height, width, seed=seed) for seed in seeds])
    return first, np.stack([pattern(height, width, x, y, seed) for seed in seeds])


# ---- The reference: the equations of the papers, a pixel at a time, in float64.


def at(x, i, j):
    """The pixel, the border repeated."""
    height, width = x.shape
    return x[min(max(i, 0), height - 1), min(max(j, 0), width - 1)]


def between(x, i, j):
    top, left = int(np.floor(i)), int(np.floor(j))
    a, b = i - top, j - left
    upper = (1 - b) * at(x, top, left) + b * at(x, top, left + 1)
    return (1 - a) * upper + a * ((1 - b) * at(x, top + 1, left) + b * at(x, top + 1, left + 1))


def shrunk(x, size):
    scale = [old / new for old, new in zip(x.shape, size, strict=True)]
    result = np.zeros(size)
    for i, j in np.ndindex(size):
        place = [(k + 0.5) * s - 0.5 for k, s in zip((i, j), scale, strict=True)]
        result[i, j] = between(x, *np.clip(place, 0, np.array(x.shape) - 1))
    return result


def slopes(x):
    across, down = np.zeros(x.shape), np.zeros(x.shape)
    for i, j in np.ndindex(x.shape):
        for step, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
            across[i, j] += weight * at(x, i, j + step) / 12
            down[i, j] += weight * at(x, i + step, j) / 12
    return across, down


def threshold(rho, slope, reach):
    """Zach et al., the proposition that solves for v: the step from u, x or y."""
    squares = slope @ slope
    if rho < -reach * squares:
        return reach * slope
    if rho > reach * squares:
        return -reach * slope
    return -rho * slope / squares if squares else 0 * slope


def refined(first, second, u, tau, lambda_, theta, warps, iterations):
    height, width = first.shape
    planes = (second, *slopes(second))
    p = np.zeros((2, 2, height, width))  # of u_x and u_y; along x, along y
    for _ in range(warps):
        start, warped = u.copy(), np.zeros((3, height, width))
        for i, j in np.ndindex(height, width):
            x, y = j + u[0, i, j], i + u[1, i, j]
            if 0 <= x <= width - 1 and 0 <= y <= height - 1:
                warped[:, i, j] = [between(plane, y, x) for plane in planes]
        for _ in range(iterations):
            for i, j in np.ndindex(height, width):
                slope = warped[1:, i, j]
                rho = warped[0, i, j] - first[i, j] + slope @ (u[:, i, j] - start[:, i, j])
                u[:, i, j] += threshold(rho, slope, lambda_ * theta)
                for c in range(2):
                    divergence = p[c, 0, i, j] + p[c, 1, i, j]
                    divergence -= p[c, 0, i, j - 1] if j else 0
                    divergence -= p[c, 1, i - 1, j] if i else 0
                    u[c, i, j] += theta * divergence
            for c, i, j in np.ndindex(2, height, width):
                rise = at(u[c], i, j + 1) - u[c, i, j], at(u[c], i + 1, j) - u[c, i, j]
                p[c, :, i, j] += tau / theta * np.array(rise)
                p[c, :, i, j] /= 1 + tau / theta * np.hypot(*rise)
        around = [
            [[at(x, i + k // 5 - 2, j + k % 5 - 2) for k in range(25)] for x in u]
            for i, j in np.ndindex(height, width)
        ]
        u = np.median(around, axis=-1).T.reshape(2, height, width)
    return u


def reference(first, second, tau, lambda_, theta, scales, scale_step, warps, iterations):
    assert scales == 2
    size = tuple(round(side * scale_step) for side in first.shape)
    u = np.zeros((2, *size))
    arguments = (tau, lambda_, theta, warps, iterations)
    u = refined(shrunk(first, size), shrunk(second, size), u, *arguments)
    u = np.stack([shrunk(x, first.shape) for x in u])
    u *= (np.array(first.shape[::-1]) / size[::-1])[:, None, None]
    return np.moveaxis(refined(first, second, u, *arguments), 0, -1)


# ---- The tests.


def estimated(first, second, **settings):
    """`tvl1`; compiled on JAX, which without compiles every operation and every loop alone."""

    def function(first, second):
        return tvl1(first, second, **(settings or SHORT))

    return numpy((compiled(function) if BACKEND == "jax" else function)(first, second))


def test_it_is_the_loops(rng):
    first, second = moving(18, 23, 0.7, -0.4)
    first[1] += rng.normal(0, 3, (18, 23))
    first[0, 5:9, 3:6] = 7  # flat, where nothing says how it moved
    second[0, 4:10, 2:7] = 7
    shades = np.array([30, 0, 9], "float32"), np.array([-5, 12, 0], "float32")
    colors = [x[..., None] + shade for x, shade in zip((first, second), shades, strict=True)]
    gray = [x.astype("float64") @ [0.299, 0.587, 0.114] for x in colors]
    expected = np.stack([reference(*pair, **SHORT) for pair in zip(*gray, strict=True)])
    assert np.abs(expected).max() > 0.1 and np.abs(expected[0] - expected[1]).max() > 0.1
    assert_close(estimated(*colors), expected, atol=1e-4)


def test_known_motion_is_found_and_turns_with_the_frames():
    motion = np.array([1.75, -1.25])
    first, second = moving(28, 37, *motion)
    pairs = np.concatenate([first, second]), np.concatenate([second, first])
    there, back = np.split(estimated(*pairs, scales=2), 2)
    inside = (slice(None), slice(5, -5), slice(5, -5))
    assert np.abs(there[inside] - motion).max() < 0.1
    assert np.abs(there[inside] + back[inside]).max() < 0.1


def test_constant_frames_and_damaged_pairs_have_no_flow():
    first, second = (
        np.repeat(x[..., None], 3, axis=-1) for x in moving(8, 8, 0.5, 0.3, seeds=[0] * 7)
    )
    first[1], second[1] = 17.1, 17.1
    first[2], second[2] = 70.3, 200.7
    first[3, 4, 5, 2] = np.nan
    second[4, 0, 7, 1] = np.inf
    first[5] = second[5]
    found = estimated(first, second)
    assert not found[1:5].any()
    assert np.abs(found[5]).max() < 1e-5  # nothing moves
    assert np.abs(found[0]).max() > 0.1
    np.testing.assert_array_equal(found[0], found[6])  # whatever its neighbors in the batch


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 2)])
def test_frames_of_any_size(rng, size):
    first, second = rng.integers(0, 256, (2, 2, *size), dtype="uint8")
    found = estimated(first, second)
    assert found.shape == (2, *size, 2)
    assert np.isfinite(found).all()


def test_no_scale_is_smaller_than_16_pixels():
    assert module._sizes((256, 340), 5, 0.8) == [
        (256, 340),
        (205, 272),
        (164, 218),
        (131, 174),
        (105, 139),
    ]
    assert module._sizes((25, 300), 5, 0.8) == [(25, 300), (20, 240), (16, 192)]
    assert module._sizes((8, 8), 5, 0.8) == [(8, 8)]


@pytest.mark.parametrize(
    ("first", "second", "changes", "message"),
    [
        ((2, 8, 9), (2, 9, 8), {}, r"one shape, got \(2, 8, 9\) and \(2, 9, 8\)"),
        ((2, 8, 9), (3, 8, 9), {}, "one shape"),
        ((2, 8, 9, 3), (2, 8, 9), {}, "one shape"),
        ((8, 9), (8, 9), {}, r"first must be \(B, H, W\) or \(B, H, W, 3\), got \(8, 9\)"),
        ((2, 8, 9), (2, 8, 9, 2), {}, "second must be"),
        ((2, 0, 9), (2, 0, 9), {}, "first must have a known height and width"),
        ((2, 8, 9), (2, 8, 9), {"tau": 0}, "tau must be above 0, got 0"),
        ((2, 8, 9), (2, 8, 9), {"lambda_": -1}, "lambda_ must be above 0, got -1"),
        ((2, 8, 9), (2, 8, 9), {"theta": 0}, "theta must be above 0, got 0"),
        ((2, 8, 9), (2, 8, 9), {"scale_step": 1}, "scale_step must be above 0 and below 1"),
        ((2, 8, 9), (2, 8, 9), {"scales": 0}, "scales must be at least 1, got 0"),
        ((2, 8, 9), (2, 8, 9), {"warps": 0}, "warps must be at least 1, got 0"),
        ((2, 8, 9), (2, 8, 9), {"iterations": 0}, "iterations must be at least 1, got 0"),
    ],
)
def test_what_cannot_work_is_said(first, second, changes, message):
    with pytest.raises(ValueError, match=message):
        tvl1(np.zeros(first), np.zeros(second), **changes)


def test_the_layer():
    first, second = moving(8, 11, 0.5, -0.3)
    layer = TVL1(**SHORT)
    assert not layer.weights
    if BACKEND == "jax":
        assert_close(compiled(layer)(first, second), estimated(first, second))
        copy_from_config(layer)
    else:
        assert_close(check_layer(layer, first, second), estimated(first, second))
    assert TVL1().settings == module.SETTINGS
    with pytest.raises(ValueError, match="known height and width"):
        layer(keras.Input((None, 11)), keras.Input((None, 11)))
    with pytest.raises(ValueError, match="theta must be above 0"):
        TVL1(theta=0)


def test_a_model_with_the_layer_is_saved_and_served(tmp_path):
    frames = [keras.Input((9, 12, 3), name=name) for name in ("first", "second")]
    layer = TVL1(**{**SHORT, "scales": 1})
    model = keras.Model(frames, layer(*frames))
    assert model.output_shape == (None, 9, 12, 2)
    pair = [np.repeat(x[..., None], 3, axis=-1) for x in moving(9, 12, 0.5, -0.3)]
    expected = estimated(*pair, **layer.settings)
    assert_close(model.predict(pair, verbose=0), expected, atol=1e-4)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_close(loaded.predict(pair, verbose=0), expected, atol=1e-4)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        model.export(tmp_path / "exported", verbose=False)
        served = tf.saved_model.load(tmp_path / "exported").signatures["serving_default"]
        for count in (1, 2):
            (found,) = served(first=pair[0][:count], second=pair[1][:count]).values()
            assert_close(found, expected[:count], atol=1e-4)


def test_estimates_come_in_pieces_and_are_compiled(monkeypatch):
    first, second = moving(8, 13, 0.5, -0.3, seeds=range(3))
    expected = estimated(first, second, **module.SETTINGS)
    for at_once in (1, 2):
        monkeypatch.setattr(module, "_at_once", lambda pixels, n=at_once: n)
        found = flow.estimate(first, second)
        assert found.dtype == np.float32
        assert_close(found, expected, atol=1e-3)
    assert flow.estimate(first[:0], second[:0]).shape == (0, 8, 13, 2)
    assert module._model((8, 13)).jit_compile


def test_few_pairs_are_not_padded_to_a_full_piece(monkeypatch):
    class Counts:
        seen = []

        def predict_on_batch(self, frames):
            self.seen.append(len(frames[0]))
            return np.zeros((*frames[0].shape, 2), "float32")

    monkeypatch.setattr(module, "_at_once", lambda pixels: 8)
    monkeypatch.setattr(module, "_model", lambda shape: Counts())
    for count in (1, 2, 3, 5, 8, 17):
        frames = np.zeros((count, 4, 6), "uint8")
        assert flow.estimate(frames, frames).shape == (count, 4, 6, 2)
    assert Counts.seen == [1, 2, 4, 8, 8, 8, 8, 8]


def test_pieces_hold_a_bounded_number_of_pixels(monkeypatch):
    assert module._at_once(340 * 256) == 1 or keras.distribution.list_devices("gpu")
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0"])
    assert module._at_once(340 * 256) == 96
    assert module._at_once(4096 * 4096) == 1
