"""score_trajectories: a linear classifier on Fisher vectors of improved dense trajectories.

    records -> trajectories (cached) -> sample -> PCA, Gaussians -> Fisher vector per video
            -> one linear SVM per class, learned on the training subset -> score file

The baseline, and the complement in fusion, of papers 002 and 004. Wang & Schmid, ICCV 2013; the
encoding is that of `trajectories.FisherEncoder`, and C = 100.
"""

import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from keras_attn.data.source import subset_labels
from keras_attn.datasets import tables
from keras_attn.errors import DataError, UsageError, require
from keras_attn.metrics import classification
from keras_attn.metrics.scores import SUBSETS, Scores, write_scores
from keras_attn.trajectories import FisherEncoder
from keras_attn.trajectories.store import TrajectoryStore

PENALTY = 100.0  # C of the SVM
SAMPLE = 256_000  # trajectories that the vocabulary is learned from
_ROUNDS = 10_000  # of the SVM's solver, at most


@dataclass(frozen=True)
class TrajectorySummary:
    """The outcome of `score_trajectories`; `videos == written + kept` always holds."""

    path: Path
    subset: str
    videos: int
    written: int
    kept: int
    trajectories: int
    stored: int  # trajectories, fewer where a video has more than the limit
    accuracy: float
    correct: int
    scored: int
    interval: tuple[float, float] | None  # 95 % interval of the accuracy
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """The summary as text."""
        interval = ""
        if self.interval:
            interval = f" (95% interval {self.interval[0]:.1%} to {self.interval[1]:.1%})"
        return [
            f"{self.videos} videos = {self.written} written + {self.kept} kept: "
            f"{self.trajectories} trajectories found, {self.stored} stored",
            f"{self.subset}: {self.correct} of {self.scored} videos right, accuracy "
            f"{self.accuracy:.1%}{interval}",
            f"scores: {self.path}",
            *tables.shortened(self.notes),
        ]

    def as_dict(self) -> dict:
        """The summary in plain values, for JSON."""
        return {**asdict(self), "path": str(self.path)}


def score_trajectories(
    data: Path | str,
    out: Path | str,
    *,
    subset: Literal["train", "validation", "test"] = "test",
    fold: int | None = None,
    components: int = 256,
    short_side: int = 160,
    limit: int = 10_000,
    sample: int = SAMPLE,
    workers: int | None = None,
    progress=None,
) -> TrajectorySummary:
    """Classify videos by their improved dense trajectories, and write a score file for `fuse`.

    Trajectories are extracted once and kept in the data folder. The classifier learns from the
    training subset. Videos without trajectories are scored as zero vectors, but not learned from: a
    zero vector of a class would move its threshold alone.

    Args:
        data: Data folder that was split and prepared.
        out: Score file to write (.npz), or a folder that gets `scores.npz`.
        subset: Videos that are scored.
        fold: Fold that is the test subset, where the split has folds.
        components: Gaussians of the Fisher vectors.
        short_side: Height or width in pixels that frames are made smaller to, whichever is less.
        limit: Trajectories that are stored of a video; of more a random choice is stored.
        sample: Trajectories that the Gaussians are learned from.
        workers: Videos that are worked on at a time, by default one per processor.
        progress: Called with the number of videos done, that of all, and the id of one.

    Returns:
        The counts of what was extracted, and the accuracy.

    Raises:
        UsageError: an argument is out of its range.
        DataError: a subset is empty, a record is damaged, the trajectories there were created with
            different settings, or the training subset has one class or too few trajectories.
        UserError: a package is missing, the disk is full, or another process extracts there.
    """
    encoder = _encoder(components, sample)
    if subset not in SUBSETS:
        raise UsageError(f"`subset` must be one of {', '.join(SUBSETS)}, got {subset!r}")
    if workers is not None and workers < 1:
        raise UsageError(f"`workers` must be at least 1, got {workers}")
    _require_libraries()
    data, out = Path(data), Path(out)
    path = out if out.suffix == ".npz" else out / "scores.npz"
    labels = _labels(data, fold, subset)
    store = TrajectoryStore(data, short_side, limit)
    wanted = labels["train"] | labels[subset]
    rows = [row for row in tables.read_manifest(data) if row.usable]
    written = store.extract(rows, wanted, workers, progress)
    train = {key: label for key, label in labels["train"].items() if store.counts([key])[1]}
    _learn_vocabulary(store, encoder, list(train), sample)
    classes = tables.read_classes(data)
    svm = _train_svm(_encoded(store, encoder, list(train)), _several_classes(data, train))
    asked = list(labels[subset])
    logits = decision_values(svm, _encoded(store, encoder, asked), len(classes))
    scores = _scores(labels[subset], classes, logits, subset)
    write_scores(path, scores)
    groups = {row.id: row.group or row.id for row in rows}
    summary = classification.summarize(scores, [groups[key] for key in asked])
    found, stored = store.counts(wanted)
    return TrajectorySummary(
        path=path,
        subset=subset,
        videos=len(wanted),
        written=len(written),
        kept=len(wanted) - len(written),
        trajectories=found,
        stored=stored,
        accuracy=summary.accuracy,
        correct=summary.correct,
        scored=summary.videos,
        interval=summary.interval,
        notes=_notes(store, wanted, encoder, svm) + store.orphan_notes(rows),
    )


