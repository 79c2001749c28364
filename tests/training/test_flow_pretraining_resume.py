"""A pre-training that is stopped, killed or out of disk goes on to the same bits."""

import errno
import os
import signal

import numpy as np
import pytest
from flow_files import write_truth
from small import Stopper, eagerly, killed
from small_pretraining import EVENTS, OneConvolution, checkpoint_state, pretrain

from keras_attn.errors import UserError
from keras_attn.training import checkpoint, flow_pretraining
from keras_attn.training.loop import Progress

FILES = ["attention.weights.h5", "pretraining.csv"]


@pytest.fixture(scope="module", autouse=True)
def network():
    with pytest.MonkeyPatch.context() as patch, eagerly():
        patch.setattr(flow_pretraining, "FlowPretraining", OneConvolution)
        yield


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    rng = np.random.default_rng(7)
    return write_truth(tmp_path_factory.mktemp("truth"), rng, 7, height=16, width=16)


@pytest.fixture(scope="module")
def whole(pairs, tmp_path_factory):
    """The folder of the pre-training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    pretrain(pairs, folder, checkpoint_seconds=1e6)
    return folder


def assert_same(folder, whole):
    assert sorted(path.name for path in folder.iterdir()) == FILES
    for name in FILES:
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


class Killer(Stopper):
    """Ends the pre-training at the n-th event, without leave to save."""

    def __call__(self, event):
        self.events.append(event)
        self.left -= 1
        if self.left == 0:
            raise SystemExit


@pytest.mark.parametrize(
    "checkpoint_seconds, moments", [(0.0, (1, 2, 3, 6, 3, 2)), (1e6, (1, 1, 3, 5, 5, 2, 8))]
)
def test_ends_at_any_event_change_no_bit(whole, pairs, tmp_path, checkpoint_seconds, moments):
    """At row 0, a step, the last step of an epoch, its row, and those of the second stage."""
    seen = []
    for moment in moments:
        killer = Killer(moment)
        with pytest.raises(SystemExit):
            pretrain(pairs, tmp_path / "run", killer, checkpoint_seconds)
        seen += killer.events
    events = []
    pretrain(pairs, tmp_path / "run", events.append, checkpoint_seconds)
    assert_same(tmp_path / "run", whole)
    rows = [event for event in [*seen, *events] if isinstance(event, dict)]
    first = [(row["stage"], row["epoch"]) for row in rows].index(("clips", 0))
    assert {row["stage"] for row in rows[first:]} == {"clips"}  # the first is not repeated
    if checkpoint_seconds == 0:  # only steps that were told before they were saved, three of six
        assert len(seen) + len(events) == EVENTS + 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_with_a_checkpoint(whole, pairs, tmp_path, number):
    heard, folder = [], tmp_path / "run"
    before = signal.signal(number, lambda *arguments: heard.append(number))
    places = {2: ("truth", 0, 1), 7: ("truth", 2, 0), 6: ("clips", 1, 1)}
    try:
        for moment, place in places.items():
            with pytest.raises(KeyboardInterrupt):
                pretrain(pairs, folder, Stopper(moment, number), checkpoint_seconds=1e6)
            state = checkpoint_state(folder)
            assert (state["stage"], state["epoch"], state["step"]) == place
    finally:
        signal.signal(number, before)
    assert heard == [number] * 3
    events = []
    pretrain(pairs, folder, events.append)
    assert len(events) == EVENTS - sum(places)
    assert_same(folder, whole)


@pytest.mark.slow
def test_kills_change_no_bit(whole, pairs, tmp_path):
    count, events = killed("small_pretraining", pairs, tmp_path / "run", kills=5, seed=2)
    assert count >= 4, events  # a very fast machine may finish before the last one
    assert_same(tmp_path / "run", whole)


def test_a_full_disk_leaves_the_checkpoint_before(whole, pairs, tmp_path, monkeypatch):
    folder, save = tmp_path / "run", np.savez
    left = [3]

    def full(file, **arrays):
        left[0] -= 1
        if left[0] < 0:
            file.write(b"PK")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(file, **arrays)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.np, "savez", full)
        with pytest.raises(UserError, match=r"pretraining\.npz: could not be written.*No space"):
            pretrain(pairs, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["pretraining.csv", "pretraining.npz"]
    assert checkpoint_state(folder)["step"] == 2
    pretrain(pairs, folder)
    assert_same(folder, whole)


def test_another_checkpoint_and_a_damaged_one(pairs, tmp_path):
    with pytest.raises(SystemExit):
        pretrain(pairs, tmp_path, Killer(3))
    path = tmp_path / "pretraining.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"pretraining\.npz: the checkpoint is damaged"):
        pretrain(pairs, tmp_path)


def test_a_step_is_shown_as_in_training(pairs, tmp_path):
    killer = Killer(4)
    with pytest.raises(SystemExit):
        pretrain(pairs, tmp_path, killer)
    row, *steps = killer.events
    assert (row["stage"], row["epoch"]) == ("truth", 0)
    for number, step in enumerate(steps, 1):
        assert isinstance(step, Progress)
        assert (step.epoch, step.epochs, step.step, step.steps) == (1, 2, number, 3)
        assert 0 <= step.data_wait <= 1 and step.clips_per_second > 0
