"""The fields of a recipe, each checked."""

import math
import typing
from dataclasses import dataclass, field

from keras_attn.data.streams import FlowMethod, Input, Stream
from keras_attn.errors import UsageError
from keras_attn.recipes.checks import at_least, check_kinds


@dataclass(frozen=True)
class Clips:
    """The clips that a model is trained on.

    Args:
        sampling: "windows" takes clips of consecutive frames from each video, "segments" one clip
            per video, with a frame from each of `frames` equal segments; "dense" trains on one
            window per video, from a random place in each epoch, and a shorter video starts again
            behind its end.
        frames: Frames per clip.
        stride: Frames from the start of one window of "windows" to the next.
        step: Frames from one frame of a window to the next.
        tail: The last frames, where no whole stride ends: "keep" adds a window that ends with the
            video; "drop" leaves them out, unless the video is shorter than a window.
        snippet: Number of consecutive frames, or planes of optical flow where a recipe reads these,
            that take the place of one frame.
        test_frames: Segments per video once the model is trained; None for `frames`.
        test_clips: Windows of "dense" per video once the model is trained, evenly spaced.
        size: Height and width in pixels, to which frames are stretched.

    Raises:
        UsageError: For values that are out of range or do not go together.
    """

    sampling: typing.Literal["windows", "segments", "dense"] = "windows"
    frames: int = 30
    stride: int = 2
    step: int = 1
    tail: typing.Literal["keep", "drop"] = "keep"
    snippet: int = 1
    test_frames: int | None = None
    test_clips: int = 10
    size: int = 299

    def __post_init__(self):
        check_kinds(self, "clips.")
        for name in ("frames", "stride", "step", "snippet", "test_clips", "size"):
            at_least(f"clips.{name}", getattr(self, name), 1)
        at_least("clips.test_frames", self.inference_frames, 1)
        self._refuse_idle()
        if self.sampling == "windows" and self.stride > self.frames * self.step:
            raise UsageError(
                f"clips.stride must be at most clips.frames={self.frames} times clips.step="
                f"{self.step}, got {self.stride}: frames between the clips would never be seen"
            )

    def _refuse_idle(self):
        """`UsageError` for fields that the sampling does not know."""
        for name, idle, samplings in (
            ("step", self.step > 1, "windows or dense"),
            ("tail", self.tail != "keep", "windows"),
            ("test_frames", self.test_frames is not None, "segments"),
            ("test_clips", self.test_clips != Clips.test_clips, "dense"),
        ):
            if idle and self.sampling not in samplings:
                raise UsageError(
                    f"clips.{name}={getattr(self, name)} needs clips.sampling={samplings}, got "
                    f"{self.sampling}"
                )

    @property
    def inference_frames(self) -> int:
        """Frames per clip once the model is trained."""
        return self.frames if self.test_frames is None else self.test_frames


@dataclass(frozen=True)
class Pretraining:
    """The pre-training of the attention network of `sta_cnn` on optical flow, in two stages.

    Yang et al. state no settings: these are FlowNet's.

    Args:
        truth: Folder of frames with their true flow, in the format of FlyingChairs.
        truth_epochs: Epochs of the first stage, on `truth`.
        clips_epochs: Epochs of the second stage, on the flow that `keras-attn extract-flow`
            estimated for the videos of the training subset.
        learning_rate: Learning rate of Adam.
        batch_size: Pairs of frames per step.

    Raises:
        UsageError: For values that are out of range or do not go together.
    """

    truth: str | None = None
    truth_epochs: int = 0
    clips_epochs: int = 0
    learning_rate: float = 1e-4
    batch_size: int = 8

    def __post_init__(self):
        check_kinds(self, "pretraining.")
        at_least("pretraining.batch_size", self.batch_size, 1)
        for name in ("truth_epochs", "clips_epochs"):
            at_least(f"pretraining.{name}", getattr(self, name), 0)
        if not 0 < self.learning_rate < math.inf:
            raise UsageError(
                f"pretraining.learning_rate must be above 0 and finite, got {self.learning_rate}"
            )
        if (self.truth is None) != (self.truth_epochs == 0):
            raise UsageError(
                "pretraining.truth, a folder, and pretraining.truth_epochs need each other, got "
                f"{self.truth!r} and {self.truth_epochs}"
            )

    @property
    def wanted(self) -> bool:
        return self.truth_epochs + self.clips_epochs > 0


