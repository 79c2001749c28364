"""Errors that a user can act on, and the exit code that each gives the command line."""

import importlib


class UserError(Exception):
    """Something the user can mend; the message says what, where and how."""

    exit_code = 1


class UsageError(UserError):
    """The command was called in a way that cannot work."""

    exit_code = 2


class DataError(UserError):
    """The data has a problem that was found and named."""

    exit_code = 3


_INSTALL = {
    "cv2": "pip install opencv-contrib-python-headless (any OpenCV wheel serves, one only)",
    "sklearn": 'pip install "keras_attn[trajectories]"',
    "skimage": 'pip install "keras_attn[trajectories]"',
    "safetensors.numpy": "pip install safetensors",
    "torch": "pip install torch --index-url https://download.pytorch.org/whl/cpu",
}


def require(module: str, purpose: str):
    """Import an optional dependency, or say which command installs it.

    Raises `UserError` when `module` is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"{purpose} needs the module {module!r}, which could not be imported ({error}). "
            f"Install it: {_INSTALL[module]}"
        ) from error
