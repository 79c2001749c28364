"""The cross-entropy of logits for labels of every kind."""

import keras
import numpy as np
import pytest
from checks import cross_entropy

from keras_attn.losses import LogitsCrossEntropy


def test_labels_of_every_kind_give_the_same_loss(rng):
    logits, labels = rng.normal(size=(4, 3)).astype("float32"), np.array([2, 0, 1, 1])
    expected = cross_entropy(labels, logits).mean()
    for same in (labels, labels[:, None], labels.astype("float32"), np.eye(3)[labels]):
        np.testing.assert_allclose(LogitsCrossEntropy()(same, logits), expected, rtol=1e-5)
    steps = np.stack([logits, logits[::-1]], axis=1)  # (B, S, K)
    expected = cross_entropy(labels, steps).mean()
    spread = np.stack([labels, labels], axis=1)
    for same in (spread, spread[..., None], np.eye(3)[spread]):
        np.testing.assert_allclose(LogitsCrossEntropy()(same, steps), expected, rtol=1e-5)


def test_smoothed_and_mixed_labels_are_shares_of_the_classes(rng):
    logits, shares = rng.normal(size=(4, 3)).astype("float32"), rng.dirichlet(np.ones(3), 4)
    all_classes = np.stack([cross_entropy(np.full(4, k), logits) for k in range(3)], axis=1)
    expected = (shares * all_classes).sum(1)
    loss = LogitsCrossEntropy()
    np.testing.assert_allclose(loss(shares, logits), expected.mean(), rtol=1e-5)
    weights = np.array([1.0, 0.0, 2.0, 0.0])
    found = loss(shares, logits, sample_weight=weights)
    np.testing.assert_allclose(found, (weights * expected).mean(), rtol=1e-5)


def test_it_is_saved_with_its_arguments():
    config = keras.losses.serialize(LogitsCrossEntropy(reduction="sum", name="mine"))
    loaded = keras.losses.deserialize(config)
    assert type(loaded) is LogitsCrossEntropy
    assert (loaded.reduction, loaded.name) == ("sum", "mine")


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(B, 1\) or \(B, 3\) .*, got \(4, 2\)"):
        LogitsCrossEntropy()(np.zeros((4, 2)), np.zeros((4, 3)))
