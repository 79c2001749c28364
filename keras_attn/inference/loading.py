"""The recognizer of a run that was trained, or of several together."""

import warnings
import zipfile

import keras

from keras_attn.errors import UsageError, UserError
from keras_attn.inference.fused_recognizer import FusedRecognizer
from keras_attn.inference.recognizer import Recognizer
from keras_attn.metrics.fusion_weights import default_weights, normalized
from keras_attn.recipes import Recipe, check_model, override
from keras_attn.training import runs

# Fields of a recipe on which no weight depends.
CHANGES = (
    "clip_aggregation",
    "clips.stride",
    "clips.tail",
    "clips.test_clips",
    "clips.test_frames",
    "model.test_keep",
    "model.test_pooling",
)


def changed_recipe(run, changes) -> Recipe:
    """The recipe of a run with `changes` that need no training; `UsageError` for any other."""
    for name in changes or {}:
        if name not in CHANGES:
            raise UsageError(
                f"`changes` of {name}: needs a training (keras-attn train); a trained model can be "
                f"asked with other {', '.join(CHANGES)}"
            )
    recipe = override(run.recipe, changes or {})
    check_model(recipe)
    return recipe


def load_recognizer(path, changes=None) -> Recognizer:
    """The recognizer of a finished run, with `changes` of its recipe that need no training.

    Raises `UserError` when its model is not there or is damaged, `UsageError` for other changes.
    """
    run = runs.open_run(path)
    recipe = changed_recipe(run, changes)
    if not run.finished():
        raise UserError(f"{run.path}: the run is not finished; go on with: {_resume(run)}")
    model = _load_model(run)
    arguments = {key: recipe.arguments[key] for key in _arguments(changes)}
    policy = keras.config.dtype_policy()
    if model.dtype_policy != policy:  # half precision was for the device of the training
        arguments["dtype"] = policy
    try:
        model = _changed(model, arguments) if arguments else model
        model.check_frames(recipe.clips.inference_frames)
    except ValueError as error:
        raise UsageError(f"`changes` {changes}: {error}") from error
    return Recognizer(model, recipe, run.facts["input"].get("flow"))


def _arguments(changes):
    return [name.removeprefix("model.") for name in changes or {} if name.startswith("model.")]


def _changed(model, arguments):
    """The same model with other arguments, on which no weight depends."""
    made = type(model).from_config(model.get_config() | arguments)
    made.set_weights(model.get_weights())
    return made


def load_fused(opened, weights, changes=None):
    """The recognizer of one opened run, or of several together with weights that sum to one.

    All get the same `changes`, as of `load_recognizer`. Raises `UserError` when they answer
    different classes or one is not finished.
    """
    for run in opened:
        if run.encoder and len(opened) > 1:
            raise UserError(
                f"{run.path}: takes features of {run.encoder}, which is not here, so it cannot see "
                "the frames that the others see; evaluate each run and fuse their scores: "
                "keras-attn fuse"
            )
    recognizers = [load_recognizer(run.path, changes) for run in opened]
    for run in opened[1:]:
        if run.classes != opened[0].classes:
            raise UserError(
                f"{run.path}: answers other classes ({', '.join(run.classes[:5])}) than "
                f"{opened[0].path} ({', '.join(opened[0].classes[:5])}); fuse runs of one data set"
            )
    return recognizers[0] if len(opened) == 1 else FusedRecognizer(recognizers, weights)


def fusion_weights(opened, weights=None) -> tuple[float, ...]:
    """Weights of opened runs that sum to one: `weights`, or those of the papers for their inputs.

    Raises `UsageError` when there are none, or not one for each run.
    """
    if weights is None:
        weights = default_weights([run.recipe for run in opened]) if len(opened) > 1 else [1]
    return normalized(weights, len(opened))


def _resume(run):
    return (
        f"keras-attn train RECIPE --data {run.facts['data']} --workdir {run.path} --resume, with "
        "the recipe and the settings of its start"
    )


def _load_model(run):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # argument warnings were already shown in training
            # Keras only warns when it leaves layers with random weights.
            warnings.filterwarnings("error", ".*freshly-initialized", UserWarning)
            return keras.models.load_model(run.model, compile=False)
    except (OSError, ValueError, KeyError, TypeError, UserWarning, zipfile.BadZipFile) as error:
        raise UserError(
            f"{run.model}: cannot be loaded ({str(error).splitlines()[0]}). It is damaged, or of "
            "another version of keras_attn. Remove it and write it again with: "
            f"{_resume(run)}"
        ) from error
