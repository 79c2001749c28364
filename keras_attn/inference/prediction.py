"""Name the action in videos, from a run folder or a SavedModel alone."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_attn.data.flow_estimation import planes_of
from keras_attn.datasets import tables
from keras_attn.decoding.frames import read_frames
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.inference.loading import load_recognizer
from keras_attn.inference.saved_model import version_folder
from keras_attn.training.runs import open_run
from keras_attn.utils.files import read_json


@dataclass(frozen=True)
class Guess:
    """One class: the mean of its probability over the clips, and the share of clips it won."""

    name: str
    probability: float
    votes: float


@dataclass(frozen=True)
class Prediction:
    """What a model says of one video; `problem` says why it says nothing."""

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


@dataclass(frozen=True)
class TrainedModel:
    """A trained model, wherever it came from.

    `answer` takes frames `(1, T, H, W, 3)` uint8 and returns the tensors that
    `recognition.Recognizer` names; frames should have the `short_side` (pixels) of the training.
    """

    classes: list[str]
    answer: object
    short_side: int


def open_model(path) -> TrainedModel:
    """Open a run folder, or a SavedModel that `export` wrote (its highest version).

    Raises `UserError` when `path` is neither.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such folder; give a run folder or a SavedModel")
    if (path / "run.json").exists():
        run = open_run(path)
        return TrainedModel(run.classes, _answer(load_recognizer(path)), run.short_side)
    folder = version_folder(path)
    if not (folder / "assets" / "classes.txt").exists():
        raise UserError(f"{folder}: has no assets/classes.txt; it is not of keras-attn export")
    classes = tables.read_classes(folder / "assets")
    short_side = read_json(folder / "assets" / "training.json")["short_side"]
    try:
        loaded = tf.saved_model.load(str(folder))
        signature = loaded.signatures["explain"]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        message = str(error).splitlines()[0]
        raise UserError(f"{folder}: cannot be loaded ({message}); export the run again") from error

    def answer(frames, keep=loaded):  # the signature does not keep its model alive
        return signature(frames=tf.constant(frames))

    return TrainedModel(classes, answer, short_side)


def _answer(recognizer):
    """What answers for frames, also where their flow needs OpenCV."""
    if recognizer.flow_in_graph:
        return recognizer.answer_frames

    def answer(frames):
        return recognizer.answer_planes(frames, planes_of(frames[0], recognizer.flow)[None])

    return answer


def predict(
    videos: Path | str | Sequence[Path | str], model: Path | str | TrainedModel, *, top_k: int = 5
) -> Predictions:
    """Name the action in each of `videos` (paths), best first.

    `model` is a run folder, a SavedModel folder, or what `open_model` returned. The order is by
    votes of the clips, then by probability (Quan et al. 2020, eq. 13-15). A video that cannot be
    read gets a `Prediction` that says why; the others are answered.
    """
    if top_k < 1:
        raise UsageError(f"top_k must be at least 1, got {top_k}")
    videos = [videos] if isinstance(videos, str | Path) else list(videos)
    model = model if isinstance(model, TrainedModel) else open_model(model)
    return Predictions(_predict_one(video, model, top_k) for video in videos)


def _predict_one(video, model, top_k):
    try:
        frames, _ = read_frames(video, short_side=model.short_side)
    except DataError as error:
        return Prediction(str(video), problem=str(error))
    answer = model.answer(frames[None])
    probabilities, votes = answer["probabilities"].numpy()[0], answer["votes"].numpy()[0]
    order = ranking(probabilities, votes)[:top_k]
    guesses = [Guess(model.classes[k], float(probabilities[k]), float(votes[k])) for k in order]
    return Prediction(str(video), tuple(guesses), len(frames))


def ranking(probabilities, votes) -> np.ndarray:
    """Class numbers by votes, then by probability, then by number: the rule of `video_scores`."""
    classes = np.arange(len(votes))
    return np.lexsort((classes, -probabilities, -np.round(votes, 6)))
