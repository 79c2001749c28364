"""TV-L1 on this machine: pairs per second, and the share of the memory's bandwidth.

    python scripts/benchmarks/flow_speed.py                       # TensorFlow
    KERAS_BACKEND=jax python scripts/benchmarks/flow_speed.py     # needs no TensorFlow

Gives `keras_attn.flow.estimate` pairs of 340 x 256 pixels, a texture and the same texture moved,
and prints the median of `--turns` calls after one that compiles. The time includes the copies to
and from the device. The traffic is the least that the inner iterations can cause, as if each read
and wrote every array once: flow, dual fields, slopes, residual and steps, float32. The bandwidth is
that of a sum of two arrays of 256 MiB on the same device.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import ops

from keras_attn import flow

HEIGHT, WIDTH = 256, 340
# In an iteration: u (2), px and py (2 each) read and written; two slopes, the inverse of their
# squares, the residual and the two steps read.
ARRAYS_PER_ITERATION = 2 * 6 + 6
BYTES = 2**28  # of the array whose sums measure the bandwidth
CHAIN = 20  # sums in one call, each of which reads two arrays and writes one


def pairs(count, seed=0):
    """`count` pairs of bytes `(count, H, W)`: smooth noise, moved by two pixels to the right."""
    noise = np.random.default_rng(seed).random((count, HEIGHT + 8, WIDTH + 8), dtype="float32")
    smooth = sum(
        noise[:, i : i + HEIGHT + 2, j : j + WIDTH + 2] for i in range(5) for j in range(5)
    )
    frames = (smooth * (255 / 25)).astype("uint8")
    return frames[:, 1:-1, 2:], frames[:, 1:-1, :-2]


def traffic(method="tvl1"):
    """Bytes that one pair moves at least."""
    settings = flow.settings(method)
    shrink = settings["scale_step"] ** 2
    pixels = HEIGHT * WIDTH * sum(shrink**i for i in range(settings["scales"]))
    return pixels * settings["warps"] * settings["iterations"] * ARRAYS_PER_ITERATION * 4


def seconds(function, turns):
    """The median of `turns` calls, after one that compiles."""
    function()
    found = []
    for _ in range(turns):
        begun = time.perf_counter()
        function()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


class Sums(keras.layers.Layer):
    """A chain of sums of a large array and its neighbor, `(B, 1) -> (B,)`; the input is ignored."""

    def build(self, input_shape):
        self.array = self.add_weight((64, 1024, 1024), initializer="ones", trainable=False)

    def call(self, inputs):
        start = ops.convert_to_tensor(self.array)
        total = ops.fori_loop(0, CHAIN, lambda _, x: ops.roll(x, 1, axis=1) + start, start)
        return ops.mean(total) + inputs[:, 0]


def bandwidth(turns):
    """Bytes per second that such a chain moves: each sum reads two arrays and writes one."""
    model = keras.Sequential([keras.Input((1,)), Sums()])
    model.compile(jit_compile=True)
    inputs = np.zeros((1, 1), "float32")
    return 3 * BYTES * CHAIN / seconds(lambda: model.predict_on_batch(inputs), turns)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[1, 16, 96])
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    speed = bandwidth(options.turns)
    print(f"backend {keras.backend.backend()}, {keras.distribution.list_devices()[0]}")
    print(
        f"sums of arrays: {speed / 1e9:.0f} GB/s; one pair moves at least {traffic() / 1e9:.2f} GB"
    )
    print("\n| pairs per call | pairs/s | share of the bandwidth |\n|--:|--:|--:|")
    for count in options.pairs:
        first, second = pairs(count)
        rate = count / seconds(lambda: flow.estimate(first, second, "tvl1"), options.turns)  # noqa: B023
        print(f"| {count} | {rate:.1f} | {rate * traffic() / speed:.2f} |", flush=True)


if __name__ == "__main__":
    main()
