"""FrameClassifier: what it computes, from vectors, maps and frames, and all of its backbone."""

import keras
import numpy as np
import pytest
from checks import CROSS_ENTROPY, QUICK, answer, assert_close, cross_entropy, numpy
from reference import scramble, softmax

from keras_attn.backbones import BACKBONES
from keras_attn.models import FrameClassifier


def test_answers_are_the_mean_over_the_frames(rng):
    model = scramble(FrameClassifier(5, (None, 2, 3, 7), dropout=0.4), rng, 1.0)
    maps = rng.normal(size=(2, 4, 2, 3, 7)).astype("float32")
    kernel, bias = model.get_weights()
    steps = np.array([[frame.mean((0, 1)) @ kernel + bias for frame in clip] for clip in maps])
    outputs = answer(model, {"features": maps})
    assert_close(outputs["step_logits"], steps)
    assert_close(outputs["logits"], np.log(softmax(steps).mean(1)))
    assert_close(model.step_probabilities(outputs), softmax(steps))
    vectors = FrameClassifier(5, (4, 7))
    vectors.set_weights([kernel, bias])
    assert_close(answer(vectors, {"features": maps.mean((2, 3))})["step_logits"], steps)


def test_each_frame_has_a_loss_and_each_clip_a_weight(rng):
    model = scramble(FrameClassifier(5, (4, 7), dropout=0.0), rng, 1.0)
    features = {"features": rng.normal(size=(3, 4, 7)).astype("float32")}
    labels, weights = np.array([3, 0, 4]), np.array([0.5, 2.0, 0.0])
    model.compile("sgd", CROSS_ENTROPY(from_logits=True), **QUICK)
    logs = model.test_on_batch(features, labels, sample_weight=weights, return_dict=True)
    losses = cross_entropy(labels, answer(model, features)["step_logits"]).mean(1)
    assert float(logs["loss"]) == pytest.approx((weights * losses).mean(), rel=1e-5)


def test_all_of_the_backbone_learns(rng):
    """It is not cut: what other recipes read of it has been trained."""
    ends = {name: FrameClassifier.endpoint(name, {}) for name in BACKBONES}
    assert (ends["vgg_16"], ends["resnet_50"]) == ("fc7", "pooled")
    assert all(name not in BACKBONES[key].maps for key, name in ends.items())
    model = FrameClassifier(3, (2, 16, 24, 10), dropout=0.0, backbone="tiny")
    before = model.get_weights()
    video = rng.integers(0, 256, (2, 2, 16, 24, 10)).astype("float32")
    model.compile(keras.optimizers.SGD(0.1), CROSS_ENTROPY(from_logits=True), **QUICK)
    model.train_on_batch({"video": video}, np.array([2, 1]))
    changed = [np.any(numpy(w) != old) for w, old in zip(model.weights, before, strict=True)]
    assert all(changed) and len(changed) == 2 + 6 + 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_classes": 1}, "num_classes must be at least 2, got 1"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"input_shape": (6, 3, 7)}, r"input_shape must be \(T, D\) of features, got \(6, 3, 7\)"),
        ({"input_shape": (6, 0, 4, 7)}, "input_shape must be at least 1 along every axis"),
        ({"input_shape": (6, 7), "backbone": "tiny"}, r"input_shape must be \(T, H, W, channels"),
    ],
)
def test_arguments_that_cannot_work(arguments, message):
    with pytest.raises(ValueError, match=message):
        FrameClassifier(**{"num_classes": 5, "input_shape": (6, 7), **arguments})
