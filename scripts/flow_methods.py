"""Flow methods side by side: speed, and error where the motion is known.

    python scripts/flow_methods.py ../shared/data/flow --out docs/results/flow_methods.md

reads every pair of the folder, named as `keras_attn.data.flow_pairs` says, and gives each to every
method of `keras_attn.flow` in turn. Seconds are the median of `--turns` calls, after a call on
other frames of the same size, so that compiling does not count.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

SMALL = 10  # pixels: the mean motion below which a pair's motion is called small
BASELINE = "tvl1_opencv"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, help="a Markdown file for the tables")
    parser.add_argument("--turns", type=int, default=1, help="timed calls a pair and method")
    options = parser.parse_args()
    from keras_attn.errors import UserError

    try:
        pairs = read_pairs(options.folder)
    except UserError as error:
        parser.error(str(error))
    seconds, errors = measure(pairs, options.turns)
    text = tables(pairs, seconds, errors)
    print(text)
    if options.out:
        from keras_attn.utils.files import write_atomic

        write_atomic(options.out, text)


def read_pairs(folder):
    """`{name: (first, second, flow)}`, the frames `(1, H, W, 3)`, RGB."""
    from keras_attn.data.flow_pairs import read_truth, true_pairs

    pairs = {}
    for files in true_pairs(folder):
        (first, second), flow = read_truth(*files)
        name = Path(files[0]).name.rpartition("img")[0][:-1]  # "_" or "-" before it
        pairs[name] = first[None], second[None], flow
    return pairs


def measure(pairs, turns):
    """Median seconds, and mean end-point errors, of each method and pair."""
    from keras_attn.flow import METHODS, estimate

    sizes = {first.shape for first, _, _ in pairs.values()}
    for shape in sizes:
        for method in METHODS:
            estimate(*np.random.default_rng(0).uniform(0, 255, (2, *shape)), method)
    seconds = {method: {} for method in METHODS}
    errors = {method: {} for method in METHODS}
    for name, (first, second, truth) in pairs.items():
        taken = {method: [] for method in METHODS}
        for _ in range(turns):
            for method in METHODS:
                started = time.perf_counter()
                flow = estimate(first, second, method)
                taken[method].append(time.perf_counter() - started)
                errors[method][name] = float(np.linalg.norm(flow[0] - truth, axis=-1).mean())
        for method in METHODS:
            seconds[method][name] = float(np.median(taken[method]))
        print(name, {m: round(seconds[m][name], 3) for m in METHODS}, file=sys.stderr, flush=True)
    return seconds, errors


def tables(pairs, seconds, errors):
    motion = {n: float(np.linalg.norm(p[2], axis=-1).mean()) for n, p in pairs.items()}
    groups = list(pairs), [name for name in pairs if motion[name] < SMALL]
    lines = [
        f"{len(groups[0])} pairs, {len(groups[1])} of them with a small motion: below {SMALL} "
        f"pixels in the mean. Errors are end-point errors in pixels. {machine()}.",
        "",
        f"| method | pairs/s | {BASELINE} = 1 | small motion: pairs/s | {BASELINE} = 1 "
        "| error | small motion: error |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for method in errors:
        cells = []
        for names in groups:
            taken, theirs = (sum(seconds[m][n] for n in names) for m in (method, BASELINE))
            cells += [f"{len(names) / taken:.2f}", f"{theirs / taken:.1f}"] if names else ["-"] * 2
        cells += [mean(errors[method], names) for names in groups]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    lines += [
        "",
        "Error of each pair; that of no flow is its mean motion:",
        "",
        f"| pair | size | no flow | {' | '.join(errors)} |",
        f"|---{'|--:' * (2 + len(errors))}|",
    ]
    for name, (first, _, _) in pairs.items():
        size = f"{first.shape[2]} x {first.shape[1]}"
        cells = " | ".join(f"{errors[method][name]:.3f}" for method in errors)
        lines.append(f"| {name} | {size} | {motion[name]:.3f} | {cells} |")
    return "\n".join(lines) + "\n"


def mean(values, names):
    return f"{np.mean([values[name] for name in names]):.3f}" if names else "-"


def machine():
    import cv2
    import keras

    return (
        f"{os.cpu_count()} CPU cores, Keras {keras.__version__} on {keras.backend.backend()} "
        f"({keras.distribution.list_devices()[0]}), OpenCV {cv2.__version__} with "
        f"{cv2.getNumThreads()} threads"
    )


if __name__ == "__main__":
    main()
