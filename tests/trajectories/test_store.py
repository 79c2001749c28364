"""Extraction of trajectories ends soon when it is interrupted."""

import concurrent.futures
import threading

import numpy as np
import pytest

from keras_attn.data import records
from keras_attn.datasets import tables
from keras_attn.trajectories.store import TrajectoryStore, descriptors_of


def test_a_video_in_work_is_left_at_the_next_frame(tiny_data):
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(concurrent.futures.CancelledError):
        descriptors_of(records.read_index(tiny_data)[0], 32, stopped)


def test_an_interruption_stops_the_other_workers(tiny_data, tmp_path, monkeypatch):
    (tmp_path / "records").symlink_to(tiny_data / "records")
    for table in ("manifest.csv", "classes.txt"):
        (tmp_path / table).symlink_to(tiny_data / table)
    first = threading.Lock()

    def descriptors(record, short_side, stopped):
        if not first.acquire(blocking=False):
            return np.zeros((1, 426))
        assert stopped.wait(20)  # else a long video would be finished first
        raise concurrent.futures.CancelledError

    def interrupt(done, total, text):
        if not text.startswith("checking "):
            raise KeyboardInterrupt

    monkeypatch.setattr("keras_attn.trajectories.store.descriptors_of", descriptors)
    rows = [row for row in tables.read_manifest(tmp_path) if row.usable]
    store = TrajectoryStore(tmp_path, 32)
    with pytest.raises(KeyboardInterrupt):
        store.extract(rows, {row.id for row in rows}, workers=2, progress=interrupt)
    assert rows[0].id not in store.index and store.index
