"""Cost of each attention: step time and peak memory, against the same network without it.

    python scripts/attention_cost.py --out docs/results/attention_cost.json

Every model is built, trained for a few steps on random numbers and measured in a process of its
own; with and without attention take turns. Random weights: speed does not depend on them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# name: (model, batch, arguments of both, arguments without attention, arguments with it)
CASES = {
    "000: weights from the last state, 30 x 8 x 8 x 2048": (
        "structured_attention",
        2,
        {"input_shape": (30, 8, 8, 2048), "logit_tanh": False},
        {"attention": "none"},
        {"attention": "structured"},
    ),
    "001: location attention on MobileNetV2, 9 segments of 112 px": (
        "sta_cnn",
        2,
        {"input_shape": (9, 112, 112, 3), "backbone": "mobilenet_v2", "groups": 1, "keep": 9},
        {"spatial": "none"},
        {"spatial": "location"},
    ),
    "001: FlowNetS attention network on MobileNetV2, 3 segments of 112 px": (
        "sta_cnn",
        2,
        {"input_shape": (3, 112, 112, 6), "backbone": "mobilenet_v2", "groups": 1, "keep": 3},
        {"spatial": "none", "attention_network": "flownet_s"},
        {"attention_network": "flownet_s"},
    ),
    "001: selection TS(3x3, 3x1) on MobileNetV2, 9 segments of 112 px": (
        "sta_cnn",
        2,
        {"input_shape": (9, 112, 112, 3), "backbone": "mobilenet_v2"},
        {"groups": 1, "keep": 9},
        {"groups": 3, "keep": 1},
    ),
    "002: re-attending LSTM, 30 x 4096, 30 iterations": (
        "temporal_attention",
        16,
        {"input_shape": (30, 4096)},
        {"attention": "none"},
        {"attention": "temporal"},
    ),
    "003: mask, 10 x 7 x 7 x 2048": (
        "where_and_when",
        2,
        {"input_shape": (10, 7, 7, 2048), "temporal_mode": "none"},
        {"spatial": "none"},
        {"spatial": "mask"},
    ),
    "003: iterative temporal attention, 10 x 7 x 7 x 2048": (
        "where_and_when",
        2,
        {"input_shape": (10, 7, 7, 2048), "spatial": "none"},
        {"temporal_mode": "uniform"},
        {"temporal_mode": "iterative"},
    ),
    "003: posthoc temporal attention, 10 x 7 x 7 x 2048": (
        "where_and_when",
        2,
        {"input_shape": (10, 7, 7, 2048), "spatial": "none"},
        {"temporal_mode": "none"},
        {"temporal_mode": "posthoc"},
    ),
    "004: pyramid attention on InceptionResNetV2 (frozen), 25 frames of 299 px": (
        "pyramid_attention",
        1,
        {"input_shape": (25, 299, 299, 3)},
        {"mode": "none"},
        {"mode": "interaction"},
    ),
    "004: pyramid attention on MobileNetV2 (learning), 8 frames of 224 px": (
        "pyramid_attention",
        1,
        {"input_shape": (8, 224, 224, 3), "backbone": "mobilenet_v2"},
        {"mode": "none"},
        {"mode": "interaction"},
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument("--measure", nargs=2, metavar=("CASE", "WITH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, attended = options.measure
        print(json.dumps(measure(name, attended == "with", options.steps)))
        return
    rows = [compare(name, options) for name in CASES if options.only in name]
    lines = [
        "| attention | step without | step with | ratio | GiB without | GiB with | ratio |",
        "|---|--:|--:|--:|--:|--:|--:|",
        *map(line, rows),
    ]
    print("\n".join(lines))
    if options.out:
        from keras_attn.utils.files import write_json

        write_json(options.out, {"turns": options.turns, "steps": options.steps, "rows": rows})


def compare(name, options):
    """Medians over the turns of the seconds of a step and of the peak memory, in GiB."""
    found = {"without": [], "with": []}
    for _ in range(options.turns):
        for kind, some in found.items():
            command = [sys.executable, __file__, "--steps", str(options.steps)]
            done = subprocess.run(
                [*command, "--measure", name, kind], check=True, capture_output=True, text=True
            )
            some.append(json.loads(done.stdout.splitlines()[-1]))
    row = {"name": name}
    for kind, some in found.items():
        for key in ("seconds", "gib", "parameters"):
            row[f"{key}_{kind}"] = statistics.median(one[key] for one in some)
    print(line(row), file=sys.stderr, flush=True)
    return row


def line(row):
    seconds, gib = (row[f"{k}_with"] / row[f"{k}_without"] for k in ("seconds", "gib"))
    return (
        f"| {row['name']} | {row['seconds_without']:.3f} s | {row['seconds_with']:.3f} s "
        f"| {seconds:.3f} | {row['gib_without']:.2f} | {row['gib_with']:.2f} | {gib:.2f} |"
    )


def measure(name, attended, steps):
    """Seconds of a training step after the first, and the peak memory of this process."""
    import keras
    import numpy as np

    from keras_attn.models import MODELS
    from keras_attn.utils.process import peak_memory

    kind, batch, both, without, attention = CASES[name]
    model = MODELS[kind](20, **both, **(attention if attended else without))
    if "(frozen)" in name:
        model.image_network.trainable = False
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=False)
    random = np.random.default_rng(0)
    key = next(iter(model.input))
    shape = (batch, *both["input_shape"])
    inputs = {key: random.uniform(0, 255 if key == "video" else 1, shape).astype("float32")}
    labels = random.integers(0, 20, batch)
    seconds = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        model.train_on_batch(inputs, labels)
        seconds.append(time.perf_counter() - started)
    return {
        "seconds": statistics.median(seconds[1:]),
        "gib": peak_memory(),
        "parameters": model.count_params(),
    }


if __name__ == "__main__":
    main()
