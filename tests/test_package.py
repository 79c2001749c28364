"""Importing the package does no work, and every public name is there."""

import subprocess
import sys
from pathlib import Path

import public_api
import pytest

import keras_attn

IMPORTS = """
import os, sys
import keras_attn, keras_attn.cli, keras_attn.cli.declarations
heavy = {"tensorflow", "keras", "jax", "av", "cv2", "matplotlib", "numpy"}
loaded = sorted(heavy & {name.partition(".")[0] for name in sys.modules})
assert not loaded, loaded
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # TensorFlow may say what it likes from here on
print([getattr(keras_attn, name).__name__ for name in keras_attn._PACKAGES])
"""
WINDOWS = "import sys; sys.platform = 'win32'; import keras_attn"


def run(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_importing_loads_nothing_heavy_and_prints_nothing_and_the_packages_resolve():
    found = run(IMPORTS)
    assert (found.returncode, found.stderr) == (0, "")
    packages = [f"keras_attn.{name}" for name in keras_attn._PACKAGES]
    assert found.stdout == f"{packages}\n"


def test_windows_is_refused_in_one_sentence():
    found = run(WINDOWS)
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1].startswith("ImportError: keras_attn needs Linux or macOS")


def test_every_public_name_is_there_and_documented():
    for name in keras_attn.__all__:
        value = getattr(keras_attn, name)
        assert name in dir(keras_attn)
        assert isinstance(value, str) or value.__doc__, name


def test_the_public_surface_is_the_recorded_one():
    recorded = Path(__file__).with_name("api.txt").read_text(encoding="utf-8")
    if recorded != public_api.surface():
        pytest.fail("tests/api.txt differs: python tests/helpers/public_api.py > tests/api.txt")


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="'keras_attn' has no attribute 'nothing'"):
        keras_attn.nothing  # noqa: B018
