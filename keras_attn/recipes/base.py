"""The fields of a recipe, and how one is changed or read back; unknown fields are errors."""

import dataclasses
import inspect
import json
import math
import types
import typing
from dataclasses import dataclass, field

from keras_attn.errors import UsageError


def _at_least(name, value, least):
    if value < least:
        raise UsageError(f"{name} must be at least {least}, got {value}")


def _check_kinds(values, prefix=""):
    """`UsageError` unless each field of a dataclass holds what its annotation says."""
    for name, kind in typing.get_type_hints(type(values)).items():
        value = getattr(values, name)
        if typing.get_origin(kind) is typing.Literal:
            if value not in typing.get_args(kind):
                choices = ", ".join(typing.get_args(kind))
                raise UsageError(f"{prefix}{name} must be one of {choices}, got {value!r}")
            continue
        kinds = _alternatives(kind)
        if type(value) not in kinds and not (float in kinds and type(value) is int):
            names = " or ".join(kind.__name__ for kind in kinds)
            raise UsageError(f"{prefix}{name} must be of type {names}, got {value!r}")


def _alternatives(kind):
    """The plain types of an annotation: `(str, NoneType)` of `str | None`, `(dict,)` of a dict."""
    if isinstance(kind, types.UnionType):
        return typing.get_args(kind)
    return (typing.get_origin(kind) or kind,)


@dataclass(frozen=True)
class Clips:
    """What one example is, of frames squeezed to `size` x `size` pixels.

    `sampling="windows"`: `frames` frames, `step` apart; one clip every `stride` frames.
    `sampling="segments"`: one clip a video, a snippet of `snippet` consecutive frames from each of
    `frames` equal parts, and of `test_frames` parts (None: as many) once the model is trained.
    """

    sampling: typing.Literal["windows", "segments"] = "windows"
    frames: int = 30
    stride: int = 2
    step: int = 1
    snippet: int = 1
    test_frames: int | None = None
    size: int = 299

    def __post_init__(self):
        _check_kinds(self, "clips.")
        for name in ("frames", "stride", "step", "snippet", "size"):
            _at_least(f"clips.{name}", getattr(self, name), 1)
        if self.sampling == "segments":
            _at_least("clips.test_frames", self.in_use, 1)
            if self.step > 1:
                raise UsageError(
                    f"clips.step={self.step} needs clips.sampling=windows: segments have their "
                    "frames from everywhere; use clips.step=1"
                )
            return
        if self.stride > self.frames * self.step:
            raise UsageError(
                f"clips.stride must be at most clips.frames={self.frames} times clips.step="
                f"{self.step}, got {self.stride}: frames between the clips would never be seen"
            )
        if self.test_frames is not None or self.snippet > 1:
            raise UsageError("clips.test_frames and clips.snippet need clips.sampling=segments")

    @property
    def in_use(self) -> int:
        """Frames of a clip once the model is trained."""
        return self.frames if self.test_frames is None else self.test_frames

    @property
    def channels(self) -> int:
        """Channels of what the model sees at each position: the colours of its snippet."""
        return 3 * self.snippet


