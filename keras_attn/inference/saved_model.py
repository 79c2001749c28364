"""The folders of a SavedModel: a model folder holds one folder per version."""

from pathlib import Path

import tensorflow as tf

from keras_attn.datasets import tables
from keras_attn.errors import UserError
from keras_attn.models import MODELS
from keras_attn.utils.files import read_json, write_atomic, write_json


def version_numbers(model_folder) -> list[int]:
    """The versions in a model folder; none if there is no such folder."""
    path = Path(model_folder)
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    return [int(name) for name in names if name.isdecimal()]


def version_folder(saved_model) -> Path:
    """The folder that holds `saved_model.pb`: the one given, or its highest version."""
    path = Path(saved_model)
    numbers = version_numbers(path)
    folder = path / str(max(numbers)) if numbers else path
    if not (folder / "saved_model.pb").exists():
        raise UserError(f"{path}: holds no SavedModel (no saved_model.pb, no version folder)")
    return folder


def write_assets(folder, classes: list[str], training: dict) -> None:
    """Write the class names and the facts of the training.

    These are `short_side`, `recipes`, with the `changes` made for the export, `weights` and
    `encoder`.
    """
    write_atomic(Path(folder) / "assets" / "classes.txt", "\n".join(classes) + "\n")
    write_json(Path(folder) / "assets" / "training.json", training)


def read_assets(folder) -> tuple[list[str], dict]:
    """The class names and the facts that `write_assets` wrote."""
    assets = Path(folder) / "assets"
    if not (assets / "classes.txt").exists():
        raise UserError(f"{folder}: has no assets/classes.txt; it is not of keras-attn export")
    return tables.read_classes(assets), read_json(assets / "training.json")


def load_ask(folder, recipes):
    """`Recognizer.ask` of the model in a version folder, and the shape of the features it takes.

    `recipes` are those of its runs. The function takes the `frames` of one video or its `features`;
    the shape is None, or that of one position.
    """
    try:
        loaded = tf.saved_model.load(str(folder))
        features, frames = map(loaded.signatures.get, ("features", "explain"))
        if features is None and frames is None:
            raise KeyError("explain")
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        message = str(error).splitlines()[0]
        raise UserError(f"{folder}: cannot be loaded ({message}); export the run again") from error

    def ask(keep=loaded, **inputs):  # the signatures do not keep their model alive
        ((name, array),) = inputs.items()
        answer = {"frames": frames, "features": features}[name](**{name: tf.constant(array)[None]})
        answer = {key: value.numpy()[0] for key, value in answer.items()}
        if "decision" not in answer:  # of an earlier version
            answer["decision"] = _decision(answer, recipes)
        return answer

    shape = features and tuple(features.structured_input_signature[1]["features"].shape[2:])
    return ask, shape


def _decision(answer, recipes):
    """The shares of the classes by the rule of the model; of several models their mean."""
    votes = [MODELS[recipe["model"]].clip_aggregation == "vote" for recipe in recipes]
    share = sum(votes) / len(votes)
    # The shares of the votes differ by more than this, which decides ties.
    return (
        share * (answer["votes"] + 1e-4 * answer["probabilities"]) / (1 + 1e-4)
        + (1 - share) * answer["probabilities"]
    )
