"""Errors that the user can fix, and the exit code of the command line for each."""

import importlib


class UserError(Exception):
    """An error the user can fix; the message says what is wrong, where, and how to fix it."""

    exit_code = 1


class UsageError(UserError):
    """The arguments are wrong or do not go together."""

    exit_code = 2


class DataError(UserError):
    """The data has a problem; the message names it."""

    exit_code = 3


_INSTALL = {
    "cv2": "pip install opencv-contrib-python-headless (any OpenCV wheel serves, one only)",
    "keras_hub": 'pip install "keras_attn[hub]"',
    "sklearn": 'pip install "keras_attn[trajectories]"',
    "skimage": 'pip install "keras_attn[trajectories]"',
    "safetensors.numpy": "pip install safetensors",
    "torch": "pip install torch --index-url https://download.pytorch.org/whl/cpu",
}


def require(module: str, purpose: str):
    """Import an optional dependency; `UserError` with the command that installs it otherwise."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"{purpose} needs the module {module!r}, which could not be imported ({error}). "
            f"Install it: {_INSTALL[module]}"
        ) from error