@dataclass(frozen=True)
class Recipe:
    """A training run.

    `model` is a key of `keras_attn.models.MODELS`, `arguments` go to its constructor. With
    `input="features"` the run reads the cached output of `backbone`; with `"video"` it reads frames
    and runs the backbone, which starts from `backbone_weights` and learns only if `train_backbone`
    is set; cached features have the weights they were made with. `batch_norm` says which batch
    normalisations of a backbone that learns do so too (`batch_norm.set_batch_norm`).

    `batch_size` clips are computed at once and `accumulate` such batches make one update.
    `decay_epochs` are the epochs after which the learning rate falls to a tenth; `weight_decay`,
    `multipliers` and `clip_norm` are those of `optimizers.make_optimizer`.
    `select` decides which epoch's weights are kept: the `"last"`, or the one with the `"best"`
    validation accuracy. `precision="auto"` is mixed_float16 on a GPU and float32 elsewhere.
    """

    model: str
    arguments: dict[str, object] = field(default_factory=dict)
    input: typing.Literal["features", "video"] = "features"
    backbone: str = "inception_v3"
    backbone_weights: str | None = "imagenet"
    train_backbone: bool = False
    batch_norm: typing.Literal["train", "partial", "frozen"] = "train"
    clips: Clips = Clips()
    flip: bool = False
    random_crop: bool = False
    batch_size: int = 32
    accumulate: int = 1
    epochs: int = 10
    optimizer: typing.Literal["adam", "sgd", "adadelta"] = "adam"
    learning_rate: float = 1e-4
    decay_epochs: list[int] = field(default_factory=list)
    weight_decay: float = 0.0
    multipliers: dict[str, list] = field(default_factory=dict)
    clip_norm: float | None = None
    select: typing.Literal["last", "best"] = "last"
    precision: typing.Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"
    seed: int = 0

    def __post_init__(self):
        _check_kinds(self)
        for name in ("batch_size", "accumulate", "epochs"):
            _at_least(name, getattr(self, name), 1)
        _at_least("seed", self.seed, 0)
        self._check_rates()
        epochs = self.decay_epochs
        if any(type(e) is not int or e < 1 for e in epochs) or sorted(set(epochs)) != epochs:
            raise UsageError(f"decay_epochs must be rising numbers from 1, got {self.decay_epochs}")
        self._check_input()

    def _check_rates(self):
        if not 0 <= self.weight_decay < math.inf:
            raise UsageError(f"weight_decay must be at least 0 and finite, got {self.weight_decay}")
        for name in ("learning_rate", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{name} must be above 0 and finite, got {value}")

    def _check_input(self):
        if self.input == "features" and (self.flip or self.random_crop or self.train_backbone):
            raise UsageError(
                "flip, random_crop and train_backbone need input=video: cached features "
                "were computed once, from whole frames"
            )
        if self.input == "features" and self.clips.snippet > 1:
            raise UsageError(
                f"clips.snippet={self.clips.snippet} needs input=video: cached features belong to "
                "single frames"
            )
        if self.batch_norm != "train" and not self.train_backbone:
            raise UsageError(f"batch_norm={self.batch_norm} needs train_backbone=true")

    @property
    def endpoint(self) -> str:
        """The output of the backbone that the model reads; `UsageError` for an unknown backbone."""
        from keras_attn.backbones import BACKBONES
        from keras_attn.models import MODELS

        if self.backbone not in BACKBONES:
            raise UsageError(f"no backbone {self.backbone!r}; there are {', '.join(BACKBONES)}")
        return MODELS[self.model].endpoint(self.backbone, self.arguments)


def override(recipe: Recipe, changes: dict[str, str]) -> Recipe:
    """`override(recipe, {"clips.frames": "16"})` is `recipe` with that field changed.

    All changes are made together, so that their order is no matter. `model.NAME` changes a
    constructor argument of the model. Raises `UsageError` for a field that does not exist, a value
    of another type, or values that do not go together.
    """
    values = dataclasses.asdict(recipe)
    kinds = typing.get_type_hints(Recipe)
    parts = {f"clips.{key}": kind for key, kind in typing.get_type_hints(Clips).items()}
    known = {key: kinds[key] for key in kinds if key not in ("arguments", "clips")} | parts
    for path, text in changes.items():
        name, _, rest = path.partition(".")
        if name == "model" and rest:
            values["arguments"] |= _argument(recipe, rest, text)
        elif path not in known:
            raise UsageError(
                f"a recipe has no field {path!r}; it has {', '.join(known)}, and model.ARGUMENT"
            )
        elif rest:
            values["clips"][rest] = _parse(path, text, known[path])
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
    kinds = _alternatives(kind)
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
    return _made(Recipe, {**values, "clips": _made(Clips, values.get("clips", {}))})


def _made(kind, values):
    unknown = sorted(set(values) - {part.name for part in dataclasses.fields(kind)})
    if unknown:
        raise UsageError(f"{kind.__name__} has no field {', '.join(unknown)}")
    if kind is Recipe and "model" not in values:
        raise UsageError("Recipe needs the field model")
    return kind(**values)
