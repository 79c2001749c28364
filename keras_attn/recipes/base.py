"""The fields of a recipe, and how one is changed or read back; unknown fields are errors."""

import dataclasses
import inspect
import json
import types
import typing
from dataclasses import dataclass, field, replace

from keras_attn.errors import UsageError


def _at_least(name, value, least):
    if value < least:
        raise UsageError(f"{name} must be at least {least}, got {value}")


@dataclass(frozen=True)
class Clips:
    """What one example is: `frames` consecutive frames, one clip every `stride` frames, squeezed to
    `size` x `size` pixels."""

    frames: int = 30
    stride: int = 2
    size: int = 299

    def __post_init__(self):
        _at_least("clips.frames", self.frames, 1)
        _at_least("clips.stride", self.stride, 1)
        _at_least("clips.size", self.size, 1)
        if self.stride > self.frames:
            raise UsageError(
                f"clips.stride must be at most clips.frames={self.frames}, got {self.stride}: "
                "frames between the clips would never be seen"
            )


@dataclass(frozen=True)
class Recipe:
    """A training run.

    `model` is a key of `keras_attn.models.MODELS`, `arguments` go to its constructor. With
    `input="features"` the run reads the cached maps of `backbone`; with `"video"` it reads frames
    and runs the backbone, which learns only if `train_backbone` is set. `batch_size` clips are
    computed at once and `accumulate` such batches make one update. `select` decides which epoch's
    weights are kept: the `"last"`, or the one with the `"best"` validation accuracy. `jit_compile`
    and `precision` are `"auto"`: no XLA and float32 on a CPU, XLA and mixed_float16 on a GPU.
    """

    model: str
    arguments: dict[str, object] = field(default_factory=dict)
    input: typing.Literal["features", "video"] = "features"
    backbone: str = "inception_v3"
    backbone_weights: str | None = "imagenet"
    train_backbone: bool = False
    clips: Clips = Clips()
    flip: bool = False
    random_crop: bool = False
    batch_size: int = 32
    accumulate: int = 1
    epochs: int = 10
    learning_rate: float = 1e-4
    select: typing.Literal["last", "best"] = "last"
    jit_compile: typing.Literal["auto", "on", "off"] = "auto"
    precision: typing.Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"
    seed: int = 0

    def __post_init__(self):
        for name in ("batch_size", "accumulate", "epochs"):
            _at_least(name, getattr(self, name), 1)
        _at_least("seed", self.seed, 0)
        if not self.learning_rate > 0:
            raise UsageError(f"learning_rate must be above 0, got {self.learning_rate}")
        _check_choices(self)
        if self.input == "features" and (self.flip or self.random_crop or self.train_backbone):
            raise UsageError(
                "flip, random_crop and train_backbone need input=video: cached features "
                "were computed once, from whole frames"
            )


def _check_choices(recipe):
    for name, kind in typing.get_type_hints(Recipe).items():
        if typing.get_origin(kind) is typing.Literal:
            value = getattr(recipe, name)
            if value not in typing.get_args(kind):
                choices = ", ".join(typing.get_args(kind))
                raise UsageError(f"{name} must be one of {choices}, got {value!r}")


def override(recipe, path: str, text: str):
    """`override(recipe, "clips.frames", "16")` is `recipe` with that field changed.

    `model.NAME` changes a constructor argument of the model. Raises `UsageError` for a field that
    does not exist or a value of another type.
    """
    name, _, rest = path.partition(".")
    if isinstance(recipe, Recipe) and name == "model" and rest:
        return replace(recipe, arguments={**recipe.arguments, **_argument(recipe, rest, text)})
    kinds = typing.get_type_hints(type(recipe))
    if name not in kinds or name == "arguments":
        raise UsageError(
            f"{type(recipe).__name__} has no field {name!r}; it has "
            f"{', '.join(key for key in kinds if key != 'arguments')}, and model.ARGUMENT"
        )
    old = getattr(recipe, name)
    if rest and not dataclasses.is_dataclass(old):
        raise UsageError(f"{name} has no parts, so {path!r} does not exist")
    if dataclasses.is_dataclass(old) and not rest:
        parts = ", ".join(f"{name}.{part.name}" for part in dataclasses.fields(old))
        raise UsageError(f"{name} has parts; set one of {parts}")
    return replace(recipe, **{name: override(old, rest, text) if rest else _parse(path, text, kinds[name])})


def _argument(recipe, name, text):
    from keras_attn.models import MODELS

    parameters = inspect.signature(MODELS[recipe.model]).parameters
    reserved = {"num_classes", "input_shape", "backbone", "backbone_weights", "kwargs"}
    known = [key for key in parameters if key not in reserved]
    if name not in known:
        raise UsageError(f"model {recipe.model} has no argument {name!r}; it has {', '.join(known)}")
    default = parameters[name].default
    kind = int | None if default is None else type(default)
    return {name: _parse(f"model.{name}", text, kind)}


def _parse(path, text, kind):
    """Read `text` as a value of type `kind`."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if type(None) in kinds and text.lower() in ("none", "null"):
        return None
    kind = kinds[0]
    if kind is str or typing.get_origin(kind) is typing.Literal:
        return text
    try:
        value = json.loads(text.lower())
    except json.JSONDecodeError:
        value = text
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise UsageError(f"{path} must be a {kind.__name__}, got {text!r}")
    return value


def from_dict(values: dict) -> Recipe:
    """The recipe that `dataclasses.asdict` wrote; `UsageError` for unknown fields."""
    unknown = set(values) - {part.name for part in dataclasses.fields(Recipe)}
    if unknown:
        raise UsageError(f"Recipe has no field {', '.join(sorted(unknown))}")
    return Recipe(**{**values, "clips": Clips(**values["clips"])})
