"""Data that changed since the last check, or all of them, are checked before a training."""

import dataclasses
import os
import shutil

import pytest
from small import SMALL

from keras_attn.errors import DataError
from keras_attn.training import train
from keras_attn.training.loop import Checking


@pytest.fixture
def data(tiny_features, tmp_path):
    return shutil.copytree(tiny_features, tmp_path / "data")


@pytest.fixture
def checked(data, tmp_path, eager):
    """A function that returns the checks that a training shows before its first step."""

    def begin(name, **options):
        events = []

        def show(event):
            if not isinstance(event, Checking):
                raise KeyboardInterrupt
            events.append(event)

        with pytest.raises(KeyboardInterrupt):
            train.train(RECIPE, data, tmp_path / name, progress=show, **options)
        return events

    return begin


RECIPE = dataclasses.replace(SMALL, batch_size=24)


def test_files_that_changed_are_read_or_all(data, checked):
    checked("first")
    assert checked("unchanged") == []
    for file in data.glob("features/**/*.npy"):
        file.touch()
    touched, unchanged, full = checked("touched"), checked("again"), checked("full", check="full")
    assert unchanged == []
    for events in (touched, full):
        assert [event.done for event in events] == list(range(1, 19))  # not the test subset's
        assert {event.total for event in events} == {18}


def test_a_full_check_finds_damage_that_left_size_and_time_alone(data, checked, tmp_path):
    checked("first")
    for file in data.glob("features/**/*.npy"):
        before, content = file.stat(), bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    checked("quick")
    with pytest.raises(DataError, match="is damaged"):
        train.train(RECIPE, data, tmp_path / "full", check="full")
