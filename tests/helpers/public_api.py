"""Print the public surface: `python tests/helpers/public_api.py > tests/api.txt`."""

import inspect
import re

import keras_attn


def surface() -> str:
    """A line per public name with its signature, sorted."""
    return "".join(f"{line}\n" for line in sorted(_lines("keras_attn", keras_attn)))


def _lines(path, module):
    for name in _public(module):
        value, full = getattr(module, name), f"{path}.{name}"
        if inspect.ismodule(value):
            yield from _lines(full, value)
        elif callable(value):
            yield full + _signature(value)
        else:
            yield f"{full}: {type(value).__name__}"


def _public(module):
    if hasattr(module, "__all__"):
        return module.__all__
    own = (name for name, value in vars(module).items() if _belongs(value, module))
    return [name for name in own if not name.startswith("_")]


def _belongs(value, module):
    """Whether a value is of this module or package; constants do not say where they are from."""
    if inspect.ismodule(value):
        return False
    return getattr(value, "__module__", module.__name__).startswith(module.__name__)


def _signature(value):
    """The signature, with types by their last name: Python's versions differ in their modules."""
    if isinstance(value, type) and issubclass(value, BaseException):
        return "(message)"  # Python knows no signature of exceptions
    text = re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", str(inspect.signature(value)))
    assert " at 0x" not in text, f"a default of {value} has no readable form"
    return text


if __name__ == "__main__":
    print(surface(), end="")
