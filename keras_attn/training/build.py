"""From a recipe and its data to a compiled model, each mistake told in the recipe's own terms."""

import warnings

import keras

from keras_attn.backbones import find_backbone
from keras_attn.errors import DataError, UsageError
from keras_attn.models import MODELS
from keras_attn.recipes import RECIPES, Recipe, check_model, override
from keras_attn.recipes.inputs import check_input
from keras_attn.training.batch_norm import set_batch_norm
from keras_attn.training.optimizers import make_optimizer
from keras_attn.utils.precision import dtype_policy


def resolve(recipe: Recipe | str, changes: dict[str, object] | None = None) -> Recipe:
    """The recipe of that name, or the recipe itself, with `changes`; `UsageError` if it cannot be.

    The model, its arguments and, where features are cached, the backbone are known to exist.
    """
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise UsageError(f"no recipe {recipe!r}; there are {', '.join(RECIPES)}")
        recipe = RECIPES[recipe]
    recipe = override(recipe, changes or {})
    check_model(recipe)
    check_input(recipe.model, recipe.backbone, recipe.arguments, recipe.input)
    try:
        computed = recipe.imported is None and recipe.endpoint and recipe.cached
        if computed and not find_backbone(recipe.backbone).per_frame:
            raise UsageError(
                f"backbone={recipe.backbone} sees the frames of a clip together, so that none of "
                "its features can be cached; use `changes={'cached': False}`"
            )
    except ValueError as error:
        raise UsageError(f"the recipe's arguments {recipe.arguments}: {error}") from error
    return recipe


def fix_randomness(seed: int) -> None:
    """Set the seeds of this process and make TensorFlow's ops deterministic; both stay so."""
    import tensorflow as tf  # here, so that models can be built where there is only JAX

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def check_subsets(recipe: Recipe, source) -> None:
    """`UserError` unless the subsets of `source` can train all classes, as `recipe` asks."""
    if not source.subsets.get("train"):
        raise DataError(f"{source.data}: no training videos; make a split: keras-attn split")
    if recipe.select == "best" and not source.subsets.get("validation"):
        raise UsageError(
            "select=best needs a validation subset, and the split has none; "
            "use select=last or split with a validation share"
        )
    seen = {video.label for video in source.subsets["train"]}
    unseen = [name for label, name in enumerate(source.classes) if label not in seen]
    if unseen:
        raise DataError(
            f"{source.data}: {len(unseen)} of {len(source.classes)} classes have no training "
            f"video: {', '.join(unseen[:5])}. Split again (keras-attn split), or scan without them"
        )
    batches = _steps(recipe, source) * recipe.epochs
    if batches < recipe.accumulate:
        raise UsageError(
            f"accumulate={recipe.accumulate} batches make one update, but {recipe.epochs} epochs "
            f"have only {batches} batches: nothing would be learned; lower accumulate or batch_size"
        )


def precision_of(recipe: Recipe) -> str:
    """The dtype policy that the recipe's `precision` names; "auto" asks for the device."""
    return _automatic_precision() if recipe.precision == "auto" else recipe.precision


def _automatic_precision():
    import tensorflow as tf

    return "mixed_float16" if tf.config.list_physical_devices("GPU") else "float32"


def build_model(recipe: Recipe, source) -> keras.Model:
    """The compiled model of a recipe, its optimizer built; `UsageError` where it cannot be."""
    with dtype_policy(precision_of(recipe)):
        model = _model(recipe, source)
        if recipe.train_backbone:
            _set_batch_norm(model.backbone_parts, recipe.batch_norm)
        try:
            optimizer = _optimizer(recipe, _steps(recipe, source))
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            compile_model(model, optimizer, loss=loss, metrics=["accuracy"])
        except ValueError as error:
            raise UsageError(str(error)) from error
    return model


