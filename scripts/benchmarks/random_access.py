"""Random access: time and memory of 16 random frames, by the length of the video.

    python scripts/benchmarks/random_access.py [FOLDER]

Writes records of 150, 9,000 and 30,000 frames of 256 x 340 pixels, and as many planes of flow, to a
temporary folder (in FOLDER, by default that of the system; 1.5 GB), and reads 16 random frames, or
planes of x and of y, in turn from each. The records were just written and so lie in memory: what is
measured is the reader, not the disk. Memory is that of a process which does nothing else, above
what it takes to import TensorFlow and this package.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_attn.data import batches
from keras_attn.data.record_format import (
    FRAMES,
    PLANES,
    encoded_frames,
    encoded_planes,
    record_bytes,
)
from keras_attn.utils.process import peak_memory

LENGTHS = (150, 9_000, 30_000)
CLIP, ROUNDS = 16, 40
SIDES = (256, 340)
KINDS = {
    "frames": (FRAMES, 3, lambda path, where: batches.decoded_frames(encoded_frames(path, where))),
    "planes": (PLANES, 1, lambda path, where: batches.decoded_planes(encoded_planes(path, where))),
}


def write(path, length, per_position, channels):
    """A record of `length` positions that shows noise with content at every scale."""
    random = np.random.default_rng(0)
    coarse = tf.image.resize(random.uniform(0, 255, (16, 8, 11, channels)), SIDES, "bicubic")
    pictures = coarse + random.normal(0, 6, coarse.shape)
    pictures = tf.cast(tf.clip_by_value(pictures, 0, 255), tf.uint8)
    jpegs = [tf.io.encode_jpeg(picture, quality=95).numpy() for picture in pictures]
    items = (jpegs[number % len(jpegs)] for number in range(length * per_position))
    with open(path, "wb") as file:
        file.writelines(record_bytes(items, per_position, {}))


def clip(length, random):
    return tf.constant(random.choice(length, CLIP, replace=False))


def memory_of(kind, path, length):
    """Peak memory, MiB above that of the imports, of a process that reads three clips."""
    before, random = peak_memory(), np.random.default_rng(2)
    for _ in range(3):
        tf.function(KINDS[kind][2])(tf.constant(path), clip(int(length), random))
    return 1024 * (peak_memory() - before)


def measure(folder, kind):
    """Lines of a table: milliseconds, ratio, peak memory and size for each length."""
    per_position, channels, pictures = KINDS[kind]
    paths = {length: folder / f"{kind}-{length}.record" for length in LENGTHS}
    read, random, peaks = tf.function(pictures), np.random.default_rng(1), {}
    for length, path in paths.items():
        write(path, length, per_position, channels)
        read(tf.constant(str(path)), clip(length, random))  # compiled, and in memory
        command = [sys.executable, __file__, "--memory", kind, path, str(length)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[length] = float(done.stdout)
    times = {length: [] for length in paths}
    for _ in range(ROUNDS):  # in turn, so that other work on this machine hits all alike
        for length, path in paths.items():
            where = clip(length, random)
            started = time.perf_counter()
            read(tf.constant(str(path)), where)
            times[length].append(time.perf_counter() - started)
    median = {length: 1000 * statistics.median(some) for length, some in times.items()}
    for length in LENGTHS:
        ratio = median[length] / median[LENGTHS[0]]
        size = paths[length].stat().st_size / 2**20
        yield (
            f"| {length:,} {kind} | {median[length]:.1f} | {ratio:.2f} | {peaks[length]:.1f} | "
            f"{size:,.0f} |"
        )


def main(folder=None):
    heads = (f"{CLIP} random", f"ms, median of {ROUNDS}", "ratio", "peak MiB", "MiB on disk")
    sys.stdout.write(f"| {' | '.join(heads)} |\n|---|--:|--:|--:|--:|\n")
    for kind in KINDS:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            for line in measure(Path(temporary), kind):
                sys.stdout.write(line + "\n")
    sys.stdout.write(f"\n{os.cpu_count()} cores, TensorFlow {tf.__version__}.\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        sys.stdout.write(f"{memory_of(*sys.argv[2:])}\n")
    else:
        main(*sys.argv[1:])
