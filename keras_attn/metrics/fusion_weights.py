"""The arithmetic of late fusion: weighted sums of the scores of several models.

Each kind is a sum over the streams, whose weights sum to one; see `KINDS`. Papers 001 and 004
average softmax scores and name no weights: those of TSN (Wang et al. 2016) stand in for them.
Letters: `V` videos, `K` classes.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from keras_attn.errors import UsageError
from keras_attn.metrics.scores import Scores, log_probabilities

STEP = 0.05  # of the weights that a search tries
# The addend of a stream, from its scores, at weight 1.
KINDS = {
    "probabilities": lambda scores: scores.decision,
    "logits": lambda scores: np.asarray(scores.logits, "float64"),  # TSN: before the softmax
    "l2": lambda scores: _unit(scores.logits),  # ActionVLAD (Girdhar et al. 2017)
}
_DEFAULTS = (
    {"rgb": 1, "flow": 1.5},  # TSN
    {"rgb": 1, "flow": 1, "warped_flow": 0.5},  # TSN
    {"rgb_and_flow": 1, "flow": 1, "warped_flow": 0.5},  # paper 004: reinforced RGB is the RGB
)
_WANG_2015 = {"rgb": 1, "flow": 2}  # very deep two-stream nets, which paper 002 builds on


def normalized(weights: Sequence[float], count: int) -> tuple[float, ...]:
    """`count` weights that sum to one; `UsageError` unless they can."""
    values = np.asarray(list(weights), "float64")
    if len(values) != count:
        raise UsageError(f"`weights` takes one number for each, {count} here, got {len(values)}")
    if not np.isfinite(values).all() or values.min() < 0 or not values.sum():
        numbers = " ".join(f"{value:g}" for value in values)
        raise UsageError(f"`weights` must be finite, not negative and not all 0, got {numbers}")
    return tuple(float(value) for value in values / values.sum())


def default_weights(streams: Sequence) -> tuple[float, ...]:
    """The weights of the papers for these inputs; `UsageError` where they give none.

    `streams` have a `model` and an `input`, as `Scores` and recipes do.

    RGB to flow is 1 to 1.5, and 1 to 2 for `temporal_attention`; RGB to flow to warped flow 1 to 1
    to 0.5, with motion-reinforced RGB in the place of RGB too. Trajectories have a half, and what
    they are fused with shares the other by its own weights.
    """
    inputs = [scores.input for scores in streams]
    others = [scores for scores in streams if scores.input != "trajectories"]
    if len(others) == len(streams) - 1 > 0:
        halves = iter(default_weights(others) if len(others) > 1 else [1.0])
        return tuple(0.5 if name == "trajectories" else next(halves) / 2 for name in inputs)
    tables = _DEFAULTS
    if {scores.model for scores in streams} == {"temporal_attention"}:
        tables = (_WANG_2015, *_DEFAULTS[1:])
    for table in tables:
        if sorted(table) == sorted(inputs):
            return normalized([table[name] for name in inputs], len(inputs))
    raise UsageError(
        f"no paper has weights for the inputs {', '.join(inputs)}: give `weights`, one number "
        "for each, or search for them on score files of the validation subset: keras-attn fuse "
        "FILE ... --search FILE, once for each"
    )


def fused_scores(streams: Sequence[Scores], weights: Sequence[float], kind: str) -> Scores:
    """The fusion of `aligned` streams, with weights that sum to one, as the scores of one model.

    With "logits" and "l2" the probabilities are the softmax of the sums: they rank the classes, but
    are no more calibrated than these. Each video has one vote, for its answer. A stream that votes
    adds its shares of the votes (`Scores.decision`), so that each stream keeps its own rule.
    """
    sums = _sums([KINDS[kind](scores) for scores in streams], weights)
    answers = _answers(sums)
    classes = len(streams[0].class_names)
    return dataclasses.replace(
        streams[0],
        probabilities=sums if kind == "probabilities" else _softmax(sums),
        logits=log_probabilities(sums) if kind == "probabilities" else sums,
        votes=np.eye(classes, dtype="int64")[answers],
        predicted=answers,
        clip_aggregation="mean",  # of what is added
        model=" + ".join(f"{scores.model} ({scores.input})" for scores in streams),
        input="fused",
    )


def _unit(logits):
    """Logits centered over the classes, divided by their L2 norm; zeros stay zeros: `(V, K)`."""
    centered = np.asarray(logits, "float64")
    centered = centered - centered.mean(1, keepdims=True)
    norms = np.linalg.norm(centered, axis=1, keepdims=True)
    return centered / np.where(norms > 0, norms, 1)


def _sums(addends, weights):
    return sum(weight * addend for weight, addend in zip(weights, addends, strict=True))


def _answers(sums):
    # Rounded, because the order of adding must not decide a tie through the last bit.
    return np.round(sums, 9).argmax(1)


def _softmax(x):
    exponentials = np.exp(x - x.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def best_weights(streams: Sequence[Scores], kind: str) -> tuple[tuple[float, ...], float]:
    """The weights of `simplex` with the best accuracy on `aligned` streams, and that accuracy.

    Among equals those nearest to `default_weights` (uniform ones, where there are none) win.
    """
    try:
        start = default_weights(streams)
    except UsageError:
        start = normalized([1] * len(streams), len(streams))
    addends = [KINDS[kind](scores) for scores in streams]
    labels = np.asarray(streams[0].labels)

    def merit(weights):
        right = int((_answers(_sums(addends, weights)) == labels).sum())
        return right, -round(sum((a - b) ** 2 for a, b in zip(weights, start, strict=True)), 9)

    best = max(simplex(len(streams)), key=merit)
    return best, merit(best)[0] / len(labels)


def simplex(count: int):
    """Every tuple of `count` multiples of `STEP` that sum to one."""
    steps = round(1 / STEP)
    for bars in itertools.combinations(range(steps + count - 1), count - 1):
        # As many steps to each as there are places between one bar and the next.
        ends = zip((-1, *bars), (*bars, steps + count - 1), strict=True)
        yield tuple((end - start - 1) / steps for start, end in ends)
