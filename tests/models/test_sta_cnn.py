"""STACNN against the paper's equations in NumPy, its objective, and what it refuses."""

import keras
import numpy as np
import pytest
from checks import CROSS_ENTROPY, QUICK, answer, assert_close, cross_entropy, gradient

from keras_attn.models import STACNN

# Every axis another size, every argument away from its default.
SMALL = dict(
    num_classes=5,
    input_shape=(6, 3, 4, 7),
    groups=2,
    keep=2,
    aux_weight=0.7,
    dropout=0.2,
    test_keep=4,
)


def _small(rng, scale=0.5, **arguments):
    model = STACNN(**{**SMALL, **arguments})
    model.set_weights([scale * rng.normal(size=w.shape) for w in model.weights])
    return model


def _features(rng, batch=2):
    return {"features": rng.normal(size=(batch, 6, 3, 4, 7)).astype("float32")}


# === The paper in NumPy ===


def _softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def _segment(named, cells):
    """Eq. (5) and (7)-(9) of one segment: logits, auxiliary logits, weights of the cells."""
    count, channels = cells.shape
    weights = np.full(count, 1 / count)
    aux = np.zeros(0)
    if "location_attention/kernel" in named:
        kernel = named["location_attention/kernel"].reshape(count, channels)
        weights = _softmax(np.array([w @ x for w, x in zip(kernel, cells, strict=True)]))
    if "aux_classifier/kernel" in named:
        scores = np.array([named["aux_classifier/kernel"].T @ x for x in cells])
        aux = sum(scores) / count  # eq. (5): the class activation maps, over all cells
    pooled = sum(a * x for a, x in zip(weights, cells, strict=True))
    return pooled @ named["classifier/kernel"] + named["classifier/bias"], aux, weights


def _top(alphas, keep):
    return sorted(range(len(alphas)), key=lambda n: -alphas[n])[:keep]


def _reference(model, features):
    """All outputs, with loops."""
    config = model.config
    named = {w.path: w.numpy().astype("float64") for w in model.weights}
    batch, count, height, width, channels = features.shape
    outputs = []
    for b in range(batch):
        cells = features[b].reshape(count, height * width, channels).astype("float64")
        logits, aux, where = (
            np.array(x) for x in zip(*(_segment(named, x) for x in cells), strict=True)
        )
        probabilities = _softmax(logits)
        alphas = np.array([-1 / np.sum(p * np.log(p)) for p in probabilities])  # eq. (1)-(2)
        selected, size = np.zeros(count), count // config["groups"]
        for start in range(0, count, size):
            for n in _top(alphas[start : start + size], config["keep"]):
                selected[start + n] = 1
        counted = np.zeros(count)
        for n in _top(alphas, config["test_keep"]):
            counted[n] = alphas[n]
        if config["test_pooling"] == "average":
            counted = np.ones(count)
        factors = counted if config["test_pooling"] == "confidence_sum" else counted / counted.sum()
        video = {
            "logits": np.log(sum(f * p for f, p in zip(factors, probabilities, strict=True))),
            "step_logits": logits,
            "aux_logits": aux,
            "spatial_attention": where.reshape(count, height, width),
            "temporal_attention": counted / counted.sum(),
            "selected": selected,
        }
        outputs.append({name: x for name, x in video.items() if x.size})
    return {name: np.stack([video[name] for video in outputs]) for name in outputs[0]}


@pytest.mark.parametrize(
    "test_pooling, groups, keep, arguments",
    [
        ("confidence", 2, 2, {}),
        ("confidence_sum", 3, 1, {"spatial": "none"}),
        ("average", 1, 4, {"aux_weight": 0}),
        ("confidence", 6, 1, {}),
    ],
)
def test_forward_pass_equals_numpy(rng, test_pooling, groups, keep, arguments):
    model = _small(rng, test_pooling=test_pooling, groups=groups, keep=keep, **arguments)
    inputs = _features(rng, batch=3)
    expected = _reference(model, inputs["features"])
    outputs = answer(model, inputs)
    assert outputs.keys() == expected.keys()
    assert ("aux_logits" in outputs) == (not arguments)
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


def _mean_over_selected(logits, selected, labels):
    """Of the cross-entropy of (B, S, K) logits: the mean over videos of that over segments."""
    steps = cross_entropy(labels, logits)
    return np.mean([s[kept > 0].mean() for s, kept in zip(steps, selected, strict=True)])


def _of_mean_over_selected(logits, selected, labels):
    """Segment consensus: the cross-entropy of the mean of the selected segments' logits."""
    means = [x[kept > 0].mean(axis=0) for x, kept in zip(logits, selected, strict=True)]
    return cross_entropy(labels, np.stack(means)).mean()


