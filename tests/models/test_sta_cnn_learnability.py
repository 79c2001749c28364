"""Learnability: training finds the segments that show the class, and attention the cell."""

import keras
import numpy as np
from checks import JIT, answer

from keras_attn.models import STACNN

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy
CELL = 1, 2  # of 3x4
VARIANTS = {
    "attention": {},
    "every segment": {"groups": 1, "keep": 9, "test_pooling": "average"},
    "every cell": {"spatial": "none"},
}


def _one_segment_of_three(rng, clips):
    """Noise, and in one cell a class: clearly that of the clip in one segment of each three.

    The others show another class there, less clearly. Returns which segments show the clip's.
    """
    labels = rng.integers(0, 4, clips)
    shows = np.zeros((clips, 9), bool)
    shows.reshape(-1, 3)[np.arange(clips * 3), rng.integers(0, 3, clips * 3)] = True
    wrong = (labels[:, None] + rng.integers(1, 4, (clips, 9))) % 4
    features = rng.normal(size=(clips, 9, 3, 4, 6)).astype("float32")
    cell = 0.3 * rng.normal(size=(clips, 9, 6))
    cell += np.eye(6)[np.where(shows, labels[:, None], wrong)] * np.where(shows, 3, 2)[..., None]
    features[:, :, *CELL] = cell
    return {"features": features}, labels, shows


def _learn(inputs, labels, **arguments):
    model = STACNN(4, (9, 3, 4, 6), dropout=0.0, **{"test_keep": 3, **arguments})
    model.compile(keras.optimizers.Adam(0.03), CROSS_ENTROPY(from_logits=True), jit_compile=JIT)
    model.fit(inputs, labels, batch_size=32, epochs=12, verbose=0)
    return model


def test_attention_finds_the_segments_and_the_cell(rng):
    inputs, labels, _ = _one_segment_of_three(rng, 256)
    held_out, truth, shows = _one_segment_of_three(rng, 200)
    accuracy, selected, counted, at_cell = {}, {}, {}, {}
    for name, arguments in VARIANTS.items():
        outputs = answer(_learn(inputs, labels, **arguments), held_out)
        accuracy[name] = np.mean(outputs["logits"].argmax(-1) == truth)
        selected[name] = outputs["selected"][shows].sum() / outputs["selected"].sum()
        counted[name] = outputs["temporal_attention"][shows].sum() / 200
        at_cell[name] = outputs["spatial_attention"][:, :, *CELL].mean()
    assert selected["attention"] > 0.7 > selected["every cell"] + 0.2
    assert counted["attention"] > 0.7 > counted["every cell"] + 0.2
    chance = [selected["every segment"], counted["every segment"]]
    np.testing.assert_allclose(chance, 1 / 3, rtol=1e-5)
    assert at_cell["attention"] > 0.4 > at_cell["every cell"]
    assert accuracy["attention"] > 0.9
    assert accuracy["attention"] > accuracy["every segment"]
    assert accuracy["every cell"] < 0.5
