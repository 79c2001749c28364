"""What arguments of layers and models must be: a `ValueError` that names each that is not."""


def check_option(name, value, known):
    """`value`, the argument `name`, must be one of those `known`."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, got {value!r}")


def check_at_least(least, **values):
    """Each of `values`, arguments by name, must be a number from `least` on."""
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def check_dropout(dropout):
    """A share that can be dropped: from 0 on, and below 1."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}")


def check_input_shape(input_shape, layout):
    """A shape without the batch, laid out as "(T, h, w, C) of features" says; T may be None."""
    rank = layout.partition(")")[0].count(",") + 1
    if len(input_shape) != rank:
        raise ValueError(f"input_shape must be {layout}, got {tuple(input_shape)}")
    frames, *others = input_shape
    if frames == 0 or not all(others):
        raise ValueError(
            "input_shape must be at least 1 along every axis, and only its first may be None, got "
            f"{tuple(input_shape)}"
        )