def _encoder(components, sample):
    if components < 1:
        raise UsageError(f"`components` must be at least 1, got {components}")
    encoder = FisherEncoder(components)
    if sample < encoder.minimum:
        raise UsageError(
            f"`sample` must be at least {encoder.minimum} for {components} components, got {sample}"
        )
    return encoder


def _require_libraries():
    """Said before the work, not after it."""
    for module in ("cv2", "sklearn", "skimage"):
        require(module, "classifying trajectories")


def _labels(data, fold, subset):
    labels = subset_labels(data, fold)
    for name in ("train", subset):
        if not labels.get(name):
            there = ", ".join(f"{known} ({len(videos)})" for known, videos in labels.items())
            raise DataError(f"{data}: no videos in the subset {name!r}; there are {there}")
    _several_classes(data, labels["train"])
    return labels


def _several_classes(data, labels):
    """The labels `(V,)` of training videos."""
    if len(set(labels.values())) < 2:
        raise DataError(
            f"{data}: the training subset has videos of one class to learn from, expected several; "
            "those without trajectories are not learned from"
        )
    return np.array(list(labels.values()))


def _learn_vocabulary(store, encoder, train, sample):
    chosen = store.sample(train, sample)
    if len(chosen) < encoder.minimum:
        raise DataError(
            f"{store.data}: {len(chosen)} trajectories in the training subset to learn from, but "
            f"{encoder.components} components need {encoder.minimum}. Videos have none "
            "below 16 frames, or where nothing but the camera moves; with more videos or "
            "fewer components there may be enough"
        )
    encoder.fit(chosen)


def _encoded(store, encoder, ids):
    """Fisher vectors `(V, D)`, float32."""
    vectors = np.empty((len(ids), encoder.length), "float32")
    for row, key in zip(vectors, ids, strict=True):
        row[:] = encoder.encode(store.read(key))
    return vectors


def _train_svm(vectors, labels):
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told by a note
        return LinearSVC(C=PENALTY, random_state=0, max_iter=_ROUNDS).fit(vectors, labels)


def decision_values(svm, vectors, classes: int) -> np.ndarray:
    """Decision values `(V, classes)` of a one-vs-rest SVM that may not know every class.

    For a class without training videos -1 everywhere, which is what an SVM learns from negative
    examples alone.
    """
    found = svm.decision_function(vectors)
    if found.ndim == 1:  # two classes: of the second one only
        found = np.stack([-found, found], axis=1)
    values = np.full((len(vectors), classes), -1.0)
    values[:, svm.classes_] = found
    return values


def _scores(labels, classes, logits, subset):
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    predicted = logits.argmax(1)
    return Scores(
        ids=list(labels),
        labels=np.array(list(labels.values())),
        class_names=classes,
        probabilities=exponentials / exponentials.sum(1, keepdims=True),
        logits=logits,
        votes=np.eye(len(classes), dtype="int64")[predicted],
        predicted=predicted,
        model="trajectories",
        input="trajectories",
        subset=subset,
    )


def _notes(store, ids, encoder, svm):
    notes = []
    empty = [key for key in ids if store.index[key]["found"] == "0"]
    if empty:
        notes.append(f"{len(empty)} videos have no trajectories, the first is {empty[0]}")
    if encoder.unconverged:
        names = ", ".join(encoder.unconverged)
        notes.append(f"the Gaussians of {names} had not converged when they were stopped")
    if np.max(svm.n_iter_) >= _ROUNDS:
        notes.append(f"the SVM had not converged after {_ROUNDS} rounds")
    return tuple(notes)
