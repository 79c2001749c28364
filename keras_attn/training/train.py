"""Train a model by a recipe: resumable to the bit, with the time spent waiting for data shown."""

import dataclasses
from pathlib import Path

import keras
import tensorflow as tf

from keras_attn.backbones import BACKBONES, weights_hash
from keras_attn.data.source import open_source
from keras_attn.errors import DataError, UsageError
from keras_attn.models import MODELS
from keras_attn.models.base import swap_input
from keras_attn.recipes import RECIPES, Recipe, check_model, override
from keras_attn.training import flow_pretraining, runs
from keras_attn.training.batch_norm import set_batch_norm
from keras_attn.training.loop import TrainingLoop
from keras_attn.training.optimizers import make_optimizer
from keras_attn.utils.files import locked, remove_leftovers, sha256, staging, write_json
from keras_attn.utils.process import peak_memory


def train(
    recipe: Recipe | str,
    data,
    workdir,
    *,
    changes: dict[str, object] | None = None,
    fold: int | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 60.0,
    progress=None,
) -> runs.Run:
    """Train by `recipe` on the data folder `data`; everything is written to `workdir`.

    With `fold`, the videos of that fold are held out as the test subset. A run that was stopped in
    any way goes on with `resume=True` to bit-identical weights; for that the random seeds of this
    process are set and TensorFlow's ops made deterministic, which stays so. `progress` is called
    with a `Progress` after each step and with the history row (a dict) after each epoch. Raises
    `UserError` for anything the user can mend, before the first step wherever possible.
    """
    recipe = _resolve(recipe, changes)
    _fix_randomness(recipe.seed)
    source = open_source(data, recipe, fold, read=("train", "validation"))
    _check_subsets(recipe, source)
    recipe, facts = _facts(recipe, source)
    run = runs.prepare(workdir, recipe, facts, resume)
    if run.finished():
        return run
    with _precision(recipe):
        model = _build(recipe, source)
    stages = flow_pretraining.open_stages(recipe, source, run.path)
    runs.begin(run)
    with locked(run.path, f"{run.path}: another process trains here; wait for it, or stop it"):
        remove_leftovers(run.path)
        if recipe.pretraining.wanted and not run.checkpoint.exists():
            with _precision(recipe):
                flow_pretraining.pretrain(recipe, stages, run.path, progress)
            flow_pretraining.load_attention(model, recipe, run.path)
        loop = TrainingLoop(run, recipe, source, model, checkpoint_seconds, progress)
        loop.fit()
        _finish(run, source, model, loop.state)
    return run


def _facts(recipe, source):
    """The recipe with the backbone weights that are really used, and what a run records of them."""
    facts = source.facts() | flow_pretraining.facts(recipe, source)
    if recipe.cached:
        return dataclasses.replace(recipe, backbone_weights=source.provenance["weights"]), facts
    weights = recipe.backbone_weights
    if weights and Path(weights).is_file():
        facts["backbone_weights_sha256"] = sha256(weights)
    return recipe, facts


def _resolve(recipe, changes):
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise UsageError(f"no recipe {recipe!r}; there are {', '.join(RECIPES)}")
        recipe = RECIPES[recipe]
    recipe = override(recipe, changes or {})
    check_model(recipe)
    try:
        if recipe.endpoint and recipe.cached:
            _refuse_uncacheable(recipe)
    except ValueError as error:
        raise UsageError(f"the recipe's arguments {recipe.arguments}: {error}") from error
    return recipe


def _refuse_uncacheable(recipe):
    if not BACKBONES[recipe.backbone].per_frame:
        raise UsageError(
            f"backbone {recipe.backbone}: sees the frames of a clip together, so that nothing of "
            "it can be cached; use --set cached=false"
        )


