"""Learnability: weights move to the informative frames, and the mask to the informative cell."""

import keras
import numpy as np
import pytest
from checks import JIT, answer

from keras_attn.models import TemporalAttentionLSTM, WhereAndWhen

CLASSES, FRAMES, CHANNELS = 4, 8, 9


def _moments(rng, clips):
    """Every frame shows a class; the two that mean it follow each other, and say so: (B, T, C)."""
    labels = rng.integers(0, CLASSES, clips)
    first = rng.integers(0, FRAMES - 1, clips)[:, None]
    informative = (np.arange(FRAMES) == first) | (np.arange(FRAMES) == first + 1)
    shown = np.where(informative, labels[:, None], rng.integers(0, CLASSES, (clips, FRAMES)))
    features = 0.3 * rng.normal(size=(clips, FRAMES, CHANNELS))
    features += 2 * np.eye(CHANNELS)[shown]
    features[..., -1] += 3 * informative
    return features.astype("float32"), labels, informative


def _places(rng, clips):
    """One cell shows the class and says so; the others are noise: (B, T, h, w, C)."""
    labels = rng.integers(0, CLASSES, clips)
    features = 4 * rng.normal(size=(clips, FRAMES, 2, 3, CHANNELS))
    features[..., -1] *= 0.1
    features[:, :, 1, 2] *= 0.05
    features[:, :, 1, 2] += 2 * np.eye(CHANNELS)[labels][:, None]
    features[:, :, 1, 2, -1] += 3
    return features.astype("float32"), labels


def _learn(model, features, labels, rate):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, jit_compile=JIT)
    model.fit({"features": features}, labels, batch_size=32, epochs=6, verbose=0)
    return model


def _answers(model, features):
    outputs = answer(model, {"features": features})
    maps = model.explain(outputs)
    return outputs["logits"].argmax(-1), np.asarray(maps["where"]), np.asarray(maps["when"])


def test_iterations_find_the_informative_frames(rng):
    """Half of what tanh allows above chance; without attention the other frames mislead."""
    features, labels, _ = _moments(rng, 384)
    held_out, truth, informative = _moments(rng, 200)
    accuracy, found = {}, {}
    for attention in ("temporal", "none"):
        model = TemporalAttentionLSTM(
            CLASSES, (FRAMES, CHANNELS), 16, 3, attention, dropout=0.0, last=2
        )
        classes, _, when = _answers(_learn(model, features, labels, 0.02), held_out)
        accuracy[attention] = np.mean(classes == truth)
        found[attention] = (when * informative).sum(1).mean()
    chance, attainable = 2 / 8, 2 * np.e / (2 * np.e + 6 / np.e)
    assert found["temporal"] > (chance + attainable) / 2
    np.testing.assert_allclose(found["none"], chance, rtol=1e-5)
    assert accuracy["temporal"] > 0.9 > 0.8 > accuracy["none"]


@pytest.mark.parametrize("temporal_mode, share", [("iterative", 0.6), ("posthoc", 0.35)])
def test_when_moves_to_the_informative_frames(rng, temporal_mode, share):
    """Of maps that are alike in all cells, so that no mask can help."""

    def maps(frames):
        shape = (len(frames), FRAMES, 2, 3, CHANNELS)
        return np.broadcast_to(frames[:, :, None, None], shape).copy()

    features, labels, _ = _moments(rng, 256)
    held_out, truth, informative = _moments(rng, 200)
    model = WhereAndWhen(
        CLASSES,
        (FRAMES, 2, 3, CHANNELS),
        units=8,
        spatial="none",
        temporal_mode=temporal_mode,
        attention_units=8,
        dropout=0.0,
    )
    classes, _, when = _answers(_learn(model, maps(features), labels, 0.01), maps(held_out))
    assert (when * informative).sum(1).mean() > share > 2 / 8
    assert np.mean(classes == truth) > 0.9


def test_the_mask_moves_to_the_informative_cell(rng):
    features, labels = _places(rng, 256)
    held_out, truth = _places(rng, 200)
    model = WhereAndWhen(CLASSES, (FRAMES, 2, 3, CHANNELS), units=8, attention_units=8, dropout=0.0)
    before = _answers(model, held_out)[1][:, :, 1, 2].mean()
    classes, where, _ = _answers(_learn(model, features, labels, 0.01), held_out)
    share = where[:, :, 1, 2].mean()
    assert share > 0.35 > 1 / 6
    assert share > 1.5 * before
    assert np.mean(classes == truth) > 0.9
