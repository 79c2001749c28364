"""Checks of constructor arguments: each raises a `ValueError` that names the argument."""


def check_option(name, value, options):
    """Raise unless `value`, the argument `name`, is one of `options`."""
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(str, options))}, got {value!r}")


def check_at_least(minimum, **values):
    """Raise unless each of `values`, arguments by name, is a number of at least `minimum`."""
    for name, value in values.items():
        if not value >= minimum:  # NaN included
            raise ValueError(f"{name} must be at least {minimum}, got {value}")


def check_dropout(dropout):
    """Raise unless `dropout` is a rate that leaves something: in [0, 1)."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}")


def check_input_shape(input_shape, layout):
    """Raise unless a shape without the batch axis fits `layout`, as "(T, h, w, C) of features".

    Only the first axis, time, may be None.
    """
    rank = layout.partition(")")[0].count(",") + 1
    if len(input_shape) != rank:
        raise ValueError(f"input_shape must be {layout}, got {tuple(input_shape)}")
    frames, *others = input_shape
    if frames == 0 or not all(others):
        raise ValueError(
            "input_shape must be at least 1 along every axis, and only its first may be None, got "
            f"{tuple(input_shape)}"
        )
