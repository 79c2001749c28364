"""Importing the package does no work, and every public name is there."""

import subprocess
import sys

import pytest

import keras_attn

PROGRAM = """
import sys
import keras_attn, keras_attn.cli, keras_attn.cli.commands
heavy = {"tensorflow", "keras", "jax", "av", "cv2", "matplotlib", "numpy"}
loaded = sorted(heavy & {name.partition(".")[0] for name in sys.modules})
assert not loaded, loaded
"""


def test_importing_loads_nothing_heavy_and_prints_nothing():
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@pytest.mark.parametrize("name", keras_attn.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(keras_attn, name)
    assert name in dir(keras_attn)
    assert isinstance(value, str) or value.__doc__


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="'keras_attn' has no attribute 'nothing'"):
        keras_attn.nothing  # noqa: B018
