"""A run that is stopped, killed or damaged goes on to the same bits, or says what is wrong."""

import dataclasses
import os
import signal
import time

import numpy as np
import pytest
from small import (
    SMALL,
    Stopper,
    assert_same_run,
    checkpoint_content,
    eagerly,
    history,
    killed,
    model_weights,
)

from keras_attn.errors import UserError
from keras_attn.training import checkpoint, train
from keras_attn.training.loop import Progress
from keras_attn.training.runs import open_run

KILLS = 10


@pytest.fixture(scope="module")
def whole(tiny_features, tmp_path_factory):
    """The run that nothing disturbed."""
    with eagerly():
        return train.train(SMALL, tiny_features, tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.slow
def test_ten_kills_change_no_bit(whole, tiny_features, tmp_path):
    count, events = killed("small", tiny_features, tmp_path / "killed", KILLS, seed=1)
    assert count >= KILLS - 1, events  # a very fast machine may finish before the last one
    assert_same_run(open_run(tmp_path / "killed"), whole)
    assert len(history(whole)) == SMALL.epochs
    left = [path.name for path in (tmp_path / "killed").iterdir() if path.name.startswith(".")]
    assert left == []


def stop_and_resume(recipe, data, workdir, *moments):
    for moment in moments:
        with pytest.raises(KeyboardInterrupt):
            train.train(recipe, data, workdir, resume=True, progress=Stopper(moment))
    return train.train(recipe, data, workdir, resume=True)


def test_interrupts_in_one_process_change_no_bit(eager, whole, tiny_features, tmp_path):
    """In an epoch, after its last step (of ten), after its validation, and in the next epoch."""
    parted = stop_and_resume(SMALL, tiny_features, tmp_path / "parted", 4, 6, 1, 3)
    assert_same_run(parted, whole)


def test_an_interrupt_keeps_the_step_it_fell_into(eager, tiny_features, tmp_path):
    """Also in the midst of a step: nothing is lost, nothing is counted twice."""
    with pytest.raises(KeyboardInterrupt):
        train.train(SMALL, tiny_features, tmp_path / "run", progress=Stopper(4))
    arrays, state = checkpoint_content(open_run(tmp_path / "run"))
    assert (state["epoch"], state["step"], state["clips"]) == (0, 4, 20)
    assert 4 in [array for array in arrays.values() if array.dtype == np.int64 and not array.shape]


@pytest.fixture
def interruptible():
    """SIGINT as in a terminal: a shell starts what runs in the background without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_a_second_interrupt_acts_at_once(eager, interruptible, tiny_features, tmp_path):
    """The second is sent when the first was seen: two that are pending at once become one."""
    before = interruptible

    def twice(event):
        os.kill(os.getpid(), signal.SIGINT)
        wait(lambda: signal.getsignal(signal.SIGINT) is before)
        os.kill(os.getpid(), signal.SIGINT)
        wait(lambda: False)

    with pytest.raises(KeyboardInterrupt):
        train.train(SMALL, tiny_features, tmp_path / "run", progress=twice)
    assert signal.getsignal(signal.SIGINT) is before
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


def wait(condition, seconds=30):
    """Wait until a condition holds: another thread may take a signal, and the main one later."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the signal was not seen"
        time.sleep(0.001)


def test_sigterm_saves_and_goes_on_to_who_handles_it(eager, tiny_features, tmp_path):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *arguments: heard.append(arguments))
    try:
        with pytest.raises(KeyboardInterrupt):
            stopper = Stopper(3, signal.SIGTERM)
            train.train(SMALL, tiny_features, tmp_path / "run", progress=stopper)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(heard) == 1
    assert checkpoint_content(open_run(tmp_path / "run"))[1]["step"] == 3


@pytest.mark.slow
def test_mixed_precision_is_finite_and_resumes(eager, whole, tiny_features, tmp_path):
    recipe = dataclasses.replace(SMALL, precision="mixed_float16")
    once = train.train(recipe, tiny_features, tmp_path / "once")
    assert_same_run(stop_and_resume(recipe, tiny_features, tmp_path / "parted", 14), once)
    assert all(np.isfinite(weights).all() for weights in model_weights(once).values())
    assert all(np.isfinite(float(x)) for row in history(once) for x in row.values())
    more = len(checkpoint_content(once)[0]) - len(checkpoint_content(whole)[0])
    assert more > 0  # the loss scale is saved too


@pytest.mark.slow
def test_frames_augmentation_and_the_best_epoch_resume(tiny_data, tmp_path):
    recipe = dataclasses.replace(
        SMALL,
        cached=False,
        train_backbone=True,
        flip=True,
        random_crop=True,
        select="best",
        batch_size=16,
        accumulate=2,
    )
    once = train.train(recipe, tiny_data, tmp_path / "once")
    assert_same_run(stop_and_resume(recipe, tiny_data, tmp_path / "parted", 6), once)


def test_checkpoints_fall_between_steps_at_the_asked_rate(
    eager, tiny_features, tmp_path, monkeypatch
):
    steps = []
    monkeypatch.setattr(
        checkpoint, "save", lambda path, model, state: steps.append((state["epoch"], state["step"]))
    )
    short = dataclasses.replace(SMALL, batch_size=16, accumulate=1)
    train.train(short, tiny_features, tmp_path / "each", checkpoint_seconds=0)
    assert steps == [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    steps.clear()
    events = []
    train.train(
        short, tiny_features, tmp_path / "rare", checkpoint_seconds=1e6, progress=events.append
    )
    assert steps == [(1, 0), (2, 0)]
    shown = [event for event in events if isinstance(event, Progress)]
    assert [event.step for event in shown] == [1, 2, 3] * 2
    assert all(event.steps == 3 and event.epochs == 2 for event in shown)
    assert all(0 <= event.data_wait <= 1 and event.clips_per_second > 0 for event in shown)


def test_a_diverged_run_says_so(eager, tiny_features, tmp_path):
    recipe = dataclasses.replace(SMALL, learning_rate=1e38, accumulate=1)
    with pytest.raises(
        UserError, match=r"loss became (nan|inf) in epoch 1, step \d+.*learning_rat"
    ):
        train.train(recipe, tiny_features, tmp_path / "run")
