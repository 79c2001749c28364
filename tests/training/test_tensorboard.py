"""TensorBoard shows the rows of the history, where it is installed."""

import importlib.util
import json

import pytest
import tensorflow as tf

from keras_attn.training import tensorboard


def test_scalars_for_tensorboard_once_an_epoch(small_run):
    if importlib.util.find_spec("tensorboard") is None:
        assert not (small_run.path / "tensorboard").exists()
        return
    found = {}
    for path in sorted((small_run.path / "tensorboard").iterdir()):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                number = float(tf.make_ndarray(value.tensor))
                found.setdefault(event.step, {})[value.tag] = number
    rows = json.loads(small_run.results.read_text())["history"]
    assert sorted(found) == [1, 2]
    for row in rows:
        expected = {name: value for name, value in row.items() if name != "epoch"}
        assert found[row["epoch"]] == pytest.approx(expected, rel=1e-5)


def test_without_tensorboard_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard.importlib.util, "find_spec", lambda name: None)
    tensorboard.scalar_writer(tmp_path / "t", [{"epoch": 1, "loss": 2.0}])({"epoch": 2})
    assert not (tmp_path / "t").exists()
