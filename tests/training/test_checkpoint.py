"""A checkpoint is the whole state or an error: never part of one, never another model's."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_attn.errors import UserError
from keras_attn.training import checkpoint

STATE = {"epoch": 3, "best": -np.inf, "history": [{"loss": 0.1 + 0.2}], "sums": {}}


def small_model(units=4, frozen=False, dropout=0.5):
    """A compiled model after one step, with slots, a seed and, if `frozen`, frozen weights."""
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(units, name="first", trainable=not frozen),
            keras.layers.BatchNormalization(name="norm", trainable=not frozen),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(2, name="last"),
        ]
    )
    optimizer = keras.optimizers.Adam(0.1, gradient_accumulation_steps=2)
    model.compile(optimizer, "mse", run_eagerly=True)  # a few steps do not repay tracing
    model.train_on_batch(np.ones((2, 3)), np.zeros((2, 2)))
    return model


def values(model):
    return [np.array(v) for v in checkpoint.training_variables(model)]


@pytest.fixture
def model(rng):
    return small_model()


def test_everything_comes_back_in_another_model(model, tmp_path):
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(path, model, STATE)
    saved = values(model)
    other = small_model()  # in this process Keras gives its parts other numbers
    assert any(not np.array_equal(x, y) for x, y in zip(saved, values(other), strict=True))
    state = checkpoint.load(path, other)
    assert state == STATE
    for x, y in zip(saved, values(other), strict=True):
        np.testing.assert_array_equal(x, y)
    paths = " ".join(v.path for v in checkpoint.training_variables(model))
    for part in ("seed_generator", "momentum", "velocity", "gradient_accumulator", "iteration"):
        assert part in paths
    inputs, labels = np.ones((4, 3)), np.zeros((4, 2))
    for _ in range(3):  # the next steps, dropout included, are the same
        assert model.train_on_batch(inputs, labels) == other.train_on_batch(inputs, labels)


def test_frozen_layers_are_left_out(rng):
    moving, frozen = (
        " ".join(v.path for v in checkpoint.training_variables(small_model(frozen=frozen)))
        for frozen in (False, True)
    )
    for part in ("first/kernel", "norm/moving_mean"):
        assert part in moving and part not in frozen
    assert "last/kernel" in moving and "last/kernel" in frozen


def test_every_flipped_byte_is_found(model, tmp_path):
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(path, model, STATE)
    whole, before = path.read_bytes(), values(model)
    places = {0, len(whole) - 1, *np.random.default_rng(0).integers(0, len(whole), 50).tolist()}
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"checkpoint\.npz: .* is damaged.*remove it"):
            checkpoint.load(path, model)
    for length in (0, 1, 31, 32, 33, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="damaged"):
            checkpoint.load(path, model)
    for x, y in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(x, y)


def test_another_model_is_refused_and_left_as_it_is(model, tmp_path):
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(path, model, STATE)
    other = small_model(units=5)
    before = values(other)
    with pytest.raises(UserError, match=r"checkpoint\.npz: .*another model or version"):
        checkpoint.load(path, other)
    for x, y in zip(before, values(other), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("format", [checkpoint.FORMAT - 1, checkpoint.FORMAT + 1])
def test_another_version_is_refused(model, tmp_path, monkeypatch, format):
    path = tmp_path / "checkpoint.npz"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", format)
        checkpoint.save(path, model, STATE)
    with pytest.raises(UserError, match="version"):
        checkpoint.load(path, model)


HOOKS = {
    "dies before the rename": "os.replace = lambda *paths: os._exit(9)",
    "dies in the writing": "np.savez = lambda file, **a: (file.write(b'PK'), os._exit(9))",
    "disk full": (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))"
    ),
}
# Each hook in a fork of one process, because TensorFlow takes seconds to import.
PROGRAM = """
import os, resource, signal, sys
import keras, numpy as np
from keras_attn import errors; from keras_attn.training import checkpoint
for hook in sys.argv[2:]:
    child = os.fork()
    if child == 0:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(50)])
        model.compile('adam', 'mse')
        exec(hook)
        try:
            checkpoint.save(sys.argv[1], model, {})
        except errors.UserError as error:
            print(error, flush=True)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_failed_save_leaves_the_old_checkpoint(model, tmp_path):
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(path, model, STATE)
    old = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path, *HOOKS.values()],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
    )
    died, died_too, error, ended = done.stdout.splitlines()
    assert (died, died_too, ended) == ("9", "9", "0"), done.stderr
    assert f"{path}: could not be written" in error and "File too large" in error
    left = [p.name for p in tmp_path.iterdir() if p.name != path.name]
    assert len(left) == 2, left  # those of the two that died
    assert path.read_bytes() == old
    assert checkpoint.load(path, model) == STATE
