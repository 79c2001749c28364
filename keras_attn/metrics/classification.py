"""From clip probabilities to video scores, and every number of an evaluation: pure NumPy.

Letters: `N` clips, `V` videos, `K` classes. Labels and predictions are class numbers from 0.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_attn.metrics.aggregation import Aggregation, decision
from keras_attn.metrics.scores import Scores, check_scores


@dataclasses.dataclass(frozen=True)
class VideoScores:
    """The clips of each video joined."""

    probabilities: np.ndarray  # (V, K) mean over the clips
    votes: np.ndarray  # (V, K) clips whose largest probability is that class
    predicted: np.ndarray  # (V,)


@dataclasses.dataclass(frozen=True)
class Summary:
    """Every number of an evaluation; None stands for one that cannot be computed."""

    class_names: list[str]
    videos: int
    accuracy: float
    correct: int
    mean_class_accuracy: float
    classes_absent: int  # classes without a video, left out of the mean
    largest_class_share: float  # accuracy of always answering the most frequent class
    top_5: float | None  # None when there are five classes or fewer
    interval: tuple[float, float] | None  # of the accuracy; None with fewer than two units
    interval_level: float
    interval_units: int  # how many groups (or videos) were resampled
    interval_over: str  # "groups" or "videos"
    calibration_error: float
    calibration_bins: int
    reliability: list[dict]
    per_class: list[dict]
    confusion: np.ndarray  # (K, K), rows = truth
    most_confused: list[dict]


def video_scores(
    clip_probabilities: np.ndarray,
    video_of_clip: np.ndarray,
    videos: Sequence[str],
    aggregation: Aggregation,
) -> VideoScores:
    """Join clips to videos.

    Shapes: `(N, K)` probabilities, `(N,)` row numbers in `videos`, `V` ids. "mean" answers the
    class of the largest mean probability, "vote" the class that most clips answer (Quan et al.
    2020, eq. 14-15). The papers have no rule for ties (ours): of votes the larger mean
    probability, then the smaller label. Raises `ValueError` for videos without clips, which it
    names.
    """
    probabilities = np.asarray(clip_probabilities, "float64")
    row = np.asarray(video_of_clip)
    _check_clips(probabilities, row, videos)
    summed = np.zeros((len(videos), probabilities.shape[1]))
    votes = np.zeros(summed.shape, "int64")
    np.add.at(summed, row, probabilities)
    np.add.at(votes, (row, probabilities.argmax(1)), 1)  # eq. (14)
    means = summed / votes.sum(1, keepdims=True)
    # Rounded, because the order of the clips must not decide a tie through the last bit.
    predicted = np.round(decision(means, votes, aggregation), 12).argmax(1)
    return VideoScores(means, votes, predicted)


def _check_clips(probabilities, row, videos):
    if probabilities.ndim != 2 or row.shape != probabilities.shape[:1]:
        raise ValueError(
            "clip_probabilities must be (clips, classes) with one entry of video_of_clip per clip, "
            f"got shapes {probabilities.shape} and {row.shape}"
        )
    if not np.issubdtype(row.dtype, np.integer) or np.any((row < 0) | (row >= len(videos))):
        raise ValueError(
            f"video_of_clip must hold integers from 0 to {len(videos) - 1} (rows of videos), "
            f"got {row.dtype} {row[:5].tolist()}..."
        )
    if not (np.isfinite(probabilities).all() and (probabilities >= 0).all()):
        raise ValueError("clip_probabilities must be finite and not negative")
    silent = [videos[i] for i in np.setdiff1d(np.arange(len(videos)), row)]
    if silent:
        more = f" and {len(silent) - 5} more" if len(silent) > 5 else ""
        raise ValueError(f"videos without clips: {', '.join(map(str, silent[:5]))}{more}")


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Share of the videos whose prediction is their label."""
    return float(np.mean(np.asarray(predicted) == np.asarray(labels)))


def mean_class_accuracy(
    predicted: np.ndarray, labels: np.ndarray, num_classes: int
) -> tuple[float, int]:
    """Mean of the accuracies of the classes that occur, and the number that do not occur."""
    counts = confusion(predicted, labels, num_classes)
    videos = counts.sum(1)
    present = videos > 0
    shares = np.diag(counts)[present] / videos[present]
    return float(shares.mean()), int(num_classes - present.sum())