@pytest.mark.parametrize(
    "arguments",
    [{}, {"spatial": "none"}, {"groups": 1, "keep": 6}, {"consensus": "prediction"}],
    ids=str,
)
def test_objective_equals_numpy(rng, arguments):
    model = _small(rng, **arguments)
    inputs, labels = _features(rng, batch=4), np.array([4, 0, 2, 2])
    expected = _reference(model, inputs["features"])
    averages = _of_mean_over_selected if "consensus" in arguments else _mean_over_selected
    aux = 0
    if "aux_logits" in expected:
        aux = 0.7 * averages(expected["aux_logits"], expected["selected"], labels)
    steps = averages(expected["step_logits"], expected["selected"], labels)
    model.compile("sgd", CROSS_ENTROPY(from_logits=True), metrics=["accuracy"], **QUICK)
    # Batches of 3 and 1: the logged means must weigh videos, not batches.
    logs = model.evaluate(inputs, labels, batch_size=3, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["loss"], steps + aux, rtol=1e-5)
    assert set(logs) == {"loss", "accuracy"} | ({"aux"} if aux else set())
    if aux:
        np.testing.assert_allclose(logs["aux"], aux, rtol=1e-5)
    if arguments.get("keep") == 6:  # TS(N, N): the plain mean
        plain = cross_entropy(labels, expected["step_logits"]).mean()
        np.testing.assert_allclose(steps, plain, rtol=1e-6)


def test_one_segment_is_an_image_classifier(rng):
    """TS(1, 1), the baseline: nothing to select, and the video's decision is the segment's."""
    model = _small(rng, input_shape=(1, 3, 4, 7), groups=1, keep=1, test_keep=1)
    outputs = answer(model, {"features": _features(rng)["features"][:, :1]})
    assert_close(np.exp(outputs["logits"]), _softmax(outputs["step_logits"][:, 0]))
    assert_close(outputs["selected"], np.ones((2, 1)))


@pytest.mark.parametrize("consensus", ["loss", "prediction"])
def test_consensus_trains_the_selected_segments_alone(rng, consensus):
    """No gradient reaches the logits of the others."""
    model = _small(rng, consensus=consensus, spatial="none")
    outputs = answer(model, _features(rng, batch=3))
    labels = np.array([4, 0, 2])

    def loss(step_logits):
        some = {**outputs, "step_logits": step_logits}
        y, logits, weights = model.supervised(labels, some)
        losses = keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
        return keras.ops.mean(losses if weights is None else losses * weights)

    moved = np.abs(gradient(loss, outputs["step_logits"])).max(axis=2)
    assert ((moved > 0) == (outputs["selected"] > 0)).all()


def test_sample_weights_scale_the_videos(rng):
    model = _small(rng, spatial="none")
    inputs, labels, weights = _features(rng), np.array([4, 1]), np.array([2.0, 0.5])
    model.compile("sgd", CROSS_ENTROPY(from_logits=True), **QUICK)
    loss = model.test_on_batch(inputs, labels, sample_weight=weights)
    outputs = answer(model, inputs)
    steps = cross_entropy(labels, outputs["step_logits"])
    expected = [s[k > 0].mean() for s, k in zip(steps, outputs["selected"], strict=True)]
    np.testing.assert_allclose(loss, np.mean(weights * expected), rtol=1e-5)


def test_explain(rng):
    model = _small(rng)
    outputs = answer(model, _features(rng, 3))
    maps = model.explain(outputs)
    assert_close(maps["where"], outputs["spatial_attention"])
    assert_close(maps["when"], outputs["temporal_attention"])
    assert ((np.asarray(maps["when"]) > 0).sum(1) == 4).all()
    assert_close(model.step_probabilities(outputs), _softmax(outputs["step_logits"]))


# === What every model must survive ===


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_classes": 1}, "num_classes must be at least 2, got 1"),
        ({"input_shape": (3, 4, 7)}, "input_shape must be"),
        ({"groups": 0}, "groups must be at least 1, got 0"),
        ({"keep": 0}, "keep must be at least 1, got 0"),
        ({"keep": 4}, "at most the 6 segments given, got 2 times 4"),
        ({"test_keep": 0}, "test_keep must be at least 1, got 0"),
        ({"test_pooling": "max"}, "pooling must be one of .*average.*'max'"),
        ({"consensus": "vote"}, "consensus must be one of loss, prediction, got 'vote'"),
        ({"spatial": "soft"}, "spatial must be one of location, none, got 'soft'"),
        ({"aux_weight": -1}, "aux_weight must be at least 0, got -1"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"attention_network": "vgg"}, "attention_network must be one of shared.*'vgg'"),
        ({"attention_network": "flownet_s"}, "flownet_s.* looks at frames: give a backbone"),
        ({"attention_network": "tiny", "backbone": "tiny"}, "6 channels of two RGB frames.*got 7"),
        ({"backbone": "tiny"}, "3 channels of an RGB frame, or with 2 for each flow.*got 7"),
        ({"attention_weights": "x.h5"}, "attention_weights are for .*'location' with 'shared'"),
    ],
)
def test_arguments_that_cannot_work(arguments, message):
    with pytest.raises(ValueError, match=message):
        STACNN(**{**SMALL, **arguments})


def test_more_segments_cannot_be_kept_than_given():
    model = STACNN(**SMALL)
    model.check_frames(4)
    with pytest.raises(ValueError, match="test_keep must be at most the 3 segments given, got 4"):
        model.check_frames(3)
    STACNN(**SMALL, test_pooling="average").check_frames(3)
