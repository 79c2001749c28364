"""The score file: the probabilities of a model for each video, for later fusion and comparison.

A plain .npz (an open format that any NumPy reads, and that can run no code when it is opened).
Letters: `V` videos, `K` classes.
"""

import dataclasses
import io
import typing
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_attn.errors import DataError
from keras_attn.metrics.aggregation import Aggregation, decision
from keras_attn.utils import files

AGGREGATIONS = typing.get_args(Aggregation)
INPUTS = ("rgb", "flow", "warped_flow", "rgb_and_flow", "trajectories", "fused")
SUBSETS = ("train", "validation", "test")
_KIND = "probabilities"
_TEXTS = ("model", "input", "subset", "clip_aggregation")
_LISTS = ("ids", "class_names")
_KNOWN = {"input": INPUTS, "subset": SUBSETS, "clip_aggregation": AGGREGATIONS}
_SUM_TOLERANCE = 1e-3  # float16 rows of a hundred classes add up this closely


@dataclasses.dataclass(frozen=True)
class Scores:
    """The content of a score file: one row per video.

    `logits` are the addends of a fusion before the softmax: the mean over the clips of the
    logarithms of the probabilities, which are the model's logits up to a constant for each clip;
    the decision values of the SVM for trajectories. `model` names the recipe's model, `input` its
    input (one of `INPUTS`) and `subset` the subset of the data (one of `SUBSETS`).
    `clip_aggregation` is the rule by which `predicted` follows from the clips: "vote" or "mean".
    """

    ids: Sequence[str]
    labels: np.ndarray  # (V,)
    class_names: Sequence[str]
    probabilities: np.ndarray  # (V, K)
    logits: np.ndarray  # (V, K)
    votes: np.ndarray  # (V, K)
    predicted: np.ndarray  # (V,)
    model: str
    input: str
    subset: str
    clip_aggregation: str = "mean"

    @property
    def decision(self) -> np.ndarray:
        """Shares of the classes by the rule, `(V, K)`; the largest is the answer."""
        return decision(self.probabilities, self.votes, self.clip_aggregation)


def log_probabilities(probabilities) -> np.ndarray:
    """Logits that give these probabilities, in float64; those below 1e-30 count as 1e-30."""
    return np.log(np.maximum(np.asarray(probabilities, "float64"), 1e-30))


def write_scores(path, scores: Scores) -> None:
    """Write a score file (.npz of plain arrays), whole or not at all."""
    check_scores(scores, path)
    memory = io.BytesIO()
    np.savez_compressed(
        memory,
        kind=np.array(_KIND),
        **{name: np.array(getattr(scores, name), np.str_) for name in _TEXTS},
        **{name: np.array(list(getattr(scores, name)), np.str_) for name in _LISTS},
        labels=np.asarray(scores.labels, "int64"),
        probabilities=np.asarray(scores.probabilities, "float64"),
        logits=np.asarray(scores.logits, "float64"),
        votes=np.asarray(scores.votes, "int64"),
        predicted=np.asarray(scores.predicted, "int64"),
    )
    files.write_atomic(path, memory.getvalue())


def read_scores(path) -> Scores:
    """Read a score file; `DataError` names the file and what is wrong with it."""
    names = [field.name for field in dataclasses.fields(Scores)]
    try:
        with np.load(io.BytesIO(Path(path).read_bytes())) as file:
            absent = sorted({"kind", *names} - set(file.files) - {"clip_aggregation"})
            if absent:
                raise DataError(
                    f"{path}: not a score file of this version: it lacks {', '.join(absent)}. "
                    "Evaluate again: keras-attn evaluate RUN"
                )
            if str(file["kind"]) != _KIND:
                raise DataError(f"{path}: holds {file['kind']!s}, expected {_KIND}")
            arrays = {name: file[name] for name in names if name in file.files}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; write one with `keras-attn evaluate`") from None
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as a score file ({error})") from error
    arrays |= {name: [str(x) for x in np.ravel(arrays[name])] for name in _LISTS}
    arrays |= {name: str(arrays[name]) for name in _TEXTS if name in arrays}
    scores = Scores(**arrays)
    check_scores(scores, path)
    return scores if "clip_aggregation" in arrays else _with_rule(scores)


def _with_rule(scores):
    """Scores of an earlier version, which answered by vote for every model, by the model's rule."""
    if scores.model == "structured_attention":
        return dataclasses.replace(scores, clip_aggregation="vote")
    if scores.input in ("trajectories", "fused"):  # no clips
        return scores
    return dataclasses.replace(scores, predicted=np.round(scores.probabilities, 12).argmax(1))


def check_scores(scores: Scores, path) -> None:
    """Raise `DataError` naming the first fault of `scores`, which `path` holds or will hold."""
    videos, classes = len(scores.ids), len(scores.class_names)
    if not videos or not classes:
        raise DataError(f"{path}: holds {videos} videos of {classes} classes, expected some")
    shapes = {"labels": (videos,), "predicted": (videos,)}
    shapes |= dict.fromkeys(("probabilities", "logits", "votes"), (videos, classes))
    for name, shape in shapes.items():
        values = np.asarray(getattr(scores, name))
        if values.shape != shape:
            raise DataError(f"{path}: {name} has shape {values.shape}, expected {shape}")
        if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            raise DataError(f"{path}: {name} must hold finite numbers")
    _check_values(scores, classes, path)


def _check_values(scores, classes, path):
    if not scores.model:
        raise DataError(f"{path}: model is empty, expected the name of a model")
    for name, known in _KNOWN.items():
        if getattr(scores, name) not in known:
            expected = ", ".join(known)
            raise DataError(f"{path}: {name} is {getattr(scores, name)!r}, expected {expected}")
    for name in ("labels", "predicted"):
        values = np.asarray(getattr(scores, name))
        if values.dtype.kind == "f" or values.min() < 0 or values.max() >= classes:
            raise DataError(f"{path}: {name} must be integers from 0 to {classes - 1}")
    if len(set(scores.ids)) < len(scores.ids):
        raise DataError(f"{path}: the same id is there twice, expected one row per video")
    probabilities = np.asarray(scores.probabilities, "float64")
    sums = probabilities.sum(1)
    worst = int(np.abs(sums - 1).argmax())
    if probabilities.min() < 0 or abs(sums[worst] - 1) > _SUM_TOLERANCE:
        raise DataError(
            f"{path}: the probabilities of {scores.ids[worst]} sum to {sums[worst]:.4f}, "
            "expected 1 and nothing negative"
        )
