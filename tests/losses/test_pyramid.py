"""The two penalties on pyramid attention: interaction, and distance between the levels."""

import itertools

import numpy as np
import pytest
from checks import BACKEND, check_gradient, compiled, gradient
from keras import ops

from keras_attn.losses import interaction, pyramid

REDUCTIONS = ["relative", "sum", "mean"]
FORMS = ["safe", "printed"]


def _softmax(scores, axis):
    exponentials = np.exp(scores - scores.max(axis, keepdims=True))
    return exponentials / exponentials.sum(axis, keepdims=True)


def _unit(columns):
    return columns / np.sqrt(np.sum(columns**2, axis=-2, keepdims=True))


def _interaction(features, weights, reduction="relative"):
    """Hu et al., eq. (8), with its n x n matrix, in loops."""
    total = 0.0
    for x, a in zip(features, weights, strict=True):  # x is the transpose of the paper's X
        positions, columns = a.shape
        gram = [[x[i] @ x[j] for j in range(positions)] for i in range(positions)]
        variance = sum(a[:, m] @ np.array(gram) @ a[:, m] for m in range(columns))
        overlap = sum(
            (a[:, m] @ a[:, k]) ** 2 for m, k in itertools.permutations(range(columns), 2)
        )
        if reduction == "relative":
            variance /= np.sum(x**2)
        if reduction == "mean":
            variance /= columns * x.shape[1]
            overlap /= columns * (columns - 1)
        total += overlap - variance
    return total / len(features)


def _pyramid(level_weights, weights, frames, form="safe"):
    """Hu et al., eq. (14)-(15), in loops."""
    total = 0.0
    for levels, fused in zip(level_weights, weights, strict=True):
        cells, inside = len(fused) // frames, 0.0
        for level, m, t in itertools.product(levels, range(fused.shape[1]), range(frames)):
            column = fused[:, m] / (np.sqrt(np.sum(fused[:, m] ** 2)) if form == "printed" else 1)
            rows = slice(t * cells, (t + 1) * cells)
            squared = np.sum((column[rows] - level[rows, m]) ** 2)
            inside += 1 - squared / (1 if form == "printed" else 2)
        total += np.sqrt(inside) if form == "printed" else np.sqrt(max(inside, 0) + 1e-10) - 1e-5
    return total / len(weights)


# === Interaction ===


