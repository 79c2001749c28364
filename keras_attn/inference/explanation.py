"""Show where a model looked: the attention over a video, and the decision over time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keras_attn.data.imported_features import nearest_positions
from keras_attn.decoding.frames import read_frames
from keras_attn.errors import UsageError
from keras_attn.inference.answers import TIMELINE
from keras_attn.inference.maps import raw_names, video_maps, write_maps
from keras_attn.inference.prediction import ranking
from keras_attn.inference.trained_model import TrainedModel, open_model
from keras_attn.utils.files import make_folder
from keras_attn.visualization.overlay import write_overlay


@dataclass(frozen=True)
class Explanation:
    """The files that were written, the answer for the video, and its maps.

    `maps` holds NumPy arrays by name, those of an .npz file (`docs/attention_maps.md`): `where`
    and `when` over the frames, and for each clip the attention that the model itself gives.
    """

    paths: tuple[Path, ...]
    video: str
    answer: str
    probability: float
    frames: int
    maps: dict[str, np.ndarray] = field(repr=False)

    def lines(self) -> list[str]:
        paths = ", ".join(map(str, self.paths))
        first = f"{paths}: {self.frames} frames, {self.answer} ({self.probability:.1%})"
        return [first, *(_range(name, self.maps[name]) for name in raw_names(self.maps))]

    def as_dict(self) -> dict:
        shapes = {name: list(values.shape) for name, values in self.maps.items()}
        return {**vars(self), "paths": [str(path) for path in self.paths], "maps": shapes}


def explain(
    video: Path | str,
    model: Path | str | Sequence[Path | str] | TrainedModel,
    out: Path | str | Sequence[Path | str],
    *,
    weights: Sequence[float] | None = None,
    changes: dict[str, object] | None = None,
) -> Explanation:
    """Write a video with the attention of a model over its frames, or its maps as numbers.

    A model whose features were made elsewhere explains the videos of the data folder that it was
    trained on: each frame shows the answer at the nearest of the times of its features.

    The overlay shows how attention is spread over the cells of each frame, which sums to one: the
    color scale is fixed, in multiples of the uniform weight. The decision at each frame runs
    underneath. How large a mask is, the maps tell: they hold what the model itself gives for each
    clip.

    Args:
        video: Video file.
        model: Run folder or SavedModel folder; several run folders, as of RGB and of flow, are
            fused: their answers are averaged.
        out: File to write: an overlay (.mp4), or the maps as arrays (.npz).
        weights: Weight of each of several runs, in their order; those of the papers for their
            inputs if not given.
        changes: Fields of the recipe of a run that need no training and their values, such as
            `clips.test_frames` or `model.test_pooling`.

    Returns:
        The best answer, with the files and the maps.

    Raises:
        DataError: When the video cannot be read.
        UsageError: For a file `out` of another kind and for weights or changes that do not fit.
        UserError: When `model` cannot be opened, or answers NaN.
    """
    paths = (Path(out),) if isinstance(out, str | Path) else tuple(map(Path, out))
    for path in paths:  # before the work, not after it
        _check_out(path)
    opened = open_model(model, weights, changes)
    frames, info = read_frames(video, short_side=opened.short_side)
    fps = info["fps"] or 25.0
    maps = _maps(opened, video, np.arange(len(frames)) / fps, frames, info)
    best = ranking(maps["decision"])[0]
    name, probability = opened.classes[best], float(maps["probabilities"][best])
    for path in paths:
        if path.suffix.lower() == ".npz":
            write_maps(path, maps)
            continue
        write_overlay(
            path,
            frames,
            maps["where"],
            maps["step_probabilities"],
            opened.classes,
            maps["when"],
            fps,
            title=f"{name} {probability:.2f} - {Path(video).name}",
        )
    return Explanation(paths, str(video), name, probability, len(frames), maps)


def _range(name, values):
    return f"{name} {values.shape}: {values.min():.3g} to {values.max():.3g} over the clips"


def _check_out(path):
    if path.suffix.lower() not in (".mp4", ".npz"):
        raise UsageError(
            f"{path}: an explanation is an overlay (.mp4) or its maps (.npz); give `out` a path "
            "that ends in one of these"
        )
    make_folder(path.parent)


def _maps(model, video, frame_times, frames, info):
    """The maps of a model for these frames of a video."""
    if model.encoder is None:
        return video_maps(model.ask(frames=frames), model.classes, frame_times)
    if model.imported is None:
        raise UsageError(
            f"{video}: this model takes features of {model.encoder}, and an export has none of "
            "them; explain by its run folder, which knows the data folder that holds them"
        )
    features, times = model.imported.of_source(info["sha256"], video)
    answer = model.ask(features=features.astype("float32"))
    nearest = nearest_positions(times, frame_times)
    shown = {key: answer[key][nearest] for key in TIMELINE}
    shown["when"] = shown["when"] / shown["when"].sum()
    return video_maps(answer | shown, model.classes, frame_times, times)
