"""WhereAndWhen: what every model must survive, and arguments that it refuses."""

import keras
import numpy as np
import pytest
from checks import answer, assert_close, cross_entropy
from reference import scramble
from where_and_when_reference import SMALL

from keras_attn.models import WhereAndWhen, swap_input


def _small(rng, **arguments):
    model = scramble(WhereAndWhen(**{**SMALL, **arguments}), rng)
    return model


def _features(rng):
    return {"features": rng.normal(size=(2, 4, 2, 3, 7)).astype("float32")}


def _objective(outputs, labels):
    return cross_entropy(labels, outputs["logits"]).mean()


@pytest.mark.parametrize("temporal_mode", ["iterative", "posthoc"])
def test_a_single_frame_is_a_clip(rng, temporal_mode):
    model = _small(rng, temporal_mode=temporal_mode, input_shape=(None, 2, 3, 7))
    outputs = answer(model, {"features": _features(rng)["features"][:, :1]})
    assert_close(outputs["temporal_attention"], np.ones_like(outputs["temporal_attention"]))


@pytest.mark.parametrize(
    "arguments",
    [{"unimodality": 0, "unimodality_reduction": "sqrt_mean"}, {"temporal_mode": "uniform"}],
    ids=str,
)
def test_two_frames_are_enough_without_the_unimodality(rng, arguments):
    model = _small(rng, input_shape=(2, 2, 3, 7), **arguments)
    outputs = answer(model, {"features": _features(rng)["features"][:, :2]})
    terms = model.loss_terms(np.array([1, 0]), outputs)
    assert set(terms) == {"total_variation", "contrast"}
    assert all(np.isfinite(float(term)) for term in terms.values())


def test_features_and_video_answer_alike(rng):
    shape = (3, 32, 48, 3)
    model = _small(rng, input_shape=shape, reduce=5, backbone="tiny")
    video = rng.integers(0, 256, (2, *shape), dtype="uint8")
    maps = keras.ops.convert_to_numpy(model.get_layer("backbone")(video))
    cached = swap_input(model, None, maps.shape[1:], cached=True)
    expected = answer(model, {"video": video})
    assert_close(answer(cached, {"features": maps}), expected)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"spatial": "soft"}, "spatial must be one of mask, none, got 'soft'"),
        (
            {"temporal_mode": "soft"},
            "temporal_mode must be one of iterative, posthoc, uniform, none, got",
        ),
        ({"energy": "uniform"}, "energy must be one of tanh, additive, got 'uniform'"),
        ({"glimpse": "max"}, "glimpse must be one of sum, mean, got 'max'"),
        ({"unimodality_reduction": "mean"}, "unimodality_reduction must be one of sum, sqrt_mean"),
        ({"units": 0}, "units must be at least 1, got 0"),
        ({"attention_units": 0}, "attention_units must be at least 1, got 0"),
        ({"reduce": 3}, "reduce must be at least 4, got 3"),
        ({"contrast": -0.1}, "contrast must be at least 0, got -0.1"),
        ({"num_classes": 1}, "num_classes must be at least 2, got 1"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"input_shape": (4, 7)}, r"input_shape must be \(T, h, w, C\) of features, got \(4, 7\)"),
        ({"input_shape": (0, 2, 3, 7)}, "input_shape must be at least 1 along every axis"),
        ({"input_shape": (2, 2, 3, 7)}, "at least 3 frames for the unimodality, got 2"),
        ({"input_shape": (4, 2, 3, 3)}, "features must have at least 4 channels, got 3"),
        ({"input_shape": (4, 32, 32, 3), "backbone": "big"}, "'big'"),
    ],
)
def test_arguments_that_cannot_work(arguments, message):
    with pytest.raises(ValueError, match=message):
        WhereAndWhen(**{**SMALL, **arguments})
