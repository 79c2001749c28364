"""Cost of a second stream: the seconds that a video takes, against those of RGB alone.

    python scripts/fusion_cost.py --out fusion_cost.md

Paper 004's model on MobileNetV2, random numbers and weights: speed does not depend on them. Every
network answers in turn, in one process; late fusion is the sum of its two. Flow and trajectories
are of a synthetic scene; a served model computes the flow of one pair for each frame.
"""

import argparse
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from motion_pictures import scene

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


@dataclass(frozen=True)
class Case:
    """A call that does something `count` times, by a network of so many `parameters`, if by one."""

    call: object
    count: int = 1
    parameters: int | None = None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--size", type=int, default=224, help="of the frames, in pixels")
    parser.add_argument("--out", type=Path, help="Markdown file for the table")
    options = parser.parse_args()
    found = cases(options.size)
    text = table(found, measure(found, options.turns), options.size)
    print(text)
    if options.out:
        from keras_attn.utils.files import write_atomic

        write_atomic(options.out, text)


def cases(size):
    from keras_attn.data.streams import FLOW_METHODS
    from keras_attn.flow import estimate
    from keras_attn.flow.warped import warped_flow

    found = {f"{name}, a video": network(name, size) for name in NETWORKS}
    for method in FLOW_METHODS:
        found[f"flow by {method}, a pair"] = pair(estimate, method)
        found[f"warped flow by {method}, a pair"] = pair(warped_flow, method)
    found["flow in a served model, a pair"] = served_pairs()
    found["trajectories at 320 x 240, a frame"] = trajectories()
    return found


def network(name, size):
    from keras_attn.models import MODELS

    kind, backbone, channels = NETWORKS[name]
    shape = (FRAMES, size, size, channels)
    model = MODELS[kind](20, input_shape=shape, backbone=backbone)
    model.compile(jit_compile=False)
    video = np.random.default_rng(0).uniform(0, 255, (1, *shape)).astype("float32")
    return Case(lambda: model.predict_on_batch({"video": video}), parameters=model.count_params())


def pair(function, method):
    first, second = (frame[None] for frame in scene(2, *FLOW_SIZE))
    return Case(lambda: function(first, second, method))


def served_pairs():
    """The flow that `Recognizer` computes at once, in a graph without XLA."""
    import tensorflow as tf

    from keras_attn.flow.tvl1 import tvl1
    from keras_attn.inference.recognizer import PAIRS_AT_ONCE

    frames = scene(PAIRS_AT_ONCE + 1, *FLOW_SIZE)
    function = tf.function(tvl1)
    return Case(lambda: function(frames[:-1], frames[1:]), PAIRS_AT_ONCE)


def trajectories(frames=30):
    from keras_attn.trajectories import extract

    video = scene(frames, 240, 320)
    return Case(lambda: extract(video), frames)


def measure(found, turns):
    """Median seconds of each case, without its first call."""
    taken = {name: [] for name in found}
    for _ in range(turns + 1):
        for name, case in found.items():
            started = time.perf_counter()
            case.call()
            taken[name].append((time.perf_counter() - started) / case.count)
    return {name: statistics.median(some[1:]) for name, some in taken.items()}


def table(found, seconds, size):
    alone = [f"{name} alone, a video" for name in ("RGB", "flow")]
    rows = {name: (case.parameters, seconds[name]) for name, case in found.items()}
    rows["late fusion: both alone, a video"] = [
        sum(values) for values in zip(*map(rows.get, alone), strict=True)
    ]
    lines = [
        f"Videos of {FRAMES} frames of {size} pixels, pairs of {FLOW_SIZE[1]} x {FLOW_SIZE[0]} "
        f"pixels; {os.cpu_count()} CPU cores.",
        "",
        "| what | parameters | seconds | RGB alone = 1 |",
        "|---|--:|--:|--:|",
    ]
    for name, (parameters, taken) in rows.items():
        count = f"{parameters:,}" if parameters else "-"
        lines.append(f"| {name} | {count} | {taken:.3f} | {taken / seconds[alone[0]]:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
