"""Learnability: the mask moves to the only informative cell, and penalties do what they say."""

import keras
import numpy as np
from checks import JIT, answer, gradient
from keras import ops

from keras_attn import losses
from keras_attn.models import StructuredAttentionLSTM

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy


def _softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def _one_informative_cell(rng, clips):
    """Noise everywhere but in one cell, the same in all clips, which shows the class."""
    labels = rng.integers(0, 4, clips)
    features = rng.normal(size=(clips, 5, 3, 4, 8)).astype("float32")
    features[:, :, 1, 2] *= 0.1
    features[np.arange(clips), :, 1, 2, labels] += 2
    features[np.arange(clips), :, 0, 0, 4 + rng.integers(0, 4, clips)] += 2  # a distractor
    return {"features": features}, labels


def _learn(attention, inputs, labels):
    model = StructuredAttentionLSTM(
        4, (5, 3, 4, 8), 16, attention, stride=1, logit_tanh=False, dropout=0.0, weight_decay=0.0
    )
    model.compile(keras.optimizers.Adam(0.02), CROSS_ENTROPY(from_logits=True), jit_compile=JIT)
    model.fit(inputs, labels, batch_size=32, epochs=6, verbose=0)
    return model


def test_attention_moves_to_the_informative_cell(rng):
    inputs, labels = _one_informative_cell(rng, 256)
    held_out, truth = _one_informative_cell(rng, 200)
    accuracy, at_cell = {}, {}
    for attention in ("structured", "none"):
        outputs = answer(_learn(attention, inputs, labels), held_out)
        accuracy[attention] = np.mean(outputs["logits"].argmax(-1) == truth)
        at_cell[attention] = outputs["spatial_attention"][:, 2:, 1, 2].mean()
    assert at_cell["structured"] > 0.5 > 1 / 12
    np.testing.assert_allclose(at_cell["none"], 1 / 12, rtol=1e-5)
    assert accuracy["structured"] > 0.9
    assert accuracy["structured"] > accuracy["none"]


def test_block_entropy_concentrates_and_block_sparsity_does_not():
    """From the same scores, gradient descent on each penalty alone."""
    start = np.random.default_rng(3).normal(size=(1, 1, 4, 4)).astype("float32")

    def largest_block(penalty):
        def value(scores):
            return penalty(ops.reshape(ops.softmax(ops.reshape(scores, (1, 16))), (1, 1, 4, 4)))

        scores = start
        for _ in range(60):
            scores = scores - 2.0 * gradient(value, scores)
        weights = _softmax(scores.reshape(16)).reshape(4, 4)
        return weights.reshape(2, 2, 2, 2).sum((1, 3)).max()

    before = _softmax(start.reshape(16)).reshape(2, 2, 2, 2).sum((1, 3)).max()
    assert largest_block(losses.block_entropy) > 0.95 > before
    assert largest_block(losses.block_sparsity) < before + 0.1
