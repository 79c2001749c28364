"""Fuse the score files of several models of the same videos, and count the gain."""

import dataclasses
import itertools
import typing
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_attn.errors import DataError, UsageError
from keras_attn.metrics import classification
from keras_attn.metrics.fusion_weights import (
    KINDS,
    best_weights,
    default_weights,
    fused_scores,
    normalized,
)
from keras_attn.metrics.scores import Scores, read_scores, write_scores


@dataclasses.dataclass(frozen=True)
class FusedStream:
    """One score file of a fusion; its accuracies are those of its own answers."""

    path: Path
    model: str
    input: str
    weight: float
    accuracy: float
    mean_class_accuracy: float


@dataclasses.dataclass(frozen=True)
class FusionSummary:
    """The result of a fusion.

    `corrected` and `newly_wrong` count videos, compared with the `best` stream. `origin` is the
    origin of the weights: "given", "default" or "search"; `search_accuracy` is then the accuracy
    on the fused validation subset.
    """

    streams: tuple[FusedStream, ...]
    kind: str
    origin: str
    subset: str
    videos: int
    accuracy: float
    mean_class_accuracy: float
    best: Path
    corrected: int
    newly_wrong: int
    search_accuracy: float | None = None
    out: Path | None = None

    @property
    def weights(self) -> tuple[float, ...]:
        return tuple(stream.weight for stream in self.streams)

    def lines(self) -> list[str]:
        lines = [
            f"{stream.path}: {stream.model} on {stream.input}, weight {stream.weight:.3f}, "
            f"{_percent(stream)}"
            for stream in self.streams
        ]
        origins = {"given": "given", "default": "by default", "search": "found by a search"}
        searched = ""
        if self.search_accuracy is not None:
            searched = f" (accuracy {self.search_accuracy:.1%} on the validation subset)"
        return [
            *lines,
            f"fused {self.kind} of {self.videos} videos ({self.subset}), weights "
            f"{origins[self.origin]}{searched}: {_percent(self)}",
            f"{self.corrected} videos corrected and {self.newly_wrong} newly wrong compared with "
            f"{self.best}",
            *([f"fused scores: {self.out}"] if self.out else []),
        ]

    def as_dict(self) -> dict:
        values = dataclasses.asdict(self) | {"weights": list(self.weights)}
        values["streams"] = [stream | {"path": str(stream["path"])} for stream in values["streams"]]
        values |= {"best": str(self.best), "out": str(self.out) if self.out else None}
        return values


def _percent(found):
    return f"accuracy {found.accuracy:.1%}, mean over classes {found.mean_class_accuracy:.1%}"


def fuse(
    files: Sequence[Path | str],
    *,
    weights: Sequence[float] | None = None,
    kind: typing.Literal["probabilities", "logits", "l2"] | None = None,
    search: Sequence[Path | str] | None = None,
    out: Path | str | None = None,
) -> FusionSummary:
    """Fuse the score files of several models of the same videos.

    The videos may be in any order. "probabilities" takes the weighted mean of the probabilities (of
    a model that votes, of the shares of the votes), "logits" the weighted sum before the softmax,
    "l2" the weighted sum of logits that are centered over the classes and divided by their norm.

    Args:
        files: Score files, or run folders, which stand for their scores of the test subset.
        weights: Weight of each of `files`, in their order, scaled to sum to one; those of the
            papers for their inputs if not given.
        kind: What is added, by default "l2" with trajectories and else "probabilities".
        search: Score file or run folder of the validation subset on which to search for weights;
            one for each of `files`, in their order. Weights in steps of 0.05 are tried; of the best
            those nearest to the default are taken.
        out: Score file to write with the fused scores.

    Returns:
        A `FusionSummary`.

    Raises:
        UsageError: Arguments do not go together.
        DataError: The files do not hold the same videos, labels and classes.
    """
    paths = _paths(files, "test")
    _check_call(paths, weights, search, out)
    streams = aligned([read_scores(path) for path in paths], paths)
    kind = _kind(kind, streams)
    searched = None
    if search is not None:
        origin, (weights, searched) = "search", _search(streams, paths, search, kind)
    elif weights is not None:
        origin, weights = "given", normalized(weights, len(streams))
    else:
        origin, weights = "default", default_weights(streams)
    fused = fused_scores(streams, weights, kind)
    if out is not None:
        write_scores(out, fused)
    return FusionSummary(
        streams=_streams(paths, streams, weights),
        kind=kind,
        origin=origin,
        search_accuracy=searched,
        out=None if out is None else Path(out),
        subset=fused.subset,
        videos=len(fused.ids),
        **_accuracies(fused),
        **_gain(paths, streams, fused),
    )


def _check_call(paths, weights, search, out):
    if len(paths) < 2:
        raise UsageError(f"a fusion takes two score files or more, got {len(paths)}")
    if out is not None and Path(out).resolve() in {path.resolve() for path in paths}:
        raise UsageError(f"`out` {out} is one of the files being fused; give another name")
    if weights is not None and search is not None:
        raise UsageError("give `weights`, or `search` for them, not both")


