"""Show where a model looked: the attention over a video, and the decision over time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_attn.data.imported_features import nearest_positions
from keras_attn.decoding.frames import read_frames
from keras_attn.errors import UsageError
from keras_attn.inference.answers import TIMELINE
from keras_attn.inference.prediction import ranking
from keras_attn.inference.trained_model import TrainedModel, open_model
from keras_attn.visualization.overlay import check_out, write_overlay


@dataclass(frozen=True)
class Explanation:
    """The path of the overlay and the answer that it shows."""

    path: Path
    video: str
    answer: str
    probability: float
    frames: int

    def lines(self) -> list[str]:
        return [f"{self.path}: {self.frames} frames, {self.answer} ({self.probability:.1%})"]

    def as_dict(self) -> dict:
        return {**vars(self), "path": str(self.path)}


def explain(
    video: Path | str,
    model: Path | str | Sequence[Path | str] | TrainedModel,
    out: Path | str,
    *,
    weights: Sequence[float] | None = None,
) -> Explanation:
    """Write a video with the attention of a model over its frames.

    A model whose features were made elsewhere explains the videos of the data folder that it was
    trained on: each frame shows the answer at the nearest of the times of its features.

    The color scale is fixed, in multiples of the uniform weight. The decision at each frame runs
    underneath.

    Args:
        video: Video file.
        model: Run folder or SavedModel folder; several run folders, as of RGB and of flow, are
            fused: their answers are averaged.
        out: MP4 file to write.
        weights: Weights of several runs, one for each; those of the papers for their inputs if not
            given.

    Returns:
        The best answer, with the path of the overlay.

    Raises:
        DataError: When the video cannot be read.
        UsageError: For a file `out` of another kind and for weights that do not fit.
        UserError: When `model` cannot be opened.
    """
    check_out(out)  # before the work, not after it
    opened = open_model(model, weights)
    frames, info = read_frames(video, short_side=opened.short_side)
    answer = _answer(opened, video, frames, info)
    best = ranking(answer["decision"])[0]
    probability = float(answer["probabilities"][best])
    write_overlay(
        out,
        frames,
        answer["where"],
        answer["step_probabilities"],
        opened.classes,
        answer["when"],
        info["fps"] or 25.0,
        title=f"{opened.classes[best]} {probability:.2f} - {Path(video).name}",
    )
    return Explanation(Path(out), str(video), opened.classes[best], probability, len(frames))


def _answer(model, video, frames, info):
    """The answer of a model for these frames of a video."""
    if model.encoder is None:
        return model.ask(frames=frames)
    if model.imported is None:
        raise UsageError(
            f"{video}: this model takes features of {model.encoder}, and an export has none of "
            "them; explain by its run folder, which knows the data folder that holds them"
        )
    features, times = model.imported.of_source(info["sha256"], video)
    answer = model.ask(features=features.astype("float32"))
    nearest = nearest_positions(times, np.arange(len(frames)) / (info["fps"] or 25.0))
    shown = {key: answer[key][nearest] for key in TIMELINE}
    return answer | shown | {"when": shown["when"] / shown["when"].sum()}
