"""WhereAndWhen against the paper's equations in NumPy, its counts and its objective."""

import keras
import numpy as np
import pytest
from checks import CROSS_ENTROPY, answer, assert_close, cross_entropy, tensorflow_is_enough
from reference import scramble, softmax
from where_and_when_reference import SMALL, reference

from keras_attn.models import WhereAndWhen


def _small(rng, scale=0.5, **arguments):
    model = scramble(WhereAndWhen(**{**SMALL, **arguments}), rng, scale)
    return model


def _features(rng, batch=2):
    return {"features": rng.normal(size=(batch, 4, 2, 3, 7)).astype("float32")}


VARIANTS = [
    dict(),
    dict(energy="additive", reduce=5, glimpse="mean"),
    dict(spatial="none"),
    dict(temporal_mode="posthoc", unimodality_reduction="sqrt_mean"),
    dict(temporal_mode="none"),
    dict(temporal_mode="uniform", contrast=0),
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_forward_pass_and_objective_equal_numpy(rng, variant):
    model = _small(rng, **variant)
    inputs, labels = _features(rng, batch=4), np.array([4, 0, 2, 2])
    logits, masks, weights = reference(model, inputs["features"])
    outputs = answer(model, inputs)
    assert_close(outputs["spatial_attention"], masks)
    assert_close(outputs["temporal_attention"], weights)
    assert_close(outputs["logits"], logits)
    assert np.ptp(logits) > 0.05

    expected = _penalties(model, masks, weights)
    terms = {name: float(x) for name, x in model.loss_terms(labels, outputs).items()}
    assert set(terms) == set(expected) == {mean.name for mean in model.term_means}
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-3)
        assert value != 0
    model.compile("sgd", CROSS_ENTROPY(from_logits=True))
    total = cross_entropy(labels, logits).mean() + sum(expected.values())  # eq. (7)
    outputs = {name: keras.ops.convert_to_tensor(y) for name, y in outputs.items()}
    np.testing.assert_allclose(model.compute_loss(None, labels, outputs), total, rtol=1e-3)


def _penalties(model, masks, weights):
    """Eq. (8)-(10), times the numbers of SMALL."""
    penalties = {}
    if model.config["spatial"] == "mask":
        steps = [np.abs(np.diff(masks, axis=axis)).sum() for axis in (2, 3)]
        penalties["total_variation"] = 0.3 * sum(steps) / len(masks)
        penalties["contrast"] = (
            model.config["contrast"] * np.where(masks > 0.5, -masks, masks).sum() / 2 / len(masks)
        )
    if model.config["temporal_mode"] in ("iterative", "posthoc"):
        penalties["unimodality"] = 40 * _unimodality(model, weights)
    return {name: value for name, value in penalties.items() if model.config[name]}


def _unimodality(model, weights):
    rows = weights.reshape(-1, weights.shape[-1])
    excess = [max(0, w[i - 1] * w[i + 1] - w[i] ** 2) for w in rows for i in (1, 2)]
    if model.config["unimodality_reduction"] == "sqrt_mean":
        return np.mean(np.sqrt(excess))
    return sum(excess) / len(weights)


# === Facts of the paper and the specification ===


def _count(model, *parts):
    weights = [w for w in model.trainable_weights if any(part in w.path for part in parts)]
    return sum(int(np.prod(w.shape)) for w in weights)


@tensorflow_is_enough
def test_parameter_counts(monkeypatch):
    # Orthogonal kernels of this size take seconds.
    zeros = keras.initializers.Zeros()
    orthogonal = keras.initializers.Orthogonal
    monkeypatch.setattr(orthogonal, "__call__", lambda self, shape, dtype=None: zeros(shape, dtype))
    model = WhereAndWhen(51, energy="additive")
    assert _count(model, "spatial_attention") == 23_600_640
    assert _count(model, "/convolution/", "recurrent_convolution") == 47_187_968
    assert _count(model, "first_hidden", "first_carry") == 47_192_064
    assert _count(model, "query", "key") == 2_560
    assert _count(model, "classifier") == 26_163
    assert _count(model, "") == 118_009_395


def test_the_control_lacks_the_scores_of_the_frames_alone():
    """temporal_mode="uniform": the same network, every weight 1/T."""
    attended, control = (
        WhereAndWhen(**SMALL, temporal_mode=mode).weights for mode in ("iterative", "uniform")
    )
    others = [w for w in attended if not any(x in w.path for x in ("query", "key", "score"))]
    assert len(attended) == len(others) + 4
    assert [(w.name, w.shape) for w in control] == [(w.name, w.shape) for w in others]


@pytest.mark.parametrize(
    "variant, sees_order",
    [(dict(), False), (dict(temporal_mode="posthoc"), True)],
    ids=str,
)
def test_only_posthoc_sees_the_order_of_the_frames(rng, variant, sees_order):
    model = _small(rng, **variant)
    inputs = _features(rng)
    order = np.array([2, 0, 3, 1])
    logits = answer(model, inputs)["logits"]
    outputs = answer(model, {"features": inputs["features"][:, order]})
    assert (np.abs(outputs["logits"] - logits).max() > 1e-3) == sees_order


@pytest.mark.parametrize("temporal_mode", ["iterative", "posthoc"])
def test_biases_of_the_gates_start_at_zero(temporal_mode):
    model = WhereAndWhen(**SMALL, temporal_mode=temporal_mode)
    (bias,) = [w for w in model.weights if w.shape == (4 * SMALL["units"],)]
    assert not np.any(bias)


def test_dropout_takes_channels_from_all_frames_of_a_clip(rng):
    """The authors' `Dropout2d` drops entries of the first two axes of (B, C, T, h, w)."""
    layer = _small(rng).get_layer("dropout")
    dropped = keras.ops.convert_to_numpy(layer(np.ones((8, 4, 2, 3, 50)), training=True))
    assert np.ptp(dropped, axis=(1, 2, 3)).max() == 0
    channels = dropped[:, 0, 0, 0]
    assert len({channel.tobytes() for channel in channels}) == 8
    assert 0.25 < np.mean(channels == 0) < 0.55


def test_explain(rng):
    model = WhereAndWhen(**SMALL)
    mask = rng.uniform(size=(3, 4, 2, 3)).astype("float32")
    mask[0, 1] = 0
    outputs = {
        "spatial_attention": mask,
        "temporal_attention": softmax(rng.normal(size=(3, 4, 4))).astype("float32"),
        "logits": rng.normal(size=(3, 5)).astype("float32"),
    }
    maps = {name: np.asarray(value) for name, value in model.explain(outputs).items()}
    mean = outputs["temporal_attention"].mean(1)
    assert_close(maps["when"], mean)
    assert_close(maps["where"][1:], mask[1:] / mask[1:].sum((2, 3), keepdims=True))
    assert_close(maps["where"][0, 1], np.full((2, 3), 1 / 6))
    assert_close(model.explain({**outputs, "temporal_attention": mean})["when"], mean)
    decisions = np.asarray(model.step_probabilities(outputs))
    assert_close(decisions, np.repeat(softmax(outputs["logits"])[:, None], 4, axis=1))