def compile_model(model: keras.Model, optimizer, **options) -> None:
    """Compile without XLA, and make all variables that a checkpoint holds.

    Keras has no XLA for a model whose ops must be deterministic.
    """
    model.compile(optimizer, jit_compile=False, **options)
    # The one that `compile` made of it: for float16 it scales the loss and has more to save.
    model.optimizer.build(model.trainable_variables)


def _steps(recipe, source):
    return -(-len(source.clips("train")) // recipe.batch_size)


def _set_batch_norm(parts, policy):
    try:
        set_batch_norm(parts, policy)
    except ValueError as error:
        raise UsageError(f"batch_norm={policy}: {error}") from error


def _optimizer(recipe, steps):
    return make_optimizer(
        recipe.optimizer,
        _schedule(recipe, steps),
        weight_decay=recipe.weight_decay,
        multipliers=recipe.multipliers,
        clip_norm=recipe.clip_norm,
        accumulate=recipe.accumulate,
    )


def _schedule(recipe, steps):
    """The learning rate, which falls to a tenth after each of `decay_epochs` of `steps` batches."""
    if not recipe.decay_epochs:
        return recipe.learning_rate
    batches = [epoch * steps - 1 for epoch in recipe.decay_epochs]  # the last with the old rate
    rates = [recipe.learning_rate * 0.1**i for i in range(len(batches) + 1)]
    return keras.optimizers.schedules.PiecewiseConstantDecay(batches, rates)


def _model(recipe, source):
    clips, kind = recipe.clips, MODELS[recipe.model]
    backbone = recipe.backbone if recipe.imported is None else None
    features = source.feature_shape
    shape = (clips.frames, *features) if features else frames_shape(recipe)
    try:
        model = kind(
            len(source.classes),
            input_shape=shape,
            backbone_weights=recipe.backbone_weights,
            train_backbone=recipe.train_backbone,
            **kind.input_arguments(backbone, recipe.cached),
            **recipe.arguments,
        )
    except ValueError as error:
        advice = ""
        if recipe.imported is not None:
            advice = (
                f". The features {recipe.imported} have the shape {source.feature_shape} at each "
                "position: choose a recipe that reads such, or import others"
            )
        raise UsageError(
            f"the model {recipe.model} cannot be built with input_shape={shape} and "
            f"{recipe.arguments}: {error}{advice}"
        ) from error
    _check_clips(recipe, model)
    if source.feature_folder:
        _check_frames(recipe, len(source.classes))
    return model


def frames_shape(recipe: Recipe) -> tuple[int, ...]:
    """The shape (T, H, W, C) of a clip of frames, whether these are cached or not."""
    clips = recipe.clips
    return (clips.frames, clips.size, clips.size, recipe.stream.channels)


def _check_frames(recipe, classes):
    """`UsageError` unless the model can be saved with its backbone once it is trained on features.

    It is built, since only that shows it: with random weights, and not kept.
    """
    kind, shape = MODELS[recipe.model], frames_shape(recipe)
    arguments = {**recipe.arguments, **kind.input_arguments(recipe.backbone, cached=False)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of weights that are random: they are not kept
            kind(classes, input_shape=shape, **arguments)
    except ValueError as error:
        raise UsageError(
            f"the model {recipe.model} could learn from these features, but with its backbone, as "
            f"it is saved, it cannot be built with input_shape={shape}: {error}"
        ) from error


def _check_clips(recipe, model):
    """`UsageError` unless the clips are what the model and its backbone can see."""
    clips = recipe.clips
    try:
        model.check_frames(clips.inference_frames)
    except ValueError as error:
        raise UsageError(f"clips.test_frames={clips.inference_frames}: {error}") from error
    if recipe.input == "rgb" and clips.snippet > 1 and model.image_network.input.shape[-1] != 3:
        raise UsageError(
            f"clips.snippet={clips.snippet}: {recipe.backbone} would take the frames that lie side "
            "by side for optical flow; use clips.snippet=1, or sta_cnn with an attention_network "
            "of its own, which looks at both while the backbone sees the first"
        )
