"""Pyramid attention: what its weights are, what it does not depend on, and when it cannot learn."""

import keras
import numpy as np
import pytest
from checks import BACKEND, answer, assert_close, gradient, numpy
from keras import ops

from keras_attn import losses
from keras_attn.layers import PyramidAttention
from keras_attn.layers.pyramid_attention import unit_columns
from keras_attn.testing import check_layer

SHAPE = (2, 3, 2, 4)  # B, T, h, w: 24 cells in, 8 out
CHANNELS = (5, 7, 6)


@pytest.fixture
def levels(rng):
    return [rng.normal(size=(*SHAPE, c)).astype("float32") for c in CHANNELS]


def _built(rng, levels, **arguments):
    layer = PyramidAttention(**arguments)
    layer.build([level.shape for level in levels])
    layer.set_weights([rng.normal(size=w.shape) / 2 for w in layer.weights])
    return layer


@pytest.mark.parametrize("mode, columns", [("interaction", 8), ("shared", 1)])
def test_contract(levels, mode, columns):
    arguments = dict(fusion="max", mode=mode, aggregate_norm="l1")
    outputs = check_layer(PyramidAttention(**arguments), levels)
    shapes = [(2, 2, 4, 6), (*SHAPE, columns), (2, 3, 3, 2, 4, columns)]
    assert [tuple(x.shape) for x in outputs] == shapes
    aggregated, weights, level_weights = outputs
    assert_close(ops.sum(weights, axis=(1, 2, 3)), np.ones((2, columns)))
    assert_close(ops.sum(level_weights, axis=(2, 3, 4)), np.ones((2, 3, columns)))
    half = PyramidAttention(**arguments, dtype="mixed_float16")(levels)
    dtypes = [keras.backend.standardize_dtype(x.dtype) for x in half]
    assert dtypes == ["float16", "float32", "float32"]


def test_the_control_is_the_mean_over_all_cells(levels):
    """mode="uniform": no scores, so no weights."""
    layer = PyramidAttention(mode="uniform", aggregate_norm="l1")
    aggregated, weights, level_weights = layer(levels)
    assert not layer.weights
    assert_close(weights, np.full((*SHAPE, 8), 1 / 24))
    assert_close(level_weights, np.full((2, 3, 3, 2, 4, 8), 1 / 24))
    mean = levels[-1].mean(axis=(1, 2, 3), keepdims=True)[:, 0]
    assert_close(aggregated, np.broadcast_to(mean, (2, 2, 4, 6)))


def test_streams_one_after_the_other_have_scores_of_their_own(levels):
    """Here three, of a frame each."""
    layer = PyramidAttention(fusion="sum", streams=3)
    aggregated, weights, _ = check_layer(layer, levels)
    assert [tuple(w.shape) for w in layer.weights[::2]] == [(c, 8) for c in CHANNELS for _ in "123"]
    scores = np.zeros((2, 3, 2, 4, 8))
    values = iter([numpy(w) for w in layer.weights])
    for level in levels:
        for stream in range(3):
            scores[:, stream] += level[:, stream] @ next(values) + next(values)
    expected = np.exp(scores)
    assert_close(weights, expected / expected.sum((1, 2, 3), keepdims=True))


def test_streams_must_be_equally_long(levels):
    with pytest.raises(ValueError, match="T must be a multiple of streams=2, got shapes"):
        PyramidAttention(streams=2)(levels)
    with pytest.raises(ValueError, match="streams must be at least 1, got 0"):
        PyramidAttention(streams=0)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX computes in float32 unless told at start")
