"""The arithmetic of late fusion: what it is blind to, the weights of the papers, the search."""

import dataclasses

import numpy as np
import pytest
from score_files import streams

from keras_attn.metrics.fusion_weights import best_weights, default_weights, fused_scores, simplex


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("kind", ["logits", "l2"])
def test_a_constant_added_to_the_logits_of_a_video_changes_nothing(rng, kind):
    one, other = streams(rng)
    moved = dataclasses.replace(other, logits=other.logits + rng.normal(size=(23, 1)) * 50)
    before, after = (fused_scores([one, x], (0.4, 0.6), kind) for x in (other, moved))
    np.testing.assert_allclose(after.probabilities, before.probabilities, atol=1e-9)


def test_l2_is_blind_to_scale_and_bears_scores_that_say_nothing(rng):
    one, other = streams(rng)
    louder = dataclasses.replace(other, logits=other.logits * 1000)
    before, after = (fused_scores([one, x], (0.4, 0.6), "l2") for x in (other, louder))
    np.testing.assert_allclose(after.probabilities, before.probabilities, atol=1e-9)
    silent = dataclasses.replace(other, logits=np.full((23, 6), 3.5))
    alone = fused_scores([one, silent], (0.4, 0.6), "l2")
    np.testing.assert_array_equal(alone.predicted, one.predicted)


TEMPORAL = "temporal_attention"


@pytest.mark.parametrize(
    "inputs, model, expected",
    [
        (["rgb", "flow"], "sta_cnn", [0.4, 0.6]),
        (["flow", "rgb"], "pyramid_attention", [0.6, 0.4]),
        (["rgb", "flow"], TEMPORAL, [1 / 3, 2 / 3]),
        (["flow", "warped_flow", "rgb"], "sta_cnn", [0.4, 0.2, 0.4]),
        (["flow", "warped_flow", "rgb"], TEMPORAL, [0.4, 0.2, 0.4]),
        (["rgb_and_flow", "flow", "warped_flow"], "pyramid_attention", [0.4, 0.4, 0.2]),
        (["trajectories", "rgb"], "sta_cnn", [0.5, 0.5]),
        (["rgb", "trajectories", "flow"], "sta_cnn", [0.2, 0.5, 0.3]),
        (["fused", "trajectories"], "sta_cnn", [0.5, 0.5]),
    ],
)
def test_the_weights_of_the_papers(rng, inputs, model, expected):
    assert default_weights(streams(rng, inputs, model=model)) == pytest.approx(expected)


def test_the_simplex_holds_every_step_once():
    grid = list(simplex(3))
    assert len(grid) == len(set(grid)) == 231
    for weights in grid:
        assert sum(weights) == pytest.approx(1) and min(weights) >= 0
    assert set(simplex(2)) == {(i / 20, (20 - i) / 20) for i in range(21)}


def test_among_equally_good_weights_the_nearest_to_the_default_win(rng):
    one, other = streams(rng)
    same = [one, dataclasses.replace(one, input="flow")]
    assert best_weights(same, "probabilities")[0] == (0.4, 0.6)
    alike = [one, dataclasses.replace(one)]  # rgb twice: no default, so uniform
    assert best_weights(alike, "logits")[0] == (0.5, 0.5)
    _, accuracy = best_weights([one, other], "l2")
    labels = one.labels
    tried = [fused_scores([one, other], w, "l2").predicted for w in simplex(2)]
    assert accuracy == max(np.mean(answers == labels) for answers in tried)
