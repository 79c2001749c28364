"""What the table of backbones says about each, and how any of them reads a weights file."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from keras_attn.errors import UserError


@dataclasses.dataclass(frozen=True)
class Backbone:
    """`build(height, width, weights)` gives the Keras model; `endpoint` is the layer whose output
    it returns; `size` is the side in pixels that it was made for."""

    name: str
    build: Callable
    endpoint: str
    size: int
    description: str
    preprocessing: str = "RGB, pixels / 127.5 - 1"  # a layer of the model that `build` gives
    per_frame: bool = True  # False: it sees the frames of a clip together


def load_weights_file(model, path, name, expected):
    """Fill `model`, a part of the backbone `name`, from an HDF5 file.

    Raises `UserError`, which says what was `expected`, when the file is missing or holds
    something else.
    """
    if not Path(path).is_file():
        raise UserError(
            f"Weights of the backbone {name!r}: there is no file {str(path)!r}. "
            f"Expected: {expected}"
        )
    try:
        model.load_weights(str(path))
    except Exception as error:
        # Keras and h5py raise whatever the first odd byte leads to.
        raise UserError(
            f"Weights of the backbone {name!r}: the file {str(path)!r} could not be loaded "
            f"({_first_line(error)}). Expected: {expected}"
        ) from error


def _first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