def top_k(probabilities: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of the videos whose label is among the `k` most probable; ties: the smaller label."""
    if not 1 <= k <= probabilities.shape[1]:
        raise ValueError(f"k must be from 1 to {probabilities.shape[1]} classes, got {k}")
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float(np.mean((order == np.asarray(labels)[:, None]).any(1)))


def confusion(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Count videos by truth (rows) and prediction (columns), `(K, K)`."""
    counts = np.zeros((num_classes, num_classes), "int64")
    np.add.at(counts, (np.asarray(labels), np.asarray(predicted)), 1)
    return counts


def per_class(counts: np.ndarray, class_names: Sequence[str]) -> list[dict]:
    """One row per class, from its `(K, K)` confusion counts.

    `accuracy` is None for a class without videos, `precision` for one never predicted;
    `confused_with` names the most frequent wrong answer (ties: the smaller label), "" if none.
    """
    wrong = counts - np.diag(np.diag(counts))
    rows = []
    for label, name in enumerate(class_names):
        videos, answers = int(counts[label].sum()), int(counts[:, label].sum())
        correct, rival = int(counts[label, label]), int(wrong[label].argmax())
        confused = int(wrong[label, rival])
        rows.append(
            {
                "class": name,
                "videos": videos,
                "correct": correct,
                "accuracy": correct / videos if videos else None,
                "precision": correct / answers if answers else None,
                "confused_with": class_names[rival] if confused else "",
                "confused": confused,
            }
        )
    return rows


def most_confused(counts: np.ndarray, class_names: Sequence[str], count: int = 12) -> list[dict]:
    """The `count` most frequent mistakes: truth, answer, how many videos, out of how many."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [
        {
            "truth": class_names[truth],
            "answer": class_names[answer],
            "times": int(wrong[truth, answer]),
            "videos": int(counts[truth].sum()),
        }
        for truth, answer in pairs
        if wrong[truth, answer]
    ]


def calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = 15
) -> tuple[float, list[dict]]:
    """Expected calibration error over equal-width bins `(low, high]`, and the bins with videos.

    Guo et al. 2017, eq. (3): the confidence is the largest mean probability of a video and the
    answer its class, which a vote may overrule; so this judges the probabilities, not a vote.
    """
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == np.asarray(labels)
    of_bin = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows, error = [], 0.0
    for number in np.unique(of_bin):
        inside = of_bin == number
        mean, share = float(confidence[inside].mean()), float(correct[inside].mean())
        error += abs(mean - share) * inside.mean()
        low, high = float(number / bins), float((number + 1) / bins)
        rows.append(
            {
                "low": low,
                "high": high,
                "videos": int(inside.sum()),
                "confidence": mean,
                "accuracy": share,
            }
        )
    return float(error), rows


def accuracy_interval(
    predicted: np.ndarray,
    labels: np.ndarray,
    groups: Sequence | None = None,
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap of the accuracy, drawing whole groups (videos when `groups` is None).

    Videos of one group resemble each other, so drawing single videos would make the interval too
    narrow. None with fewer than two groups: one says nothing about how groups differ.
    """
    correct = (np.asarray(predicted) == np.asarray(labels)).astype("float64")
    groups = np.arange(len(correct)) if groups is None else np.asarray(groups)
    names, of_video = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return None
    hits, sizes = np.bincount(of_video, correct), np.bincount(of_video)
    random = np.random.default_rng(seed)
    shares = np.empty(samples)
    for i in range(samples):  # one draw at a time: all at once would take samples x V numbers
        drawn = random.integers(0, len(names), len(names))
        shares[i] = hits[drawn].sum() / sizes[drawn].sum()
    low, high = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def summarize(
    scores: Scores, groups: Sequence | None = None, level: float = 0.95, seed: int = 0
) -> Summary:
    """Every number of an evaluation; `groups` (V,) are the units of the bootstrap."""
    check_scores(scores, "scores")
    classes = len(scores.class_names)
    labels, predicted = np.asarray(scores.labels), np.asarray(scores.predicted)
    counts = confusion(predicted, labels, classes)
    mean_of_classes, absent = mean_class_accuracy(predicted, labels, classes)
    error, reliability = calibration_error(scores.probabilities, labels, bins=15)
    return Summary(
        class_names=list(scores.class_names),
        videos=len(labels),
        accuracy=accuracy(predicted, labels),
        correct=int(np.trace(counts)),
        mean_class_accuracy=mean_of_classes,
        classes_absent=absent,
        largest_class_share=float(counts.sum(1).max() / len(labels)),
        top_5=top_k(scores.probabilities, labels, 5) if classes > 5 else None,
        interval=accuracy_interval(predicted, labels, groups, level, seed=seed),
        interval_level=level,
        interval_units=len(labels if groups is None else set(groups)),
        interval_over="videos" if groups is None else "groups",
        calibration_error=error,
        calibration_bins=15,
        reliability=reliability,
        per_class=per_class(counts, scores.class_names),
        confusion=counts,
        most_confused=most_confused(counts, scores.class_names),
    )
