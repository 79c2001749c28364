"""FlowPretraining: its objective in NumPy, and that it learns a translation."""

import keras
import numpy as np
import pytest
from checks import BACKEND, JIT, assert_close, check_step, round_trip

from keras_attn.models import FlowPretraining
from keras_attn.models.flow_pretraining import _area_mean

pytestmark = pytest.mark.usefixtures("small_flownet")


def _translated(rng, x=3, y=-2, side=64):
    """Two frames of a smooth texture that moves by (x, y) pixels, and its flow."""
    coarse = rng.random((1, 12, 12, 3), dtype="float32")
    texture = keras.ops.image.resize(255 * coarse, (side + 8, side + 8), "bicubic")
    texture = keras.ops.convert_to_numpy(texture)
    first = texture[:, 4 : 4 + side, 4 : 4 + side]
    second = texture[:, 4 - y : 4 - y + side, 4 - x : 4 - x + side]
    flow = np.broadcast_to(np.array([x, y], "float32"), (1, side, side, 2))
    return np.concatenate([first, second], axis=-1), flow


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
    assert round_trip(model).config["relaxation"] == 0.2
    model.compile("sgd", jit_compile=JIT)
    frames = rng.integers(0, 256, (3, 64, 96, 6)).astype("float32")
    flow = 5 * rng.normal(size=(3, 64, 96, 2)).astype("float32")
    predicted = model.predict(frames, verbose=0)
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
    frames, flow = _translated(rng)
    model = FlowPretraining((64, 64, 6))
    model.compile(keras.optimizers.Adam(1e-3), jit_compile=JIT)
    history = model.fit(frames, flow, epochs=25, verbose=0).history
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert history["endpoint_error"][-1] < 0.5 * np.hypot(3, 2) < history["endpoint_error"][0]


@pytest.mark.skipif(BACKEND == "jax", reason="JAX takes long to build it")
@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains(rng, policy, dtype):
    frames, flow = _translated(rng)
    policy(dtype)
    model = FlowPretraining((64, 64, 6))
    check_step(model, frames, flow)
    for predicted in model.predict(frames, verbose=0):
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
