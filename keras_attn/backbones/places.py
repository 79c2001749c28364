"""An order of layers that does not depend on how Keras numbered those without a name."""

import re

_NUMBER = re.compile(r"_?(\d+)$")


def by_place(layers) -> list:
    """The layers, sorted by name and number."""
    return sorted(layers, key=lambda layer: place(layer.name))


def place(name) -> tuple[str, int]:
    """The name of a layer without its number, and the number: "conv2d_12" is ("conv2d", 12)."""
    number = _NUMBER.search(name)
    return (name[: number.start()], int(number.group(1))) if number else (name, -1)
