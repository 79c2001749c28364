"""FlowPretraining: its objective in NumPy, and that it learns a translation."""

import keras
import numpy as np
import pytest
from checks import BACKEND, JIT, QUICK, answer, assert_close

from keras_attn.models import FlowPretraining
from keras_attn.models.flow_pretraining import _area_mean
from keras_attn.testing.layer_contract import copy_from_config

pytestmark = pytest.mark.usefixtures("small_flownet")


def _translated(rng, side):
    """Two pairs of a smooth texture that moves by (3, -2) pixels, and back, and their flow."""
    coarse = rng.random((1, side // 6, side // 6, 3), dtype="float32")
    texture = keras.ops.image.resize(255 * coarse, (side + 8, side + 8), "bicubic")
    texture = keras.ops.convert_to_numpy(texture)[0]
    moves = np.array([(3, -2), (-3, 2)])
    first = texture[4 : 4 + side, 4 : 4 + side]
    seconds = [texture[4 - y : 4 - y + side, 4 - x : 4 - x + side] for x, y in moves]
    frames = np.stack([np.concatenate([first, second], axis=-1) for second in seconds])
    flow = moves[:, None, None].astype("float32") * np.ones((side, side, 1), "float32")
    return frames, flow


def test_area_mean(rng):
    flow = rng.normal(size=(2, 6, 7, 2)).astype("float32")
    blocks = flow[:, :, :6].reshape(2, 3, 2, 2, 3, 2).mean((2, 4))
    assert_close(_area_mean(flow[:, :, :6], 3, 2), blocks)
    uneven = np.zeros((2, 4, 7, 2))  # four rows of 1.5
    for i in range(4):
        for row in range(6):
            share = max(min(row + 1, 1.5 * i + 1.5) - max(row, 1.5 * i), 0) / 1.5
            uneven[:, i] += share * flow[:, row]
    assert_close(_area_mean(flow, 4, 7), uneven)


def test_objective_equals_numpy(rng):
    model = FlowPretraining((64, 96, 6), relaxation=0.2)
    assert copy_from_config(model).config["relaxation"] == 0.2
    model.compile("sgd", **QUICK)
    frames = rng.integers(0, 256, (3, 64, 96, 6)).astype("float32")
    flow = 5 * rng.normal(size=(3, 64, 96, 2)).astype("float32")
    predicted = answer(model, frames)
    assert [x.shape[1:3] for x in predicted] == [(16, 24), (8, 12), (4, 6), (2, 3), (2, 3)]
    expected = 0
    for weight, x in zip((1.28, 0.64, 0.32, 0.32, 0.32), predicted, strict=True):
        height, width = x.shape[1:3]
        true = flow.reshape(3, height, 64 // height, width, 96 // width, 2).mean((2, 4)) / 20
        excess = np.maximum(np.abs(x - true) - 0.2 * np.abs(true), 0)  # eq. (4)
        expected += weight * np.mean(np.sum(excess**2, axis=-1))
    fine = flow.reshape(3, 16, 4, 24, 4, 2).mean((2, 4))
    distances = np.sqrt(np.sum((20 * predicted[0] - fine) ** 2, axis=-1))
    logs = model.evaluate(frames, flow, batch_size=3, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-4)
    np.testing.assert_allclose(logs["endpoint_error"], distances.mean(), rtol=1e-4)


def test_it_learns_a_translation(rng):
    frames, flow = _translated(rng, 32)
    model = FlowPretraining((32, 32, 6))
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=JIT)
    history = model.fit(frames, flow, epochs=25, verbose=0).history
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    # What does not look at the frames errs by no less than the length of the flow.
    assert history["endpoint_error"][-1] < 0.7 * np.hypot(3, 2) < history["endpoint_error"][0]


@pytest.mark.skipif(BACKEND == "jax", reason="JAX takes long to build it")
@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains(rng, policy, dtype):
    frames, flow = _translated(rng, 64)
    policy(dtype)
    model = FlowPretraining((64, 64, 6))
    # Scaled less than Keras does at first: sums over the levels would overflow.
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), 2**10), **QUICK)
    before = model.get_weights()
    logs = model.train_on_batch(frames, flow, return_dict=True)
    assert np.isfinite(list(logs.values())).all()
    after = model.get_weights()
    assert all(np.isfinite(w).all() for w in after)
    assert any(np.any(old != new) for old, new in zip(before, after, strict=True))
    for predicted in answer(model, frames):
        assert predicted.dtype == np.float32 and np.isfinite(predicted).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"attention_network": "tiny"}, "attention_network must be one of flownet_s.*'tiny'"),
        ({"input_shape": (64, 64, 3)}, r"input_shape must be \(H, W, 6\), got \(64, 64, 3\)"),
        ({"relaxation": -0.1}, "relaxation must be at least 0, got -0.1"),
    ],
)
def test_arguments_that_cannot_work(arguments, message):
    with pytest.raises(ValueError, match=message):
        FlowPretraining(**arguments)
