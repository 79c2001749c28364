"""A training run that takes a second or two, how two are compared, and one that is refused."""

import contextlib
import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
from unittest import mock

import keras
import numpy as np
import pytest

from keras_attn.recipes import Clips, Recipe

WRITING = 0.3  # seconds to write the model, at least
TIMINGS = {"clips_per_second", "data_wait"}

# 12 training videos of 12 frames: windows at 0, 3, 6 and 8, so 48 clips in 6 batches of 8 or 10 of
# 5, the last one short. Dropout, a penalty and accumulation over batches that an epoch cuts.
SMALL = Recipe(
    model="structured_attention",
    arguments={"units": 6, "dropout": 0.3, "penalty": 0.01},
    backbone="tiny",
    backbone_weights=None,
    clips=Clips(frames=4, stride=3, size=32),
    batch_size=5,
    accumulate=3,
    epochs=2,
    learning_rate=0.01,
    seed=5,
)


def train(data, workdir, progress, finish):
    """Begin or resume `SMALL`, with a checkpoint after each step, for `killed_training`."""
    from keras_attn.training import train

    write = train._finish
    train._finish = lambda *arguments: (finish(), write(*arguments))
    options = {"resume": True, "checkpoint_seconds": 0, "progress": progress}
    with eagerly():
        train.train(SMALL, data, workdir, **options)


@contextlib.contextmanager
def eagerly():
    """Inside `with`, models that are compiled are not traced, which a few steps do not repay."""
    compile_model = keras.Model.compile

    def compile_eagerly(self, *arguments, **options):
        compile_model(self, *arguments, **options, run_eagerly=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "compile", compile_eagerly)
        yield


def no_step(event):
    assert hasattr(event, "done"), f"the training began: {event}"  # else a `Checking`


def refused(error, message, recipe, data, workdir, **options):
    """`train` raises before it writes anything or makes a step."""
    from keras_attn.training import train

    with pytest.raises(error, match=message):
        train.train(recipe, data, workdir, progress=no_step, **options)
    assert not workdir.exists()


def killed(module, data, workdir, kills, seed):
    """The kills that hit, by the events that the killed process had told; see the script."""
    here = pathlib.Path(__file__).parent
    done = subprocess.run(
        [sys.executable, here / "killed_training.py", module, data, workdir, str(kills), str(seed)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(here.parents[1]), "TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    count, *events = done.stdout.strip().split("|")
    return int(count), events


class Stopper:
    """Interrupts the process at the n-th event, as Ctrl-C would, and counts the events."""

    def __init__(self, at, number=signal.SIGINT):
        self.left, self.number, self.events = at, number, []

    def __call__(self, event):
        if hasattr(event, "done"):  # a `Checking`
            return
        self.events.append(event)
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(self.number)


def model_weights(run):
    model = keras.models.load_model(run.model, compile=False)
    return {w.path: np.asarray(w) for w in model.weights}


def checkpoint_content(run):
    """Arrays and state of the last checkpoint, without what depends on the clock."""
    with np.load(run.checkpoint, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "header"}
        state = json.loads(archive["header"].tobytes())["state"]
    state["history"] = [without_timings(row) for row in state["history"]]
    return arrays, {name: value for name, value in state.items() if name != "seconds"}


def without_timings(row):
    return {name: value for name, value in row.items() if name not in TIMINGS}


def history(run):
    with open(run.history, newline="", encoding="utf-8") as file:
        return [without_timings(row) for row in csv.DictReader(file)]


def assert_same_run(one, other):
    """Weights, optimizer and history are the same to the bit."""
    (arrays, state), (arrays_2, state_2) = checkpoint_content(one), checkpoint_content(other)
    assert arrays.keys() == arrays_2.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, arrays_2[name])
    assert state == state_2
    assert history(one) == history(other)
    weights, weights_2 = model_weights(one), model_weights(other)
    for x, y in zip(weights.values(), weights_2.values(), strict=True):
        np.testing.assert_array_equal(x, y)


@contextlib.contextmanager
def small_flownet():
    """FlowNetS with four filters in every layer."""
    from keras_attn.backbones import flownet_s

    with contextlib.ExitStack() as patches:
        for table in ("CONVOLUTIONS", "EXPANSIONS"):
            small = {
                name: (*row[:-1], 4) if isinstance(row, tuple) else 4
                for name, row in getattr(flownet_s, table).items()
            }
            patches.enter_context(mock.patch.object(flownet_s, table, small))
        yield
