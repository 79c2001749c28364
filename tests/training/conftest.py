"""Fixtures of the tests of training."""

import pytest
from small import SMALL, eagerly


@pytest.fixture
def eager():
    """Models that are compiled are not traced."""
    with eagerly():
        yield


@pytest.fixture(scope="session")
def small_run(tiny_features, built_once):
    """A run of `SMALL` on features. Tests only read it."""
    import keras_attn
    from keras_attn.training.runs import open_run

    def build(folder):
        keras_attn.train(SMALL, tiny_features, folder / "run")

    return open_run(built_once("small_run", build) / "run")
