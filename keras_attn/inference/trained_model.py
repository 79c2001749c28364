"""A trained model to ask about videos, from a run, from several fused runs or from a SavedModel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_attn.data.imported_features import ImportedFeatures
from keras_attn.errors import UsageError, UserError
from keras_attn.inference import loading, saved_model
from keras_attn.inference.answers import finite
from keras_attn.training.runs import open_runs


@dataclass(frozen=True)
class TrainedModel:
    """A trained model, wherever it came from.

    `ask` takes the `frames` of one video, `(T, H, W, 3)` uint8, or its `features`, `(T,
    *feature_shape)` float32, and returns the arrays that `Recognizer` names, without the axis of
    the videos; it raises `UserError` if any is not finite. The short side of the frames should be
    `short_side` pixels, as in the training.

    `feature_shape` is None for a model that takes no features. A model whose features were made
    elsewhere, by `encoder`, takes no frames; `imported` holds those of its data folder.
    """

    classes: list[str]
    ask: Callable
    short_side: int
    feature_shape: tuple[int, ...] | None = None
    encoder: str | None = None
    imported: ImportedFeatures | None = None


def open_model(
    model, weights: Sequence[float] | None = None, changes: dict | None = None
) -> TrainedModel:
    """Open a run folder, several to be fused, or a SavedModel (its highest version).

    `weights` are those of several runs, by default those of the papers for their inputs; `changes`
    are fields of the recipe of each run that need no training. A `TrainedModel` is returned as it
    is. Raises `UserError` when a path is neither, `UsageError` for `weights` or `changes` of what
    is not a run.
    """
    if isinstance(model, TrainedModel):
        if weights is not None or changes:
            raise UsageError("`weights` and `changes` are for runs, got a model that is open")
        return model
    paths = [model] if isinstance(model, str | Path) else list(model)
    for path in paths:
        if not Path(path).exists():
            raise UserError(f"{path}: no such folder; give a run folder or a SavedModel")
    if len(paths) == 1 and not (Path(paths[0]) / "run.json").exists():
        return _saved_model(paths[0], weights, changes)
    runs = open_runs(paths)
    recognizer = loading.load_fused(runs, loading.fusion_weights(runs, weights), changes)
    first = runs[0]
    return TrainedModel(
        classes=first.classes,
        ask=_checked(recognizer.ask, ", ".join(map(str, paths))),
        short_side=max(run.short_side for run in runs),
        feature_shape=recognizer.feature_shape if recognizer.per_frame else None,
        encoder=first.encoder,
        imported=first.recipe.imported
        and ImportedFeatures(first.facts["data"], first.recipe.imported),
    )


def _saved_model(path, weights, changes):
    if weights is not None:
        raise UsageError(f"{path}: is a SavedModel, and `weights` are for several runs")
    if changes:
        raise UsageError(
            f"{path}: is a SavedModel, whose recipe is fixed: export the run with `changes` of "
            f"{', '.join(changes)}, or ask the run itself"
        )
    folder = saved_model.version_folder(path)
    classes, training = saved_model.read_assets(folder)
    ask, shape = saved_model.load_ask(folder, training["recipes"])
    encoder = training.get("encoder")
    ask = _checked(ask, folder)
    return TrainedModel(classes, ask, training["short_side"], shape, encoder)


def _checked(ask, source):
    """`ask`, where an answer that is not finite is a `UserError`."""
    return lambda **inputs: finite(ask(**inputs), source)
