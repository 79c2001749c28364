"""The whole state of a training run in one file that is whole or absent.

Weights, seeds of random layers, optimizer slots, history, best epoch and the position in the data
are saved together, so that a run that was killed at any moment goes on to the same bits. One rename
publishes them; `keras.callbacks.BackupAndRestore` overwrites in place and saves only the weights,
the optimizer and the epoch.
"""

import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np
from keras import ops

from keras_attn.errors import UserError
from keras_attn.utils.files import sha256, staging

FORMAT = 2
DIGEST = 32  # bytes of SHA-256 at the end of the file, over all that is before them


def training_variables(model) -> list:
    """All variables of a compiled model that change in a step, in a fixed order.

    Variables of frozen layers are left out: they never change, and a backbone's would make each
    checkpoint tens of megabytes larger.
    """
    frozen = {id(v) for layer in model.layers if not layer.trainable for v in layer.variables}
    moving = [v for v in model.variables if id(v) not in frozen]
    return [*moving, *model.optimizer.variables]


def save(path, model, state: dict) -> None:
    """Write the model's training variables and `state` (plain JSON values) to `path`."""
    variables = training_variables(model)
    header = {"format": FORMAT, "variables": _described(variables), "state": state}
    arrays = {f"v{i}": ops.convert_to_numpy(v) for i, v in enumerate(variables)}
    with staging(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)
        digest = sha256(temporary)
        with open(temporary, "ab") as file:  # a ZIP file may have a tail
            file.write(bytes.fromhex(digest))


def load(path, model) -> dict:
    """Put the saved variables into `model` and return the saved state.

    Raises `UserError` when any byte of the file is not as written, or when it belongs to another
    model; the model is then unchanged.
    """
    content = Path(path).read_bytes()
    if hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
        raise UserError(
            f"{path}: the checkpoint is damaged (its SHA-256 does not match its content). "
            "Restore a copy, or remove it to start again from the first step."
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        header = json.loads(archive["header"].tobytes())
        arrays = [archive[f"v{i}"] for i in range(len(header["variables"]))]
    variables = training_variables(model)
    if header["format"] != FORMAT or header["variables"] != _described(variables):
        raise UserError(
            f"{path}: the checkpoint belongs to another model or version "
            f"({len(header['variables'])} variables, expected {len(variables)}). "
            "Resume with the recipe and the version that started the run, or use a new workdir."
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return header["state"]


def _described(variables):
    """Name, shape and type of each. Without the numbers that Keras gives to the second and later
    objects of a kind in a process: a run must resume in the process that was interrupted."""
    return [[re.sub(r"_\d+", "", v.path), list(v.shape), str(v.dtype)] for v in variables]
