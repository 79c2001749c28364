"""Video scores and every number of an evaluation, each against a plain loop."""

import numpy as np
import pytest
from score_files import some_scores

from keras_attn.metrics import classification


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_video_scores_equal_a_loop_and_ignore_the_order_of_the_clips(rng):
    probabilities = rng.dirichlet(np.ones(3), 40)
    row = np.concatenate([np.arange(7), rng.integers(0, 7, 33)])
    scores = classification.video_scores(probabilities, row, list("abcdefg"), "vote")
    for video in range(7):
        clips = [probabilities[i] for i in range(40) if row[i] == video]
        votes = [sum(int(np.argmax(p)) == k for p in clips) for k in range(3)]
        np.testing.assert_allclose(scores.probabilities[video], sum(clips) / len(clips))
        assert scores.votes[video].tolist() == votes
        best = max(range(3), key=lambda k: (votes[k], sum(p[k] for p in clips), -k))
        assert scores.predicted[video] == best
    order = rng.permutation(40)
    again = classification.video_scores(probabilities[order], row[order], list("abcdefg"), "vote")
    np.testing.assert_array_equal(again.predicted, scores.predicted)


@pytest.mark.parametrize(
    ("clips", "expected", "why"),
    [
        ([[0.5, 0.3, 0.2], [0.5, 0.4, 0.1], [0.0, 1.0, 0.0]], 0, "votes beat the summed score"),
        ([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]], 2, "a tie of votes: the larger sum"),
        ([[0.1, 0.45, 0.45], [0.45, 0.1, 0.45]], 0, "a class without votes cannot win by its sum"),
        ([[0.1, 0.2, 0.7], [0.1, 0.7, 0.2]], 1, "a tie of sums too: the smaller label"),
        ([[0.2, 0.4, 0.4]], 1, "a tie inside a clip: the smaller label"),
        (
            [[0, 0.1, 0.9], [0, 0.8, 0.2], [0, 0.7, 0.3], [0, 0.4, 0.6]],
            1,
            "equal sums are equal in any order of adding",
        ),
    ],
)
def test_tie_rules(clips, expected, why):
    for order in (clips, clips[::-1]):
        scores = classification.video_scores(
            np.array(order), np.zeros(len(clips), int), ["v"], "vote"
        )
        assert scores.predicted.tolist() == [expected], why


def test_videos_without_clips_are_named():
    with pytest.raises(ValueError, match=r"without clips: b\.avi, d\.avi"):
        classification.video_scores(
            np.eye(2), np.array([2, 0]), ["a.avi", "b.avi", "c.avi", "d.avi"], "mean"
        )


@pytest.mark.parametrize(
    ("probabilities", "row"),
    [
        (np.eye(2), np.array([0, 2])),
        (np.eye(2), np.array([0.0, 1.0])),
        (np.eye(2), np.array([0])),
        (np.array([[np.nan, 1.0], [0.0, 1.0]]), np.array([0, 1])),
    ],
)
def test_clips_that_make_no_sense_are_refused(probabilities, row):
    with pytest.raises(ValueError, match="video_of_clip|finite"):
        classification.video_scores(probabilities, row, ["a", "b"], "mean")


def test_accuracies_and_confusion_equal_loops(rng):
    labels, predicted = rng.integers(0, 4, 50), rng.integers(0, 5, 50)
    counts = classification.confusion(predicted, labels, 5)
    for truth in range(5):
        for answer in range(5):
            pairs = zip(labels, predicted, strict=True)
            expected = sum(pair == (truth, answer) for pair in pairs)
            assert counts[truth, answer] == expected
    shares = [np.mean([predicted[i] == k for i in range(50) if labels[i] == k]) for k in range(4)]
    assert classification.mean_class_accuracy(predicted, labels, 5) == (
        pytest.approx(np.mean(shares)),
        1,
    )
    assert classification.accuracy(predicted, labels) == sum(labels == predicted) / 50


def test_top_k_counts_the_label_among_the_best(rng):
    probabilities, labels = rng.dirichlet(np.ones(6), 30), rng.integers(0, 6, 30)
    for k in (1, 2, 5, 6):
        pairs = zip(probabilities, labels, strict=True)
        hits = [sum(p > row[label] for p in row) < k for row, label in pairs]
        assert classification.top_k(probabilities, labels, k) == pytest.approx(np.mean(hits))
    assert classification.top_k(np.full((2, 3), 1 / 3), np.array([0, 2]), 2) == 0.5
    with pytest.raises(ValueError, match="from 1 to 6"):
        classification.top_k(probabilities, labels, 7)


