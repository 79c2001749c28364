"""Measure throughput, each part against a naive baseline, in one run.

Every pair is measured in turns (ours, baseline, ours, baseline, ...) and the medians are compared:
a ratio says more than a time on a machine that does other things too.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import naive_baselines
import numpy as np

from keras_attn.backbones import BACKBONES, build_backbone
from keras_attn.data import batches, records, sampling
from keras_attn.data.records import prepare
from keras_attn.data.streams import RGB
from keras_attn.data.video import Video
from keras_attn.datasets import tables
from keras_attn.datasets.scanning import scan
from keras_attn.errors import UsageError, UserError
from keras_attn.training import runs
from keras_attn.training.backbone_outputs import computed
from keras_attn.utils.files import write_atomic

REPEATS = 3


@dataclass(frozen=True)
class Comparison:
    """One comparison: things per second of ours and of the naive baseline, and their ratio."""

    what: str
    unit: str
    ours: float
    baseline: float
    description: str

    @property
    def ratio(self) -> float:
        return self.ours / self.baseline


@dataclass(frozen=True)
class Benchmark:
    """All comparisons of one run, and the machine they were made on."""

    machine: str
    rows: tuple[Comparison, ...]

    def lines(self) -> list[str]:
        head = [
            f"Measured on {self.machine}; medians of {REPEATS} turns.",
            "",
            "| what | unit | keras_attn | naive baseline | ratio | the naive baseline |",
            "|---|---|--:|--:|--:|---|",
        ]
        return head + [
            f"| {row.what} | {row.unit} | {row.ours:.4g} | {row.baseline:.4g} | {row.ratio:.2f} | "
            f"{row.description} |"
            for row in self.rows
        ]

    def as_dict(self) -> dict:
        rows = [asdict(row) | {"ratio": row.ratio} for row in self.rows]
        return {"machine": self.machine, "rows": rows}


def benchmark(
    data, *, backbone: str = "mobilenet_v2", weights=None, out=None, videos: int = 24, progress=None
) -> Benchmark:
    """Measure scan, prepare, features, reading and training on `videos` videos of a data folder.

    `data` must be scanned and prepared. With `out`, the table is written there as Markdown. Speeds
    do not depend on the weights of the backbone, so random ones serve (`weights=None`).
    """
    if backbone not in BACKBONES:
        raise UsageError(f"no backbone {backbone!r}; there are {', '.join(BACKBONES)}")
    steps = [_scan, _prepare, _features, _reading, _training_step, _first_step, _without_xla]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        bench = _Bench(data, Path(scratch), backbone, weights, videos)
        for done, step in enumerate(steps, 1):
            rows.append(step(bench))
            if progress:
                progress(done, len(steps), rows[-1].what)
    versions = ", ".join(f"{name} {version}" for name, version in runs.package_versions().items())
    result = Benchmark(
        f"{os.cpu_count()} cores ({platform.processor() or 'CPU'}), {versions}", tuple(rows)
    )
    if out:
        write_atomic(out, "\n".join(result.lines()) + "\n")
    return result


class _Bench:
    """A small data folder of its own, so that nothing of the user's is touched."""

    def __init__(self, data, scratch: Path, backbone, weights, videos):
        rows = [row for row in tables.read_manifest(data) if row.usable]
        self.rows = rows[:: max(len(rows) // videos, 1)][:videos]
        self.frames = sum(row.frames for row in self.rows)
        self.records = {record.id: record for record in records.read_index(data)}
        self.scratch, self.backbone, self.weights = scratch, backbone, weights
        self.size = BACKBONES[backbone].size
        self.list = scratch / "videos.csv"
        listed = [(row.path, row.labels) for row in self.rows]
        tables.write_table(self.list, ("path", "label"), listed)
        self.turn = 0

    def folder(self) -> Path:
        """A new data folder for each turn: nothing may be there already."""
        self.turn += 1
        return self.scratch / f"data{self.turn}"

    def compare(self, what, unit, count, ours, baseline, description) -> Comparison:
        times = {ours: [], baseline: []}
        for _ in range(REPEATS):
            for function in (ours, baseline):
                started = time.perf_counter()
                function()
                times[function].append(time.perf_counter() - started)
        speeds = [count / float(np.median(times[function])) for function in (ours, baseline)]
        return Comparison(what, unit, *speeds, description)


def _scan(bench):
    paths = [row.path for row in bench.rows]
    return bench.compare(
        "scan: decode, count, hash",
        "frames/s",
        bench.frames,
        lambda: scan(bench.list, bench.folder()),
        lambda: naive_baselines.decode_with_opencv(paths),
        "one loop over OpenCV's VideoCapture, which reports no damage",
    )


def _prepare(bench):
    folders = []
    for _ in range(REPEATS):
        folders.append(bench.folder())
        scan(bench.list, folders[-1])
    bench.prepared, todo = folders[0], iter(folders)
    paths = [row.path for row in bench.rows]
    return bench.compare(
        "prepare: decode, resize, JPEG",
        "frames/s",
        bench.frames,
        lambda: prepare(next(todo)),
        lambda: naive_baselines.frames_to_files(paths, bench.folder()),
        "OpenCV loop, one JPEG file per frame",
    )


def _features(bench):
    some = bench.rows[:2]
    videos = [_video(bench.records[row.id]) for row in some]
    model = build_backbone(bench.backbone, size=bench.size, weights=bench.weights)
    distributed = naive_baselines.time_distributed(model, frames=16, size=bench.size)

    def ours():
        positions = [np.arange(video.length, dtype="int32") for video in videos]
        for _ in computed(model, videos, positions, bench.size, RGB, batch_size=32):
            pass

    def baseline():
        for row in some:
            video = naive_baselines.opencv_video(row.path, bench.size)
            padded = np.concatenate([video, video[-1:].repeat(-len(video) % 16, 0)])
            clips = padded.reshape(-1, 16, bench.size, bench.size, 3)
            distributed.predict(clips, batch_size=2, verbose=0)

    ours(), baseline()  # tracing is no part of the comparison
    return bench.compare(
        f"features: {bench.backbone} at {bench.size}",
        "frames/s",
        sum(row.frames for row in some),
        ours,
        baseline,
        "OpenCV loop, then Keras TimeDistributed over clips of 16 frames",
    )


def _video(record):
    return Video(record.id, record.path, record.frames, record.label)


def _reading(bench):
    windows = sampling.Windows(frames=16, stride=16)
    videos = [_video(record) for record in records.read_index(bench.prepared)]
    index = batches.clip_index(videos, windows)
    paths = {record.path: row.path for row, record in _pairs(bench)}
    clips = [
        (paths[p], s) for p, s in zip(index.paths.tolist(), index.starts.tolist(), strict=True)
    ]
    read = batches.read_record(batches.frame_numbers(windows), bench.size)

    def ours():
        for _ in batches.batches(index, read, 8, seed=0):
            pass

    return bench.compare(
        "reading clips of 16 frames in random order",
        "clips/s",
        len(index),
        ours,
        lambda: naive_baselines.read_clips(clips, 16, bench.size),
        "OpenCV: open the video, seek, read, resize",
    )


def _pairs(bench):
    by_id = {record.id: record for record in records.read_index(bench.prepared)}
    rows = {row.id: row for row in tables.read_manifest(bench.prepared)}
    return [(rows[key], record) for key, record in by_id.items()]


def _training_step(bench):
    ours, baseline = naive_baselines.recurrent(), naive_baselines.unrolled()
    batch = naive_baselines.random_batch()
    for model in (ours, baseline):
        model.train_on_batch(*batch)
    return bench.compare(
        f"training step, {_shape()}, after the first",
        "steps/s",
        4,
        lambda: [ours.train_on_batch(*batch) for _ in range(4)],
        lambda: [baseline.train_on_batch(*batch) for _ in range(4)],
        "the same cell in a Python loop over the frames",
    )


def _shape():
    return " x ".join(map(str, naive_baselines.SHAPE))


def _first_step(bench):
    batch = naive_baselines.random_batch()
    return bench.compare(
        "building the model and the first step",
        "starts/s",
        1,
        lambda: naive_baselines.recurrent().train_on_batch(*batch),
        lambda: naive_baselines.unrolled().train_on_batch(*batch),
        "the same cell in a Python loop over the frames",
    )


def _without_xla(bench):
    steps = 4
    command = [sys.executable, naive_baselines.__file__, str(REPEATS), str(steps)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise UserError(f"the benchmark of XLA failed: {process.stderr.strip().splitlines()[-1]}")
    times = json.loads(process.stdout)
    speeds = [steps / float(np.median(times[name])) for name in ("plain graph", "XLA")]
    return Comparison(
        "training step end to end, without XLA", "steps/s", *speeds, "the same model with XLA"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="data folder that was scanned and prepared")
    parser.add_argument("--out", help="Markdown file to write")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", help="imagenet or a path (default: random)")
    options = vars(parser.parse_args())
    print("\n".join(benchmark(options.pop("data"), **options).lines()))


if __name__ == "__main__":
    main()