def _fix_randomness(seed):
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _check_subsets(recipe, source):
    if not source.subsets.get("train"):
        raise DataError(f"{source.data}: no training videos; make a split: keras-attn split")
    if recipe.select == "best" and not source.subsets.get("validation"):
        raise UsageError(
            "select=best needs a validation subset, and the split has none; "
            "use --set select=last or split with a validation share"
        )
    seen = {video.label for video in source.subsets["train"]}
    unseen = [name for label, name in enumerate(source.classes) if label not in seen]
    if unseen:
        raise DataError(
            f"{source.data}: {len(unseen)} of {len(source.classes)} classes have no training "
            f"video: {', '.join(unseen[:5])}. Split again (keras-attn split), or scan without them"
        )
    batches = -(-len(source.clips("train")) // recipe.batch_size) * recipe.epochs
    if batches < recipe.accumulate:
        raise UsageError(
            f"accumulate={recipe.accumulate} batches make one update, but {recipe.epochs} epochs "
            f"have only {batches} batches: nothing would be learnt; lower accumulate or batch_size"
        )


class _precision:
    """The dtype policy under which a model is built; the global one is put back afterwards."""

    def __init__(self, recipe):
        on_gpu = bool(tf.config.list_physical_devices("GPU"))
        automatic = "mixed_float16" if on_gpu else "float32"
        self.policy = automatic if recipe.precision == "auto" else recipe.precision

    def __enter__(self):
        self.before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.policy)

    def __exit__(self, *error):
        keras.config.set_dtype_policy(self.before)


def _build(recipe, source):
    model = _model(recipe, source)
    for part in model.backbone_parts:
        part.trainable = recipe.train_backbone
    if recipe.train_backbone:
        _set_batch_norm(model.backbone_parts, recipe.batch_norm)
    steps = -(-len(source.clips("train")) // recipe.batch_size)
    try:
        model.compile(
            optimizer=_optimizer(recipe, steps),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=False,  # Keras has no XLA for a model whose ops must be deterministic
        )
        # The one that `compile` made of it: for float16 it scales the loss and has more to save.
        model.optimizer.build(model.trainable_variables)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return model


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
    shape = source.feature_shape or (clips.size, clips.size, recipe.stream.channels)
    shape = (clips.frames, *shape)
    try:
        model = kind(
            len(source.classes),
            input_shape=shape,
            backbone_weights=recipe.backbone_weights,
            **kind.input_arguments(recipe.backbone, recipe.cached),
            **recipe.arguments,
        )
    except ValueError as error:
        raise UsageError(
            f"the model {recipe.model} cannot be built with input_shape={shape} and "
            f"{recipe.arguments}: {error}"
        ) from error
    _check_clips(recipe, model)
    return model


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


def _finish(run, source, model, state):
    """Write the model as one file that takes video, then the results that say so."""
    recipe = run.recipe
    if recipe.select == "best":
        model.load_weights(run.best)
    if recipe.cached:
        size = recipe.clips.size
        shape = (recipe.clips.frames, size, size, recipe.stream.channels)
        model = swap_input(model, recipe.backbone, shape)
        _fill(model.image_network, source)
    with staging(run.model) as beside:
        model.save(beside)
    results = run.facts | {
        "epochs": state.epoch,
        "pretraining": flow_pretraining.read_rows(run.path),
        "history": state.history,
        "seconds": round(state.seconds, 1),
        "parameters": model.count_params(),
        "peak_memory_gib": round(peak_memory(), 2),
    }
    write_json(run.results, results)


def _fill(backbone, source):
    """Give the backbone the weights that made the features, and no others."""
    path, expected = source.backbone_weights, source.provenance["weights_sha256"]
    try:
        backbone.load_weights(path)
        found = weights_hash(backbone)
    except (OSError, ValueError, KeyError) as error:
        found = f"unreadable ({error})"
    if found != expected:
        raise DataError(
            f"{path}: is not the backbone that made the features: its weights have the hash "
            f"{found}, expected {expected}. The training is kept: put the file back with "
            "keras-attn features, and resume."
        )
