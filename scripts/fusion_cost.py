"""What a second stream costs: the seconds that a video takes, beside those of RGB alone.

    python scripts/fusion_cost.py --out docs/results/fusion_cost.md

Paper 004's model on MobileNetV2, random numbers and weights: speed does not depend on them. Every
network answers in turn, in one process; late fusion is the sum of its two. Flow is measured on its
own, by each method: a served model computes one pair for each frame.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

SNIPPET = 5  # planes of flow, of x and of y
FRAMES = 25  # that the model sees of a video
FLOW_SIZE = (256, 340)
# name: (model, backbone, channels)
NETWORKS = {
    "RGB alone": ("pyramid_attention", "mobilenet_v2", 3),
    "flow alone": ("pyramid_attention", "mobilenet_v2", 2 * SNIPPET),
    "attention-layer fusion": ("attention_fusion", "mobilenet_v2", 3 + 2 * SNIPPET),
    "motion-reinforced RGB": ("pyramid_attention", "mobilenet_v2_reinforced", 3 + 2 * SNIPPET),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--size", type=int, default=224, help="of the frames, in pixels")
    parser.add_argument("--out", type=Path, help="Markdown file for the table")
    options = parser.parse_args()
    from keras_attn.data.streams import FLOW_METHODS

    random = np.random.default_rng(0)
    calls = {name: network(name, options.size, random) for name in NETWORKS}
    calls |= {f"flow of a pair, {method}": pair(method, random) for method in FLOW_METHODS}
    seconds = measure({name: call for name, (call, _) in calls.items()}, options.turns)
    text = table(seconds, {name: count for name, (_, count) in calls.items()}, options.size)
    print(text)
    if options.out:
        from keras_attn.files import write_atomic

        write_atomic(options.out, text)


def network(name, size, random):
    """A call that answers one video, and the parameters of its network."""
    from keras_attn.models import MODELS

    kind, backbone, channels = NETWORKS[name]
    model = MODELS[kind](20, input_shape=(FRAMES, size, size, channels), backbone=backbone)
    model.compile(jit_compile=False)
    video = random.uniform(0, 255, (1, FRAMES, size, size, channels)).astype("float32")
    return lambda: model.predict_on_batch({"video": video}), model.count_params()


def pair(method, random):
    from keras_attn import flow

    first, second = random.integers(0, 256, (2, 1, *FLOW_SIZE, 3), dtype="uint8")
    return lambda: flow.estimate(first, second, method), None


def measure(calls, turns):
    """Median seconds of each call after its first."""
    taken = {name: [] for name in calls}
    for _ in range(turns + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(some[1:]) for name, some in taken.items()}


def table(seconds, parameters, size):
    seconds = dict(seconds)
    both = ("RGB alone", "flow alone")
    seconds["late fusion: both alone"] = sum(seconds[name] for name in both)
    parameters = parameters | {"late fusion: both alone": sum(parameters[name] for name in both)}
    lines = [
        f"{FRAMES} frames of {size} pixels a video, flow of {FLOW_SIZE[1]} x {FLOW_SIZE[0]} "
        f"pixels; {os.cpu_count()} CPU cores.",
        "",
        "| what | parameters | seconds | RGB alone = 1 |",
        "|---|--:|--:|--:|",
    ]
    for name, taken in seconds.items():
        count = f"{parameters[name]:,}" if parameters[name] else "-"
        lines.append(f"| {name} | {count} | {taken:.3f} | {taken / seconds['RGB alone']:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