def _kind(kind, streams):
    if kind is None:
        trajectories = any(scores.input == "trajectories" for scores in streams)
        return "l2" if trajectories else "probabilities"
    if kind not in KINDS:
        raise UsageError(f"`kind` must be one of {', '.join(KINDS)}, got {kind!r}")
    return kind


def _paths(files, subset):
    paths = [Path(file) for file in files]
    paths = [p / "evaluation" / subset / "scores.npz" if p.is_dir() else p for p in paths]
    seen = set()
    for path in paths:
        if path.resolve() in seen:
            raise UsageError(f"{path}: is given twice; fuse different models")
        seen.add(path.resolve())
    return paths


def aligned(streams: list[Scores], paths) -> list[Scores]:
    """The streams with their videos in the order of the first; `DataError` unless they match."""
    first, *others = streams
    result = [first]
    for scores, path in zip(others, paths[1:], strict=True):
        _check_classes(first, paths[0], scores, path)
        if scores.subset != first.subset:
            raise DataError(
                f"{path}: holds the {scores.subset} subset, {paths[0]} the {first.subset} subset; "
                "evaluate both on the same subset"
            )
        row = {key: i for i, key in enumerate(scores.ids)}
        _check_ids(first.ids, paths[0], scores.ids, path)
        _check_ids(scores.ids, path, first.ids, paths[0])
        order = np.array([row[key] for key in first.ids])
        _check_labels(first, paths[0], scores, order, path)
        rows = ("labels", "probabilities", "logits", "votes", "predicted")
        moved = {name: np.asarray(getattr(scores, name))[order] for name in rows}
        result.append(dataclasses.replace(scores, ids=first.ids, **moved))
    return result


def _check_classes(first, first_path, scores, path):
    pairs = itertools.zip_longest(first.class_names, scores.class_names)
    for number, (one, other) in enumerate(pairs):
        if one != other:
            raise DataError(
                f"{path}: its class {number} is {other!r}, that of {first_path} is {one!r}; fuse "
                "models of the same classes in the same order"
            )


def _check_ids(ids, path, others, other_path):
    absent = sorted(set(ids) - set(others))
    if absent:
        raise DataError(
            f"{other_path}: lacks {len(absent)} of the {len(ids)} videos of {path}, as "
            f"{absent[0]}; evaluate both on the same data and split"
        )


def _check_labels(first, first_path, scores, order, path):
    different = np.flatnonzero(np.asarray(scores.labels)[order] != np.asarray(first.labels))
    if len(different):
        i = different[0]
        one, other = first.labels[i], scores.labels[order[i]]
        raise DataError(
            f"{path}: labels {first.ids[i]} as {scores.class_names[other]}, {first_path} as "
            f"{first.class_names[one]}; evaluate both on the same data"
        )


def _search(streams, paths, search, kind):
    """The best weights on validation scores, and their accuracy there."""
    found = _paths(search, "validation")
    if len(found) != len(streams):
        raise UsageError(f"`search` takes {len(streams)} files, one per stream, got {len(found)}")
    validation = aligned([read_scores(path) for path in found], found)
    for scores, path, stream, of in zip(validation, found, streams, paths, strict=True):
        if scores.subset != "validation":
            raise UsageError(
                f"{path}: holds the {scores.subset} subset; weights are searched on the validation "
                "subset only: keras-attn evaluate RUN --subset validation"
            )
        if (scores.model, scores.input) != (stream.model, stream.input):
            raise UsageError(
                f"{path}: is of {scores.model} on {scores.input}, in the place of {of}, "
                f"{stream.model} on {stream.input}; give `search` in the order of the files"
            )
        _check_classes(stream, of, scores, path)
    shared = sorted(set(validation[0].ids) & set(streams[0].ids))
    if shared:
        raise UsageError(
            f"{found[0]}: shares {len(shared)} videos with {paths[0]}, as {shared[0]}; weights "
            "must be searched on other videos"
        )
    return best_weights(validation, kind)


def _streams(paths, streams, weights):
    return tuple(
        FusedStream(path, scores.model, scores.input, weight, **_accuracies(scores))
        for path, scores, weight in zip(paths, streams, weights, strict=True)
    )


def _accuracies(scores):
    answers, labels = scores.predicted, scores.labels
    mean, _ = classification.mean_class_accuracy(answers, labels, len(scores.class_names))
    return {"accuracy": classification.accuracy(answers, labels), "mean_class_accuracy": mean}


def _gain(paths, streams, fused):
    """Changes by the fusion compared with the best stream, the first among equals."""
    right = [scores.predicted == scores.labels for scores in streams]
    best = max(range(len(right)), key=lambda i: right[i].sum())
    before, after = right[best], fused.predicted == fused.labels
    return {
        "best": paths[best],
        "corrected": int((after & ~before).sum()),
        "newly_wrong": int((before & ~after).sum()),
    }
