"""Change a recipe, and read one back; unknown fields are errors."""

import dataclasses
import inspect
import json
import math
import os
import typing

from keras_attn.errors import UsageError
from keras_attn.recipes.base import Clips, Pretraining, Recipe
from keras_attn.recipes.checks import alternatives, literals
from keras_attn.recipes.inputs import check_input

# What else `backbone=features:NAME` changes: there is no encoder to train, and no pixels.
_FOR_IMPORTED = {
    "cached": True,
    "train_backbone": False,
    "batch_norm": "train",
    "backbone_weights": None,
    "flip": False,
    "random_crop": False,
    "clips.snippet": 1,
}
_GROUPS = {"clips": Clips, "pretraining": Pretraining}


def override(recipe: Recipe, changes: dict[str, object]) -> Recipe:
    """`override(recipe, {"clips.frames": 16})` is `recipe` with that field changed.

    A value may also be a text, as on a command line ("16", "none", "[4, 8]"), unless the field
    holds text. All changes are made together, so that their order does not matter. A recipe for
    frames that is to read flow gets its `flow_changes` too, where `changes` says nothing else; one
    that is to read imported features has them cached, with nothing of a backbone left to train.

    Args:
        recipe: The recipe to start from.
        changes: Fields, as `epochs` or `clips.frames`, and their values. `model.NAME` is an
            argument of the model's constructor.

    Returns:
        A new recipe.

    Raises:
        UsageError: For a field that does not exist, a value of another type, or values that do not
            go together.
    """
    changes = _implied(recipe, changes) | changes
    model = changes.get("model", recipe.model)
    if model != recipe.model:
        recipe = dataclasses.replace(recipe, model=model, arguments={})
    values = dataclasses.asdict(recipe)
    kinds = typing.get_type_hints(Recipe)
    known = {key: kinds[key] for key in kinds if key not in ("arguments", "flow_changes", *_GROUPS)}
    for group, made in _GROUPS.items():
        known |= {f"{group}.{key}": kind for key, kind in typing.get_type_hints(made).items()}
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        if name == "model" and rest:
            values["arguments"] |= _argument(recipe, rest, value)
        elif path not in known:
            raise UsageError(
                f"a recipe has no field {path!r}; it has {', '.join(known)}, and model.ARGUMENT"
            )
        elif rest:
            values[name][rest] = _read(path, value, known[path])
        else:
            values[name] = _read(path, value, known[path])
    if changes:  # before the fields are checked, whose rules would tell of what follows from it
        check_input(*(values[name] for name in ("model", "backbone", "arguments", "input")))
    return from_dict(values)


def _implied(recipe, changes):
    """Changes that go with `changes` of the input or the backbone, unless these set them."""
    implied = {}
    if recipe.input == "rgb" and changes.get("input") in ("flow", "warped_flow"):
        implied |= recipe.flow_changes
    if str(changes.get("backbone")).startswith("features:"):
        implied |= _FOR_IMPORTED
        if "attention_network" in recipe.arguments:  # the others see pixels
            implied |= {"model.attention_network": "shared"}
    return implied


def _argument(recipe, name, value):
    default = _parameters(recipe, [name])[name].default
    if default is not None and value not in (None, "null"):
        value = _read(f"model.{name}", value, type(default))
    elif isinstance(value, str):
        value = None if value.lower() == "none" else _read_json(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"model.{name} must be finite, got {value}")
    return {name: value}


def _parameters(recipe, names):
    """The constructor parameters of the recipe's model; `UsageError` unless it has all `names`."""
    from keras_attn.models import MODELS

    if recipe.model not in MODELS:
        raise UsageError(f"no model {recipe.model!r}; there are {', '.join(MODELS)}")
    reserved = {"num_classes", "input_shape", "cached", "kwargs"}
    reserved |= {"backbone", "backbone_weights", "train_backbone"}
    parameters = inspect.signature(MODELS[recipe.model]).parameters
    known = {key: value for key, value in parameters.items() if key not in reserved}
    for name in names:
        if name not in known:
            raise UsageError(
                f"the model {recipe.model} has no argument {name!r}; it has {', '.join(known)}"
            )
    return known


def check_model(recipe) -> None:
    """`UsageError` unless the recipe's model is known and has all of `arguments`."""
    _parameters(recipe, recipe.arguments)


def _read(path, value, kind):
    """`value` as one of type `kind`: as it is, or read from a text."""
    choices = literals(kind)
    if choices:  # the recipe checks it
        return None if None in choices and value in ("none", "null") else value
    given, kinds = value, alternatives(kind)
    value = _plain(value)
    if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
        if type(None) in kinds:
            return None
    kind = kinds[0]
    if isinstance(value, str) and kind is not str:
        value = _read_json(value)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise UsageError(f"{path} must be of type {kind.__name__}, got {given!r}")
    return value


def _plain(value):
    """Paths, tuples and numbers of NumPy as the plain values that a recipe holds."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple):
        return list(value)
    return value.item() if getattr(value, "shape", None) == () else value


def _read_json(text):
    """`text` as JSON, with True and False as Python writes them too; else the text itself."""
    for candidate in (text, text.lower()):
        try:
            return json.loads(candidate)
        except json.JSONDecodeError:
            continue
    return text


def from_dict(values: dict) -> Recipe:
    """The recipe that `dataclasses.asdict` wrote; `UsageError` for unknown or missing fields."""
    groups = {name: _made(kind, values.get(name, {})) for name, kind in _GROUPS.items()}
    return _made(Recipe, {**values, **groups})


def _made(kind, values):
    unknown = sorted(set(values) - {field.name for field in dataclasses.fields(kind)})
    if unknown:
        raise UsageError(f"{kind.__name__} has no field {', '.join(unknown)}")
    if kind is Recipe and "model" not in values:
        raise UsageError("Recipe needs the field model")
    return kind(**values)
