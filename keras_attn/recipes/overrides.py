"""How a recipe is changed and read back; unknown fields are errors."""

import dataclasses
import inspect
import json
import typing

from keras_attn.errors import UsageError
from keras_attn.recipes.base import Clips, Pretraining, Recipe, alternatives

_PARTS = {"clips": Clips, "pretraining": Pretraining}


def override(recipe: Recipe, changes: dict[str, str]) -> Recipe:
    """`override(recipe, {"clips.frames": "16"})` is `recipe` with that field changed.

    All changes are made together, so that their order is no matter. `model.NAME` changes a
    constructor argument of the model. A recipe for frames that is to read flow gets its
    `flow_changes` too, where `changes` says nothing else. Raises `UsageError` for a field that does
    not exist, a value of another type, or values that do not go together.
    """
    if recipe.input == "rgb" and changes.get("input") in ("flow", "warped_flow"):
        changes = recipe.flow_changes | changes
    values = dataclasses.asdict(recipe)
    kinds = typing.get_type_hints(Recipe)
    known = {key: kinds[key] for key in kinds if key not in ("arguments", "flow_changes", *_PARTS)}
    for part, made in _PARTS.items():
        known |= {f"{part}.{key}": kind for key, kind in typing.get_type_hints(made).items()}
    for path, text in changes.items():
        name, _, rest = path.partition(".")
        if name == "model" and rest:
            values["arguments"] |= _argument(recipe, rest, text)
        elif path not in known:
            raise UsageError(
                f"a recipe has no field {path!r}; it has {', '.join(known)}, and model.ARGUMENT"
            )
        elif rest:
            values[name][rest] = _parse(path, text, known[path])
        else:
            values[name] = _parse(path, text, known[path])
    return from_dict(values)


def _argument(recipe, name, text):
    default = _parameters(recipe, [name])[name].default
    if default is None or text == "null":
        value = _read_json(text)
        return {name: None if text.lower() == "none" else value}
    return {name: _parse(f"model.{name}", text, type(default))}


def _parameters(recipe, names):
    """The constructor parameters of the recipe's model; `UsageError` unless it has all `names`."""
    from keras_attn.models import MODELS

    if recipe.model not in MODELS:
        raise UsageError(f"no model {recipe.model!r}; there are {', '.join(MODELS)}")
    reserved = {"num_classes", "input_shape", "backbone", "cached", "backbone_weights", "kwargs"}
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


def _parse(path, text, kind):
    """Read `text` as a value of type `kind`."""
    if typing.get_origin(kind) is typing.Literal:
        return text  # the recipe checks it
    kinds = alternatives(kind)
    if type(None) in kinds and text.lower() in ("none", "null"):
        return None
    kind = kinds[0]
    if kind is str:
        return text
    value = _read_json(text)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise UsageError(f"{path} must be of type {kind.__name__}, got {text!r}")
    return value


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
    parts = {name: _made(kind, values.get(name, {})) for name, kind in _PARTS.items()}
    return _made(Recipe, {**values, **parts})


def _made(kind, values):
    unknown = sorted(set(values) - {part.name for part in dataclasses.fields(kind)})
    if unknown:
        raise UsageError(f"{kind.__name__} has no field {', '.join(unknown)}")
    if kind is Recipe and "model" not in values:
        raise UsageError("Recipe needs the field model")
    return kind(**values)