def test_per_class_table():
    counts = np.array([[3, 1, 1, 0], [0, 2, 0, 0], [0, 0, 0, 0], [2, 0, 0, 0]])
    rows = classification.per_class(counts, ["a", "b", "c", "d"])
    assert rows[0] == {
        "class": "a",
        "videos": 5,
        "correct": 3,
        "accuracy": 0.6,
        "precision": 0.6,
        "confused_with": "b",
        "confused": 1,
    }
    assert (rows[1]["precision"], rows[1]["confused_with"]) == (pytest.approx(2 / 3), "")
    assert (rows[2]["accuracy"], rows[2]["precision"]) == (None, 0.0)
    assert (rows[3]["accuracy"], rows[3]["precision"]) == (0.0, None)
    pairs = classification.most_confused(counts, ["a", "b", "c", "d"], count=2)
    assert [(p["truth"], p["answer"], p["times"], p["videos"]) for p in pairs] == [
        ("d", "a", 2, 2),
        ("a", "b", 1, 5),
    ]


def test_calibration_error_equals_a_loop(rng):
    probabilities, labels = rng.dirichlet(np.ones(3), 60), rng.integers(0, 3, 60)
    error, rows = classification.calibration_error(probabilities, labels, bins=7)
    expected = 0.0
    for number in range(7):
        inside = [i for i in range(60) if number / 7 < probabilities[i].max() <= (number + 1) / 7]
        if inside:
            confidence = np.mean([probabilities[i].max() for i in inside])
            right = np.mean([probabilities[i].argmax() == labels[i] for i in inside])
            expected += abs(confidence - right) * len(inside) / 60
    assert error == pytest.approx(expected)
    assert sum(row["videos"] for row in rows) == 60
    assert classification.calibration_error(np.eye(3), np.arange(3))[0] == 0
    assert classification.calibration_error(np.eye(3), np.array([1, 2, 0]))[0] == 1


def test_the_interval_is_deterministic_and_wider_over_groups():
    groups = np.repeat(np.arange(10), 8)
    predicted = np.where(groups < 6, 0, 1)  # whole groups are right or wrong together
    labels = np.zeros(80, int)
    over_videos = classification.accuracy_interval(predicted, labels, seed=3)
    over_groups = classification.accuracy_interval(predicted, labels, groups, seed=3)
    assert over_groups == classification.accuracy_interval(predicted, labels, groups, seed=3)
    assert over_groups[0] < over_videos[0] < 0.6 < over_videos[1] < over_groups[1]
    # The percentiles of a binomial share, which drawing single videos amounts to.
    assert over_videos == pytest.approx((0.4875, 0.7), abs=0.03)
    narrow = classification.accuracy_interval(predicted, labels, level=0.5, seed=3)
    assert over_videos[0] < narrow[0] < narrow[1] < over_videos[1]
    assert classification.accuracy_interval(predicted, labels, np.zeros(80)) is None


def test_summary_gathers_the_parts(rng):
    scores = some_scores(rng)
    summary = classification.summarize(scores, groups=[f"g{i % 4}" for i in range(23)])
    assert summary.accuracy == summary.correct / 23
    assert (summary.classes_absent, summary.interval_units, summary.interval_over) == (
        1,
        4,
        "groups",
    )
    assert summary.top_5 == classification.top_k(scores.probabilities, scores.labels, 5)
    assert summary.interval[0] <= summary.accuracy <= summary.interval[1]
    assert summary.largest_class_share == max(np.bincount(scores.labels)) / 23
    assert classification.summarize(some_scores(rng, classes=5)).top_5 is None


THREE_CLIPS = np.array([[0.51, 0.49], [0.51, 0.49], [0.02, 0.98]])


def test_the_two_rules_answer_differently():
    for rule, answer in (("vote", 0), ("mean", 1)):
        found = classification.video_scores(THREE_CLIPS, np.zeros(3, int), ["v"], rule)
        assert found.predicted.tolist() == [answer]
        np.testing.assert_allclose(found.probabilities, [[1.04 / 3, 1.96 / 3]])
        assert found.votes.tolist() == [[2, 1]]
    votes, means = np.array([[2, 1], [1, 1]]), np.array([[0.3, 0.7], [0.4, 0.6]])
    found = classification.decision(means, votes, "vote")
    np.testing.assert_allclose(found, [[2.3 / 4, 1.7 / 4], [1.4 / 3, 1.6 / 3]])
    np.testing.assert_array_equal(classification.decision(means, votes, "mean"), means)