def _features_and_weights(rng, dtype="float32"):
    features = rng.normal(size=(2, 7, 3))
    weights = _unit(_softmax(rng.normal(size=(2, 7, 4)), 1))
    return features.astype(dtype), weights.astype(dtype)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_interaction_equals_loops_compiled_or_not(rng, reduction):
    features, weights = _features_and_weights(rng)
    expected = _interaction(features.astype("float64"), weights.astype("float64"), reduction)
    value = float(interaction(features, weights, reduction))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    function = compiled(lambda *x: interaction(*x, reduction))
    np.testing.assert_allclose(float(function(features, weights)), expected, rtol=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_interaction_gradient_equals_central_differences(rng, reduction):
    features, weights = _features_and_weights(rng, "float64")
    check_gradient(
        lambda x: interaction(features, x, reduction),
        lambda x: _interaction(features, x, reduction),
        weights,
    )
    if reduction == "relative":
        assert not gradient(lambda x: interaction(x, weights) + 0 * ops.sum(x), features).any()
    else:
        check_gradient(
            lambda x: interaction(x, weights, reduction),
            lambda x: _interaction(x, weights, reduction),
            features,
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("values", [0, 1e-20, 0.5])
def test_interaction_is_finite_everywhere(reduction, values):
    features = np.full((2, 7, 3), values, "float32")
    weights = np.full((2, 7, 4), values, "float32")
    assert np.isfinite(float(interaction(features, weights, reduction)))
    slope = gradient(lambda x: interaction(features, x, reduction), weights)
    assert np.isfinite(slope).all()


def test_overlap_of_equal_disjoint_and_other_columns(rng):
    nothing = np.zeros((1, 128, 3))
    equal = np.repeat(_unit(_softmax(rng.normal(size=(1, 128, 1)), 1)), 64, 2)
    np.testing.assert_allclose(float(interaction(nothing, equal)), 4032, rtol=1e-5)
    disjoint = np.kron(np.eye(64), np.sqrt([[0.3], [0.7]]))[None]
    assert float(interaction(nothing, disjoint)) == 0
    other = _unit(_softmax(rng.normal(size=(1, 128, 64)), 1))
    assert 0 < float(interaction(nothing, other)) < 4032
    products = np.einsum("bnm,bnk->bmk", other, other)
    assert (products > 0).all() and (products < 1 + 1e-9).all()
    np.testing.assert_allclose(np.einsum("bmm->bm", products), 1)


def test_relative_interaction_is_a_rayleigh_quotient(rng):
    """Orthonormal columns catch at most all of the variance, and all of it if they span it."""
    features = rng.normal(size=(2, 7, 3)).astype("float32")
    spanning = np.linalg.svd(features)[0][:, :, :4]  # of rank 3
    np.testing.assert_allclose(float(interaction(features, spanning)), -1, rtol=1e-5)
    orthonormal = np.linalg.qr(rng.normal(size=(2, 7, 4)))[0]
    assert -1 < float(interaction(features, orthonormal.astype("float32"))) < 0


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_interaction_does_not_depend_on_the_axes_of_the_features(rng, reduction):
    features, weights = _features_and_weights(rng)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0].astype("float32")
    np.testing.assert_allclose(
        float(interaction(features @ rotation, weights, reduction)),
        float(interaction(features, weights, reduction)),
        rtol=1e-4,
    )


def test_scaling_the_features_changes_all_but_the_relative_interaction(rng):
    features, weights = _features_and_weights(rng)
    values = {r: float(interaction(features, weights, r)) for r in REDUCTIONS}
    scaled = {r: float(interaction(10 * features, weights, r)) for r in REDUCTIONS}
    np.testing.assert_allclose(scaled["relative"], values["relative"], rtol=1e-4)
    assert scaled["sum"] < values["sum"] - 100 and scaled["mean"] < values["mean"] - 1


def test_one_column_has_nothing_to_overlap_with(rng):
    features, weights = _features_and_weights(rng)
    value = float(interaction(features, weights[:, :, :1], "mean"))
    projections = np.einsum("bnc,bn->bc", features, weights[:, :, 0])
    np.testing.assert_allclose(value, -np.mean(projections**2), rtol=1e-5)


# === Pyramid ===


def _levels_and_fusion(rng, dtype="float32", levels=3):
    scores = rng.normal(size=(2, levels, 12, 5))
    fused = _softmax(np.prod(scores, 1), 1)
    return _softmax(scores, 2).astype(dtype), fused.astype(dtype)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("frames", [1, 3])
def test_pyramid_equals_loops_compiled_or_not(rng, form, frames):
    levels, fused = _levels_and_fusion(rng)
    expected = _pyramid(levels.astype("float64"), fused.astype("float64"), frames, form)
    np.testing.assert_allclose(float(pyramid(levels, fused, frames, form)), expected, rtol=1e-5)
    function = compiled(lambda *x: pyramid(*x, frames, form))
    np.testing.assert_allclose(float(function(levels, fused)), expected, rtol=1e-5)


def test_an_image_is_one_frame(rng):
    levels, fused = _levels_and_fusion(rng)
    assert float(pyramid(levels, fused)) == float(pyramid(levels, fused, 1, "safe"))


@pytest.mark.parametrize("form", FORMS)
def test_pyramid_gradient_equals_central_differences(rng, form):
    levels, fused = _levels_and_fusion(rng, "float64", levels=2)
    check_gradient(
        lambda x: pyramid(x, fused, 3, form), lambda x: _pyramid(x, fused, 3, form), levels
    )
    check_gradient(
        lambda x: pyramid(levels, x, 3, form), lambda x: _pyramid(levels, x, 3, form), fused
    )


def _one_hot(row, shape=(2, 12, 5)):
    columns = np.zeros(shape, "float32")
    columns[:, row] = 1
    return columns


def test_disjoint_one_hots_are_farthest_and_only_the_printed_form_breaks_on_them():
    levels = np.stack([_one_hot(0), _one_hot(1)], 1)
    fused = _one_hot(2)
    assert np.isnan(float(pyramid(levels, fused, 1, "printed")))
    assert float(pyramid(levels, fused)) == 0
    assert np.isfinite(gradient(lambda x: pyramid(levels, x), fused)).all()
    assert np.isfinite(gradient(lambda x: pyramid(x, fused), levels)).all()


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("values", [0, 1 / 12, "one-hot"])
def test_pyramid_is_finite_everywhere(values, frames):
    fused = _one_hot(2) if values == "one-hot" else np.full((2, 12, 5), values, "float32")
    levels = np.stack([fused, fused], 1)
    largest = np.sqrt(2 * 5 * frames)  # all levels alike
    np.testing.assert_allclose(float(pyramid(levels, fused, frames)), largest, rtol=1e-4)
    assert not gradient(lambda x: pyramid(levels, x, frames), fused).any()


def test_one_level_is_its_own_fusion_unless_norms_are_mixed_as_printed(rng):
    levels, _ = _levels_and_fusion(rng, levels=1)
    fused = levels[:, 0]
    np.testing.assert_allclose(float(pyramid(levels, fused)), np.sqrt(5), rtol=1e-4)
    distances = 1 - np.sqrt(np.sum(fused.astype("float64") ** 2, axis=1))
    expected = np.mean(np.sqrt(np.sum(1 - distances**2, axis=1)))
    np.testing.assert_allclose(float(pyramid(levels, fused, 1, "printed")), expected, rtol=1e-5)


def test_the_number_of_frames_may_be_unknown(rng):
    if BACKEND != "tensorflow":
        pytest.skip("only TensorFlow has shapes that are not known")
    import tensorflow as tf

    spec = tf.TensorSpec((None, None, 4, 3)), tf.TensorSpec((None, 2, None, 5))

    @tf.function(input_signature=spec)
    def objective(features, levels):
        frames = ops.shape(features)[1]
        fused = ops.mean(levels, axis=1)
        flat = ops.reshape(features, (-1, frames * 4, 3))
        return interaction(flat, fused) + pyramid(levels, fused, frames)

    features = rng.normal(size=(2, 3, 4, 3)).astype("float32")
    levels, _ = _levels_and_fusion(rng, levels=2)
    fused = levels.mean(1)
    expected = _interaction(features.reshape(2, 12, 3), fused) + _pyramid(levels, fused, 3)
    np.testing.assert_allclose(float(objective(features, levels)), expected, rtol=1e-4)


# === Both ===


def test_half_precision_is_computed_in_float32(rng):
    features, weights = (ops.cast(x, "float16") for x in _features_and_weights(rng))
    assert "float32" in str(interaction(features, weights).dtype)
    levels, fused = (ops.cast(x, "float16") for x in _levels_and_fusion(rng))
    assert "float32" in str(pyramid(levels, fused).dtype)


@pytest.mark.parametrize(
    "penalty, shapes, arguments, message",
    [
        (interaction, ((2, 7), (2, 7, 4)), (), r"features must have the shape \(B, n, C\)"),
        (interaction, ((2, 7, 3), (2, 7)), (), r"weights must have the shape \(B, n, m\)"),
        (interaction, ((2, 6, 3), (2, 7, 4)), (), "features must have n=7 as weights have, got 6"),
        (interaction, ((2, 7, 3), (2, 7, 4)), ("max",), "reduction must be one of relative"),
        (pyramid, ((2, 7, 4), (2, 7, 4)), (), r"level_weights must have the shape \(B, N, n, m\)"),
        (pyramid, ((2, 3, 7, 4), (2, 7)), (), r"weights must have the shape \(B, n, m\)"),
        (
            pyramid,
            ((2, 3, 6, 4), (2, 7, 4)),
            (),
            "level_weights must have n=7 as weights have, got 6",
        ),
        (
            pyramid,
            ((2, 3, 7, 4), (2, 7, 5)),
            (),
            "level_weights must have m=5 as weights have, got 4",
        ),
        (pyramid, ((2, 3, 7, 4), (2, 7, 4)), (3,), "frames must divide the n=7 .*frames=3"),
        (pyramid, ((2, 3, 7, 4), (2, 7, 4)), (0,), "frames must divide the n=7 .*frames=0"),
        (pyramid, ((2, 3, 7, 4), (2, 7, 4)), (1, "literal"), "form must be one of safe, printed"),
    ],
)
def test_arguments_that_cannot_work(penalty, shapes, arguments, message):
    with pytest.raises(ValueError, match=message):
        penalty(*(np.ones(shape, "float32") for shape in shapes), *arguments)
