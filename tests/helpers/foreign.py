"""Folders of features that someone made elsewhere, as docs/features.md says to write them."""

import re
import runpy
import tempfile
from pathlib import Path

import numpy as np

from keras_attn.datasets import tables

SHAPE = (2, 4, 8)
_DOCS = Path(__file__).parents[2] / "docs" / "features.md"


def write_features(*arguments):
    """The function of that name in the documentation."""
    (block,) = re.findall(r"```python\n(.*?)```", _DOCS.read_text(encoding="utf-8"), re.S)
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(block)
        file.flush()
        runpy.run_path(file.name)["write_features"](*arguments)


def positions(number):
    """The number of positions of a video: another than its frames, and not the same for all."""
    return 5 + number % 4


def foreign_folder(data, folder, shape=SHAPE, dtype="float32", revision="ed25f3a"):
    """Features of the usable videos of `data`, in which the class is seen; the arrays by id."""
    rows = [row for row in tables.read_manifest(data) if row.usable]
    classes = tables.read_classes(data)
    rng, arrays, videos = np.random.default_rng(5), {}, []
    for number, row in enumerate(rows):
        length = positions(number)
        values = rng.normal(size=(length, *shape))
        values[..., classes.index(row.names[0])] += 3
        arrays[row.id] = values.astype(dtype)
        times = (np.arange(length) + 0.5) * row.frames / row.fps / length
        videos.append((row.id, arrays[row.id], times))
    write_features(folder, videos, "somebody/encoder", revision, "0123456789abcdef" * 4)
    return arrays
