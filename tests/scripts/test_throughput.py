"""The benchmark compares things that do the same; how fast they are is no test."""

import keras
import naive_baselines
import numpy as np
import pytest
import throughput
from checks import assert_close


def test_unrolled_model_answers_as_ours(monkeypatch):
    monkeypatch.setattr(naive_baselines, "SHAPE", (3, 2, 4, 5))
    monkeypatch.setattr(naive_baselines, "UNITS", 6)
    ours, unrolled = naive_baselines.recurrent(), naive_baselines.unrolled()
    unrolled.set_weights(ours.get_weights())
    inputs, _ = naive_baselines.random_batch(shape=naive_baselines.SHAPE)
    assert_close(unrolled(inputs), ours(inputs))


def test_time_distributed_answers_as_the_image_model(rng):
    image_model = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Conv2D(2, 3)])
    video = rng.random((2, 3, 6, 6, 3), dtype="float32")
    distributed = naive_baselines.time_distributed(image_model, frames=3, size=6)
    assert_close(distributed(video)[1, 2], image_model(video[1, 2:3])[0])


def test_opencv_loops_read_every_frame(tiny_data, tmp_path):
    from keras_attn.datasets import tables

    rows = tables.read_manifest(tiny_data)[:2]
    paths = [row.path for row in rows]
    assert naive_baselines.decode_with_opencv(paths) == sum(row.frames for row in rows)
    naive_baselines.frames_to_files(paths, tmp_path / "frames")
    assert len(list((tmp_path / "frames").iterdir())) == sum(row.frames for row in rows)


@pytest.mark.slow
def test_benchmark_measures_every_part(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(throughput, "REPEATS", 1)
    monkeypatch.setattr(naive_baselines, "SHAPE", (3, 2, 2, 8))
    seen = []
    result = throughput.benchmark(
        tiny_data,
        backbone="tiny",
        videos=3,
        out=tmp_path / "table.md",
        progress=lambda done, total, what: seen.append((done, total)),
    )
    assert seen == [(i, 7) for i in range(1, 8)]
    for row in result.rows:
        assert row.ours > 0 and row.baseline > 0
        assert np.isclose(row.ratio, row.ours / row.baseline)
    table = (tmp_path / "table.md").read_text()
    assert all(row.what in table and row.description in table for row in result.rows)
