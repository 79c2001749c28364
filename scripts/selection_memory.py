"""Peak memory of training STA-CNN on all segments, on those that it selects, and on as many alone.

    python scripts/selection_memory.py --backbone mobilenet_v2 --size 112 --batch 8

Linux only. Each case trains on two batches in a process of its own, on the backend that
`KERAS_BACKEND` names. Prints the largest resident memory before the first batch, after the last
one, and the difference.
"""

import argparse
import subprocess
import sys
from pathlib import Path

CASES = {  # segments, groups, keep
    "9 of 9 segments": (9, 9, 1),
    "3 of 9 segments": (9, 3, 1),
    "3 of 3 segments": (3, 3, 1),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        measure(options, *CASES[options.case])
        return
    for case in CASES:
        command = [sys.executable, __file__, *sys.argv[1:], "--case", case]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(f"{case}: {answer.strip().splitlines()[-1]}")


def measure(options, segments, groups, keep):
    import keras
    import numpy as np

    from keras_attn.models import STACNN

    shape = (segments, options.size, options.size, 3)
    model = STACNN(10, shape, groups, keep, backbone=options.backbone)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    jit = keras.backend.backend() == "jax"
    model.compile("sgd", loss, jit_compile=jit)
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (options.batch, *shape)).astype("float32")
    labels = rng.integers(0, 10, options.batch)
    before = peak_mebibytes()
    for _ in range(2):
        model.train_on_batch({"video": video}, labels)
    after = peak_mebibytes()
    print(f"{before:.0f} MiB before, {after:.0f} MiB after, {after - before:.0f} MiB for training")


def peak_mebibytes():
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
