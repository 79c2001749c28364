"""Show what a model looked at: the attention over a video, and its decision over time."""

from dataclasses import dataclass
from pathlib import Path

from keras_attn.decoding.frames import read_frames
from keras_attn.inference.prediction import TrainedModel, open_model, ranking
from keras_attn.visualization.overlay import check_out, write_overlay


@dataclass(frozen=True)
class Explanation:
    """Where the overlay lies, and what it shows."""

    path: Path
    video: str
    answer: str
    probability: float
    frames: int

    def lines(self) -> list[str]:
        return [f"{self.path}: {self.frames} frames, {self.answer} ({self.probability:.1%})"]

    def as_dict(self) -> dict:
        return {**vars(self), "path": str(self.path)}


def explain(video, model, out) -> Explanation:
    """Write `out` (.mp4): frames of `video` with the attention of `model` over them.

    The colour scale is fixed, in multiples of the uniform weight, and underneath runs the decision
    at each frame. `model` is a run folder, a SavedModel folder or what `open_model` returned.
    Raises `DataError` when the video cannot be read, `UsageError` for another kind of `out`.
    """
    check_out(out)  # said before the work, not after it
    model = model if isinstance(model, TrainedModel) else open_model(model)
    frames, info = read_frames(video, short_side=model.short_side)
    answer = {key: value.numpy()[0] for key, value in model.answer(frames[None]).items()}
    best = ranking(answer["probabilities"], answer["votes"])[0]
    probability = float(answer["probabilities"][best])
    write_overlay(
        out,
        frames,
        answer["where"],
        answer["step_probabilities"],
        model.classes,
        answer["when"],
        info["fps"] or 25.0,
        title=f"{model.classes[best]} {probability:.2f} - {Path(video).name}",
    )
    return Explanation(Path(out), str(video), model.classes[best], probability, len(frames))
