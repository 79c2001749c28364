"""The whole state of a training run in one file that is whole or absent.

Weights, seeds of random layers, optimiser slots, history, best epoch and the position in the data
travel together, so that a run that was killed at any moment goes on to the
same bits. One rename publishes them; `keras.callbacks.BackupAndRestore` overwrites in place and
forgets all but weights, optimiser and epoch.
"""

import json
import zipfile

import numpy as np
from keras import ops

from keras_attn.errors import UserError
from keras_attn.files import staging

FORMAT = 1


def training_variables(model) -> list:
    """Everything of a compiled model that changes in a step, in a fixed order.

    Variables of frozen layers are left out: they never change, and a backbone's would make each
    checkpoint tens of megabytes larger.
    """
    frozen = {id(v) for layer in model.layers if not layer.trainable for v in layer.variables}
    moving = [v for v in model.variables if id(v) not in frozen]
    return [*moving, *model.optimizer.variables]


def save(path, model, state: dict) -> None:
    """Write the model's training variables and `state` (plain JSON values) to `path`."""
    variables = training_variables(model)
    header = {
        "format": FORMAT,
        "variables": [[v.path, list(v.shape), str(v.dtype)] for v in variables],
        "state": state,
    }
    arrays = {f"v{i}": ops.convert_to_numpy(v) for i, v in enumerate(variables)}
    with staging(path) as beside, open(beside, "wb") as file:
        np.savez(file, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)


def load(path, model) -> dict:
    """Put the saved variables into `model` and return the saved state.

    Raises `UserError` when the file is damaged (every part has a checksum) or belongs to another
    model; the model is then unchanged.
    """
    variables = training_variables(model)
    try:
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes())
            arrays = [archive[f"v{i}"] for i in range(len(header["variables"]))]
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError) as error:
        raise UserError(
            f"{path}: the checkpoint is damaged ({error}). Remove it to start the run again."
        ) from error
    expected = [[v.path, list(v.shape), str(v.dtype)] for v in variables]
    if header["format"] != FORMAT or header["variables"] != expected:
        raise UserError(
            f"{path}: the checkpoint belongs to another model or version "
            f"({len(header['variables'])} variables, expected {len(expected)}). "
            "Resume with the recipe and the version that started the run, or use a new workdir."
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return header["state"]