@pytest.mark.parametrize("mode", ["interaction", "shared"])
def test_gradient_by_the_features_equals_central_differences(rng, levels, mode):
    layer = PyramidAttention(mode=mode, dtype="float64")
    layer.build([level.shape for level in levels])
    layer.set_weights([rng.normal(size=w.shape) / 2 for w in layer.weights])
    low, middle, top = (level.astype("float64") for level in levels)

    def total(x):
        return sum(ops.sum(ops.square(y)) for y in layer([low, x, top]))

    actual = gradient(total, middle)
    for index in [(0, 0, 1, 2, 3), (1, 2, 0, 3, 6)]:
        step = np.zeros_like(middle)
        step[index] = 1e-5
        expected = float(total(middle + step) - total(middle - step)) / 2e-5
        np.testing.assert_allclose(actual[index], expected, rtol=1e-6)


# === The weights ===


def test_columns_are_non_negative_and_of_unit_norm(rng, levels):
    columns = numpy(unit_columns(ops.reshape(_built(rng, levels)(levels)[1], (2, 24, 8))))
    assert columns.min() >= 0
    products = np.einsum("bnm,bnk->bmk", columns, columns)
    assert_close(np.einsum("bmm->bm", products), np.ones((2, 8)))
    assert 0 <= products.min() and products.max() < 1 + 1e-6


def test_equal_columns_have_the_greatest_overlap(rng):
    """Specification of eq. (8): the second term is w (w - 1) = 4032 for 8x8 equal columns."""
    levels = [rng.normal(size=(1, 2, 8, 8, 3)).astype("float32")]
    layer = _built(rng, levels, fusion="sum")
    kernel, bias = layer.get_weights()
    layer.set_weights([np.repeat(kernel[:, :1], 64, axis=1), bias])
    columns = unit_columns(ops.reshape(layer(levels)[1], (1, 128, 64)))
    nothing = np.zeros((1, 128, 3), "float32")
    np.testing.assert_allclose(float(losses.interaction(nothing, columns)), 4032, rtol=1e-5)


def test_shared_weights_keep_every_cell_in_its_place(rng, levels):
    """Attention on one frame alone gives that frame, divided by its number of cells."""
    top = levels[-1]
    top[..., 0] = 0
    top[:, 1, :, :, 0] = 50
    layer = _built(rng, [top], mode="shared", aggregate_norm="l1")
    layer.set_weights([np.eye(6)[:, :1], np.zeros(1)])
    aggregated, weights, _ = layer([top])
    assert_close(weights[:, 1, ..., 0], np.full((2, 2, 4), 1 / 8))
    assert_close(aggregated, top[:, 1] / 8)


def test_products_of_scores_do_not_overflow_in_half_precision(rng, levels):
    layer = _built(rng, levels)
    half = PyramidAttention(dtype="mixed_float16")
    half.build([level.shape for level in levels])
    half.set_weights([60 * w for w in layer.get_weights()])  # products of about 60 ** 3
    for output in half(levels):
        assert np.isfinite(numpy(output)).all()


# === What it does not depend on ===


@pytest.mark.parametrize("mode", ["interaction", "shared"])
def test_the_order_of_the_frames_plays_no_part(rng, levels, mode):
    layer = _built(rng, levels, mode=mode)
    aggregated, weights, _ = layer(levels)
    order = [2, 0, 1]
    other, permuted, _ = layer([level[:, order] for level in levels])
    assert_close(other, aggregated)
    assert_close(permuted, numpy(weights)[:, order])


@pytest.mark.parametrize("mode", ["interaction", "shared"])
@pytest.mark.parametrize("norm, growth", [("l1", 1), ("l2", 2)])
def test_copies_of_every_frame(rng, levels, mode, norm, growth):
    """Four copies: nothing changes with l1, and the map grows by the root of 4 with l2."""
    layer = _built(rng, levels, mode=mode, aggregate_norm=norm)
    copied = layer([np.repeat(level, 4, axis=1) for level in levels])[0]
    assert_close(copied, growth * layer(levels)[0])


def test_one_level_needs_no_fusion(rng, levels):
    layers = [_built(rng, levels[-1:], fusion=fusion) for fusion in ("product", "sum", "max")]
    for layer in layers[1:]:
        layer.set_weights(layers[0].get_weights())
        assert_close(layer(levels[-1:]), layers[0](levels[-1:]))
    _, weights, level_weights = layers[0](levels[-1:])
    assert_close(level_weights[:, 0], weights)


