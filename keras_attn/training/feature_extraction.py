"""Run a backbone over prepared videos once, so that training need not."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_attn.backbones import BACKBONES, find_backbone
from keras_attn.backbones.caching import cached_maps
from keras_attn.data.features import FeatureFolder
from keras_attn.data.positions import drawn_positions, fixed_positions
from keras_attn.data.source import stream_videos, training_subsets
from keras_attn.data.streams import FlowMethod, Input, Stream
from keras_attn.datasets import tables
from keras_attn.errors import UsageError
from keras_attn.recipes import RECIPES, Recipe, override
from keras_attn.recipes.inputs import check_input
from keras_attn.training import runs
from keras_attn.training.feature_import import import_features
from keras_attn.training.feature_pass import FeaturePass, FeaturesSummary

_WORTH_LEAVING_OUT = 1 / 3  # of the positions of a video; fewer are stored with the others


def features(
    data: Path | str,
    *,
    from_: Path | str | None = None,
    recipe: Sequence[str] | None = None,
    backbone: str | None = None,
    endpoint: str | None = None,
    weights: str | None = "imagenet",
    size: int | None = None,
    input: Input | None = None,
    flow_method: FlowMethod | None = None,
    snippet: int | None = None,
    batch_size: int = 32,
    progress=None,
) -> FeaturesSummary:
    """Compute the backbone features of the records of a data folder, once, as float16.

    The backbone runs once for all endpoints that are wanted, and what is there is kept: recipes of
    one backbone, size and input share its maps. For recipes, the positions of a long video that
    neither their epochs nor an evaluation reads are left out; without a recipe there are all.

    With `from_`, features that were made elsewhere, by any encoder, are imported instead; every
    recipe of one stream reads them with `--set backbone=features:NAME`, the name of their folder.
    docs/features.md describes the format. Such a data folder needs no records.

    Args:
        data: Data folder with records; for flow, also with flow.
        from_: Folder of features that another program made, with a provenance.json, to import.
            No other argument goes with it.
        recipe: Name of a recipe whose features are computed. Several must have the same backbone,
            size and input; other arguments replace what they say. In Python also `Recipe` objects.
        backbone: Name of the backbone, or "hub:" and a preset of KerasHub or a folder with one;
            without a recipe, inception_v3.
        endpoint: Where the backbone is cut: one of its endpoints, or several maps joined by "+".
            Without a recipe, its last map.
        weights: "imagenet" (of a preset, the preset's), the path of a weights file, the folder of a
            run whose backbone is taken (keras-attn train frame_classifier), or none for random
            weights.
        size: Side in pixels to which frames are stretched; without a recipe, the backbone's own.
        input: What the backbone sees at each position; without a recipe, rgb.
        flow_method: Method by which the flow was estimated; without a recipe, tvl1.
        snippet: Planes of flow at each position; without a recipe, 5, and for rgb 1.
        batch_size: Frames that are computed at once.
        progress: Called with the number of videos done, of all to do, and a text; at first with the
            expected time and disk space.

    Returns:
        A `FeaturesSummary`. A video whose features are not finite is one of its `problems`, and the
        others are computed all the same.

    Raises:
        UsageError: An argument is invalid, or the recipes do not share a backbone.
        DataError: The folder holds features of other settings, or a record is damaged.
        UserError: Another process writes there, or the disk has not enough room.
    """
    if batch_size < 1:
        raise UsageError(f"`batch_size` must be at least 1, got {batch_size}")
    flow = {"input": input, "flow_method": flow_method, "snippet": snippet}
    if from_ is not None:
        others = {"recipe": recipe, "backbone": backbone, "endpoint": endpoint, "size": size}
        given = [name for name, value in (others | flow).items() if value is not None]
        _check_alone(given + ["weights"] * (weights != "imagenet"))
        return import_features(data, from_, progress)
    names = [recipe] if isinstance(recipe, str | Recipe) else list(recipe or ())
    wanted = [_of_recipe(name, backbone, endpoint, size, **flow) for name in names] or [
        _without_recipe(backbone, endpoint, size, **flow)
    ]
    _check_alike(names, wanted)
    data, (name, size, stream) = Path(data), wanted[0].shared
    entry = _per_frame(name, stream)
    try:
        maps = [one for some in wanted for one in cached_maps(name, some.endpoint)]
    except ValueError as error:
        raise UsageError(str(error)) from error
    _check_run(weights, stream)
    size = entry.size if size is None else size
    folder = FeatureFolder(data, name, size, stream, wanted[0].endpoint or entry.endpoint)
    found = tables.read_data_folder(data)
    rows = list(found.rows.values())
    videos, recipes = stream_videos(data, stream, (), rows), [one.recipe for one in wanted]
    readable = _readable(found, recipes, videos) if all(recipes) else {}
    return FeaturePass(folder, maps, rows, videos, weights, batch_size, progress).run(readable)


@dataclass(frozen=True)
class _Wanted:
    """One endpoint, and the recipe, if any, that says which positions of it are read."""

    backbone: str
    size: int | None
    stream: Stream
    endpoint: str | None
    recipe: Recipe | None = None

    @property
    def shared(self):
        return self.backbone, self.size, self.stream


def _check_alone(given):
    if given:
        names = ", ".join(f"`{name}`" for name in given)
        raise UsageError(
            f"`from_` imports features that are there, so {names} cannot apply; leave it out, or "
            "leave out `from_` to compute features"
        )


def _given(value, default):
    return default if value is None else value


def _without_recipe(backbone, endpoint, size, input, flow_method, snippet):
    input = input or "rgb"
    snippet = _given(snippet, 1 if input == "rgb" else 5)
    stream = Stream(input, flow_method or "tvl1", snippet)
    return _Wanted(backbone or "inception_v3", size, stream, endpoint)


def _of_recipe(name, backbone, endpoint, size, input, flow_method, snippet):
    if not isinstance(name, Recipe) and name not in RECIPES:
        raise UsageError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    recipe = name if isinstance(name, Recipe) else RECIPES[name]
    recipe = override(recipe, {"input": input}) if input else recipe
    if not recipe.cached:
        raise UsageError(
            f"the recipe {name} reads frames (cached=false), so that it needs no features; if you "
            "train it with cached=true, give `backbone`, `endpoint` and `size`"
        )
    clips = dataclasses.replace(
        recipe.clips,
        size=_given(size, recipe.clips.size),
        snippet=_given(snippet, recipe.clips.snippet),
    )
    recipe = dataclasses.replace(
        recipe,
        backbone=backbone or recipe.backbone,
        flow_method=flow_method or recipe.flow_method,
        clips=clips,
    )
    check_input(recipe.model, recipe.backbone, recipe.arguments, recipe.input)
    endpoint = endpoint or recipe.endpoint
    return _Wanted(recipe.backbone, clips.size, recipe.stream, endpoint, recipe)


def _check_alike(names, wanted):
    for name, other in zip(names, wanted, strict=False):
        if other.shared != wanted[0].shared:
            raise UsageError(
                f"the recipes {names[0]} and {name} read features of different backbones, sizes or "
                f"inputs ({wanted[0].shared} and {other.shared}): compute them one after the other"
            )


def _per_frame(name, stream):
    """The backbone's entry of the table; `UsageError` unless its features can be cached."""
    if name not in BACKBONES and not name.startswith("hub:"):
        raise UsageError(f"no backbone {name!r}; there are {', '.join(BACKBONES)} and hub:PRESET")
    try:
        backbone = find_backbone(name)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if stream.frames > 1:
        raise UsageError(
            f"`snippet` {stream.snippet} needs `input` flow, warped_flow or rgb_and_flow: features "
            "of RGB belong to single frames"
        )
    if backbone.reinforced and stream.input != "rgb_and_flow":
        raise UsageError(
            f"`input` must be rgb_and_flow for the backbone {name}, in which flow multiplies RGB, "
            f"got {stream.input}; {name.removesuffix('_reinforced')} sees one stream"
        )
    if not backbone.per_frame:
        raise UsageError(
            f"backbone {name}: sees the frames of a clip together, so nothing of a single frame "
            "can be cached; train it with cached=false"
        )
    return backbone


def _check_run(weights, stream):
    """`UsageError` if `weights` are those of a run that saw another input."""
    if weights is None or not (Path(weights) / "run.json").exists():
        return
    trained = runs.open_run(weights).recipe
    if trained.input != stream.input and (trained.input, stream.input) != ("rgb", "rgb_and_flow"):
        raise UsageError(
            f"`weights`: the run {weights} was trained on input={trained.input}, and the features "
            f"are of {stream.input}; train a network for these: keras-attn train frame_classifier "
            f"--set input={stream.input}"
        )


def _readable(folder, recipes, videos) -> dict[str, np.ndarray]:
    """The positions that the recipes read, by video id; no entry where it is nearly all of them.

    Without a split nothing is known of the training videos, and all positions are kept.
    """
    if not (folder.path / "split.csv").exists():
        return {}
    by_id, found = {video.id: video for video in videos}, []
    for recipe in recipes:
        clips = recipe.clips
        found += [fixed_positions(videos, clips, training) for training in (True, False)]
        for ids in training_subsets(folder):
            some = [by_id[key] for key in ids]
            found.append(drawn_positions(some, clips, recipe.seed, recipe.epochs))
    readable = {}
    for video in videos:
        together = [some[video.id] for some in found if video.id in some]
        positions = np.unique(np.concatenate(together)).astype("int32")
        if len(positions) <= (1 - _WORTH_LEAVING_OUT) * video.length:
            readable[video.id] = positions
    return readable
