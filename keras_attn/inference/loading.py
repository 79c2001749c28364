"""The recognizer of a run that was trained, or of several together."""

import warnings
import zipfile

import keras

from keras_attn.errors import UserError
from keras_attn.inference.fused_recognizer import FusedRecognizer
from keras_attn.inference.recognizer import Recognizer
from keras_attn.metrics.fusion_weights import default_weights, normalized
from keras_attn.training import runs


def load_recognizer(path) -> Recognizer:
    """The recognizer of a finished run; `UserError` when its model is not there or is damaged."""
    run = runs.open_run(path)
    if not run.finished():
        raise UserError(
            f"{run.path}: the run is not finished; go on with: keras-attn train --resume"
        )
    model = _load_model(run.model)
    return Recognizer(model, run.recipe, run.facts["input"].get("flow"))


def load_fused(opened, weights):
    """The recognizer of one opened run, or of several together with weights that sum to one.

    Raises `UserError` when they answer different classes or one is not finished.
    """
    for run in opened:
        if run.encoder and len(opened) > 1:
            raise UserError(
                f"{run.path}: takes features of {run.encoder}, which is not here, so it cannot see "
                "the frames that the others see; evaluate each run and fuse their scores: "
                "keras-attn fuse"
            )
    recognizers = [load_recognizer(run.path) for run in opened]
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


def _load_model(path):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # argument warnings were already shown in training
            # Keras only warns when it leaves layers with random weights.
            warnings.filterwarnings("error", ".*freshly-initialized", UserWarning)
            return keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError, TypeError, UserWarning, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: cannot be loaded ({str(error).splitlines()[0]}). It is damaged, or of "
            "another version of keras_attn. Remove it and write it again with: "
            "keras-attn train --resume"
        ) from error
