"""Checks of the fields of a recipe."""

import types
import typing

from keras_attn.errors import UsageError


def at_least(name, value, minimum):
    """`UsageError` for a value below `minimum`."""
    if value < minimum:
        raise UsageError(f"{name} must be at least {minimum}, got {value}")


def check_kinds(values, prefix=""):
    """`UsageError` unless each field of a dataclass is of the type of its annotation."""
    for name, kind in typing.get_type_hints(type(values)).items():
        value = getattr(values, name)
        choices = literals(kind)
        if choices:
            if value not in choices:
                names = ", ".join("none" if choice is None else choice for choice in choices)
                raise UsageError(f"{prefix}{name} must be one of {names}, got {value!r}")
            continue
        kinds = alternatives(kind)
        if type(value) not in kinds and not (float in kinds and type(value) is int):
            names = " or ".join(kind.__name__ for kind in kinds)
            raise UsageError(f"{prefix}{name} must be of type {names}, got {value!r}")


def literals(kind) -> tuple:
    """The values of a `Literal`, or of a `Literal | None`; none for any other annotation."""
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)
    literal, *others = typing.get_args(kind) or (None,)
    if others == [type(None)] and typing.get_origin(literal) is typing.Literal:
        return (*typing.get_args(literal), None)
    return ()


def alternatives(kind) -> tuple:
    """The plain types of an annotation: `(str, NoneType)` of `str | None`, `(dict,)` of a dict."""
    if isinstance(kind, types.UnionType):
        return typing.get_args(kind)
    return (typing.get_origin(kind) or kind,)