def test_unknown_time(rng, levels):
    layer = _built(rng, levels)
    inputs = [keras.Input((None, *level.shape[2:])) for level in levels]
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape[1] == (None, None, 2, 4, 8)
    for time in (1, 3):
        some = [level[:, :time] for level in levels]
        assert_close(answer(model, some), layer(some))


# === When it learns ===


def _bias_and_kernel_gradients(layer, levels):
    """The largest gradient of any bias and of any kernel, of a sum that depends on all outputs."""
    values = layer.get_weights()
    sizes = np.cumsum([v.size for v in values])[:-1]

    def total(flat):
        weights = [
            ops.reshape(w, v.shape) for w, v in zip(ops.split(flat, sizes), values, strict=True)
        ]
        outputs, _ = layer.stateless_call(weights, [], levels)
        return sum(ops.sum(ops.square(x)) for x in outputs)

    flat = gradient(total, np.concatenate([v.ravel() for v in values]).astype("float32"))
    gradients = [np.abs(g).max() for g in np.split(flat, sizes)]
    return max(gradients[1::2]), max(gradients[::2])


@pytest.mark.parametrize("fusion, count", [("product", 1), ("sum", 3)])
def test_biases_that_the_softmax_cancels(rng, levels, fusion, count):
    layer = _built(rng, levels[-count:], fusion=fusion)
    bias, kernel = _bias_and_kernel_gradients(layer, levels[-count:])
    assert bias < 1e-4 * kernel


@pytest.mark.parametrize("fusion", ["product", "max"])
def test_biases_that_count(rng, levels, fusion):
    layer = _built(rng, levels, fusion=fusion)
    bias, kernel = _bias_and_kernel_gradients(layer, levels)
    assert bias > 1e-2 * kernel


def test_from_zero_a_product_cannot_learn_so_it_does_not_start_there(rng, levels):
    layer = PyramidAttention()
    layer(levels)
    assert min(_bias_and_kernel_gradients(layer, levels)) > 1e-3
    layer.set_weights([0 * w for w in layer.get_weights()])
    assert max(_bias_and_kernel_gradients(layer, levels)) < 1e-6


# === Table 10, and errors ===


@pytest.mark.parametrize(
    "original, side, channels, millions",
    [
        (57_106_858, 8, (2080, 1088, 320), (57.24, 57.31, 57.33)),  # Inception-ResNet-v2
        (10_260_224, 7, (1024, 1056, 320), (10.31, 10.36, 10.38)),  # BN-Inception
    ],
)
def test_parameter_counts_of_table_10(original, side, channels, millions):
    for count, expected in enumerate(millions, 1):
        layer = PyramidAttention()
        layer.build([(None, 3, side, side, c) for c in channels[:count][::-1]])
        assert round((original + layer.count_params()) / 1e6, 2) == expected


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"fusion": "mean"}, "fusion must be one of product, sum, max, got 'mean'"),
        ({"mode": "none"}, "mode must be one of interaction, shared, uniform, got 'none'"),
        ({"aggregate_norm": None}, "aggregate_norm must be one of l2, l1, got None"),
    ],
)
def test_unknown_options(arguments, message):
    with pytest.raises(ValueError, match=message):
        PyramidAttention(**arguments)


@pytest.mark.parametrize(
    "shapes, message",
    [
        ((2, 3, 4, 5, 6), "levels must be a list"),
        ([(2, 3, 20, 6)], "levels must be a list of maps"),
        ([(2, 3, 8, 8, 6), (2, 3, 4, 5, 6)], "the same T, h and w"),
        ([(2, 3, None, 5, 6)], "levels must have h, w and C known"),
        ([(2, 0, 4, 5, 6)], "T at least 1"),
    ],
)
def test_levels_that_cannot_work(shapes, message):
    with pytest.raises(ValueError, match=message):
        PyramidAttention().build(shapes)