@dataclass(frozen=True)
class Recipe:
    """All settings of a training run.

    Args:
        model: Key of `keras_attn.models.MODELS`.
        arguments: Arguments of the model's constructor.
        input: Frames ("rgb"), planes of optical flow, those of flow without the motion of the
            camera ("warped_flow"), or a frame and the flow after it side by side ("rgb_and_flow").
        flow_method: Method by which `keras-attn extract-flow` estimated the flow.
        flow_changes: Fields and values, as `override` takes them, that apply if `input` is changed
            from frames to flow.
        cached: Read the features that `keras-attn features` computed with `backbone`; else run the
            backbone.
        backbone: Key of `keras_attn.backbones.BACKBONES`; "hub:" and a preset of KerasHub or a
            folder with one; or "features:NAME" for features that were made elsewhere and imported
            (`keras-attn features --from FOLDER`).
        backbone_weights: "imagenet" (of a preset, the preset's), a file, the folder of a run whose
            backbone is taken, or None for random weights. Cached features have the weights with
            which they were computed.
        train_backbone: Let the backbone learn.
        batch_norm: Batch normalizations that learn in a backbone that learns: all ("train"), the
            first of each stream ("partial"), or none ("frozen").
        clips: Clips that the model is trained on.
        flip: Mirror half of the training clips.
        random_crop: Crop training clips at random.
        batch_size: Clips per step.
        accumulate: Steps per update of the weights.
        epochs: Number of epochs.
        optimizer: Key of `keras_attn.training.optimizers.OPTIMIZERS`.
        learning_rate: Learning rate of the first epochs.
        decay_epochs: Epochs after which the learning rate falls to a tenth.
        weight_decay: Coupled weight decay.
        multipliers: Factors of learning rate and weight decay per group of weights; see
            `CoupledWeightDecay`.
        clip_norm: Maximum l2 norm of the gradients.
        pretraining: Pre-training on optical flow.
        select: Keep the weights of the "last" epoch, or of the one with the "best" validation
            accuracy.
        clip_aggregation: How the clips of a video become one answer: the "mean" of their
            probabilities, or a majority "vote"; None for the rule of the model's paper.
        precision: Dtype policy; "auto" is mixed_float16 on a GPU and float32 elsewhere.
        seed: Seed of all random numbers.

    Raises:
        UsageError: For values that are out of range or do not go together.
    """

    model: str
    arguments: dict[str, object] = field(default_factory=dict)
    input: Input = "rgb"
    flow_method: FlowMethod = "tvl1"
    flow_changes: dict[str, str] = field(default_factory=dict)
    cached: bool = True
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
    pretraining: Pretraining = Pretraining()
    select: typing.Literal["last", "best"] = "last"
    clip_aggregation: typing.Literal["vote", "mean"] | None = None
    precision: typing.Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"
    seed: int = 0

    def __post_init__(self):
        check_kinds(self)
        for name in ("batch_size", "accumulate", "epochs"):
            at_least(name, getattr(self, name), 1)
        at_least("seed", self.seed, 0)
        self._check_rates()
        epochs = self.decay_epochs
        if any(type(e) is not int or e < 1 for e in epochs) or sorted(set(epochs)) != epochs:
            raise UsageError(f"decay_epochs must be rising numbers from 1, got {self.decay_epochs}")
        self._check_input()
        self._check_pretraining()

    def _check_rates(self):
        if not 0 <= self.weight_decay < math.inf:
            raise UsageError(f"weight_decay must be at least 0 and finite, got {self.weight_decay}")
        for name in ("learning_rate", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{name} must be above 0 and finite, got {value}")

    def _check_input(self):
        if self.imported is not None and not (self.cached and self.input == "rgb"):
            raise UsageError(
                f"backbone={self.backbone} needs cached=true and input=rgb, got cached="
                f"{str(self.cached).lower()} and input={self.input}: there is no encoder to run"
            )
        if self.cached and (self.flip or self.random_crop or self.train_backbone):
            raise UsageError(
                "flip, random_crop and train_backbone need cached=false: cached features "
                "were computed once, from whole frames"
            )
        if self.cached and self.input == "rgb" and self.clips.snippet > 1:
            raise UsageError(
                f"clips.snippet={self.clips.snippet} needs cached=false: cached features of RGB "
                "belong to single frames"
            )
        if self.batch_norm != "train" and not self.train_backbone:
            raise UsageError(f"batch_norm={self.batch_norm} needs train_backbone=true")

    def _check_pretraining(self):
        if not self.pretraining.wanted:
            return
        from keras_attn.models.segment_network import FLOW_NETWORKS

        name = self.arguments.get("attention_network")
        if (self.model, self.input, self.cached) != ("sta_cnn", "rgb", False) or (
            name not in FLOW_NETWORKS
        ):
            raise UsageError(
                "pretraining needs model sta_cnn, input=rgb, cached=false and "
                f"model.attention_network={' or '.join(FLOW_NETWORKS)}, got {self.model}, "
                f"{self.input}, cached={str(self.cached).lower()} and {name}"
            )
        if self.arguments.get("attention_weights") or self.arguments.get("spatial") == "none":
            raise UsageError(
                "pretraining makes the weights of the attention network: it goes with "
                "model.spatial=location, and without model.attention_weights"
            )

    @property
    def stream(self) -> Stream:
        """The input of the model at each position of a video."""
        return Stream(self.input, self.flow_method, self.clips.snippet)

    @property
    def aggregation(self) -> str:
        """The rule for the clips of a video that applies: "vote" or "mean"."""
        from keras_attn.models import MODELS

        return self.clip_aggregation or MODELS[self.model].clip_aggregation

    @property
    def imported(self) -> str | None:
        """The name of the imported features that are read, if any."""
        kind, separator, name = self.backbone.partition("features:")
        return name if separator and not kind else None

    @property
    def endpoint(self) -> str:
        """The output of the backbone that the model reads; `UsageError` for an unknown backbone."""
        from keras_attn.backbones import BACKBONES, find_backbone
        from keras_attn.models import MODELS

        if self.backbone not in BACKBONES and not self.backbone.startswith("hub:"):
            raise UsageError(
                f"no backbone {self.backbone!r}; there are {', '.join(BACKBONES)} and hub:PRESET"
            )
        try:
            backbone = find_backbone(self.backbone)
        except ValueError as error:
            raise UsageError(str(error)) from error
        return MODELS[self.model].endpoint(backbone, self.arguments)

    @property
    def cached_maps(self) -> tuple:
        """The `backbones.CachedMap`s from which cached features of `endpoint` are read."""
        from keras_attn.backbones.caching import cached_maps

        return cached_maps(self.backbone, self.endpoint)
