"""Name the action in videos, from a run folder or a SavedModel alone."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from keras_attn.data.foreign_folder import open_array
from keras_attn.decoding.frames import read_frames
from keras_attn.errors import DataError, UsageError
from keras_attn.inference.trained_model import TrainedModel, open_model


@dataclass(frozen=True)
class Guess:
    """One class: the mean of its probability over the clips, and the share of clips it won."""

    name: str
    probability: float
    votes: float


@dataclass(frozen=True)
class Prediction:
    """The answer for one video; `problem` says why there is none."""

    path: str
    guesses: tuple[Guess, ...] = ()
    frames: int = 0
    problem: str = ""

    def lines(self) -> list[str]:
        if self.problem:
            return [self.problem]
        guesses = [
            f"  {guess.probability:6.1%}  {guess.name}  ({guess.votes:.0%} of the clips)"
            for guess in self.guesses
        ]
        return [f"{self.path} ({self.frames} frames)", *guesses]

    def as_dict(self) -> dict:
        return asdict(self)


class Predictions(list):
    """A `Prediction` for each video, in the order of the call."""

    @property
    def problems(self) -> list[str]:
        """Why a video got no answer, for each such video."""
        return [prediction.problem for prediction in self if prediction.problem]

    def lines(self) -> list[str]:
        return [line for prediction in self for line in prediction.lines()]

    def as_dict(self) -> dict:
        return {"predictions": [prediction.as_dict() for prediction in self]}


def predict(
    videos: Path | str | Sequence[Path | str],
    model: Path | str | Sequence[Path | str] | TrainedModel,
    *,
    weights: Sequence[float] | None = None,
    changes: dict[str, object] | None = None,
    top_k: int = 5,
) -> Predictions:
    """Name the action in videos.

    A file of features (.npy, as docs/features.md describes) takes the place of a video for a model
    that takes features; one whose features were made elsewhere takes nothing else.

    Guesses are ordered by the mean probability over the clips, or, for a model whose clips vote
    (`clip_aggregation` of the recipe), by votes and then by probability. A video that cannot be
    read gets a `Prediction` that says why; the others are answered.

    Args:
        videos: Video files, or files of features (.npy).
        model: Run folder or SavedModel folder; several run folders, as of RGB and of flow, are
            fused: their probabilities are averaged.
        weights: Weight of each of several runs, in their order; those of the papers for their
            inputs if not given.
        changes: Fields of the recipe of a run that need no training and their values, such as
            `clips.test_frames` or `model.test_pooling`.
        top_k: Number of guesses for each video, best first.

    Returns:
        One prediction per video, in order.

    Raises:
        UsageError: For a `top_k` below 1, for weights or changes that do not fit, and for videos
            where the model takes features or the other way round.
        UserError: When `model` cannot be opened, or answers NaN.
    """
    if top_k < 1:
        raise UsageError(f"`top_k` must be at least 1, got {top_k}")
    videos = [videos] if isinstance(videos, str | Path) else list(videos)
    opened = open_model(model, weights, changes)
    for video in videos:
        _check_kind(video, opened)
    return Predictions(_predict_one(video, opened, top_k) for video in videos)


def _is_features(video):
    return Path(video).suffix == ".npy"


def _check_kind(video, model):
    """`UsageError` unless the model takes what this file holds."""
    if _is_features(video) and model.feature_shape is None:
        raise UsageError(
            f"{video}: is a file of features, and this model takes videos only: its backbone sees "
            "several frames at once, or it is several models"
        )
    if model.encoder and not _is_features(video):
        raise UsageError(
            f"{video}: this model takes features of {model.encoder}, and that encoder is not here: "
            "compute them where it is, and give the .npy file in place of the video"
        )


def _read_features(path, shape):
    """The features of one video, rounded to float16 as in training, and their number."""
    array = open_array(path)
    if array.shape[1:] != shape:
        raise DataError(
            f"{path}: has features of shape {array.shape}, but the model was built for (T, "
            f"{', '.join(map(str, shape))}). Compute them as for the training"
        )
    return np.concatenate(list(array.pieces())).astype("float32")


def _predict_one(video, model, top_k):
    try:
        if _is_features(video):
            seen = _read_features(video, model.feature_shape)
            answer = model.ask(features=seen)
        else:
            seen, _ = read_frames(video, short_side=model.short_side)
            answer = model.ask(frames=seen)
    except DataError as error:
        return Prediction(str(video), problem=str(error))
    probabilities, votes = answer["probabilities"], answer["votes"]
    order = ranking(answer["decision"])[:top_k]
    guesses = [Guess(model.classes[k], float(probabilities[k]), float(votes[k])) for k in order]
    return Prediction(str(video), tuple(guesses), len(seen))


def ranking(decision) -> np.ndarray:
    """Class numbers by their shares in the decision `(K,)`, then by number."""
    return np.argsort(-decision, kind="stable")
