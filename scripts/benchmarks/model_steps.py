"""Seconds of a training step of every recipe's model, on any backend and device, without videos.

    python scripts/benchmarks/model_steps.py                    # TensorFlow
    KERAS_BACKEND=jax python scripts/benchmarks/model_steps.py --recipes sta_cnn where_and_when

It needs Keras and one backend; the package may lie in PYTHONPATH. Model, batch, image size,
accumulation and optimizer are as printed; weights are random, and so is the batch, of frames or of
what the recipe reads from a cache of features. Each recipe, and its flow stream where it has one,
runs in a process of its own, so that one that needs too much memory doesn't end the others.

A step is the median of those after the second; the first ones, in which the backend compiles, are
"s to begin" with the building of the model. GiB are the peak on the accelerator, or without one of
the process. Compiled programs can be kept for the next time with JAX_COMPILATION_CACHE_DIR.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
import traceback

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or the peak would be all there is

import keras
import numpy as np

from keras_attn.backbones import build_backbone
from keras_attn.recipes import RECIPES, override
from keras_attn.training import build
from keras_attn.utils.process import peak_memory

CLASSES = 101
HEAD = ("recipe", "input of the model", "precision", "million parameters", "s to begin")
HEAD += ("s per step", "clips per s", "GiB")


@dataclasses.dataclass(frozen=True)
class RandomSource:
    """Stands for a `keras_attn.data.source.Source` where a model is built: random clips."""

    classes: range
    feature_shape: tuple | None
    feature_folder: None = None

    def clips(self, subset):
        return range(10_000)


def cases(names):
    """The recipes of these names, with the input that each prints, and flow where it has that."""
    for name in names:
        yield name, RECIPES[name].input
        if RECIPES[name].flow_changes:
            yield name, "flow"


def measure(name, kind, steps, precision):
    """The cells of a row."""
    keras.utils.set_random_seed(0)
    devices, accelerator = backend_devices()
    changes = {} if kind == RECIPES[name].input else {"input": kind}
    recipe = override(RECIPES[name], {"backbone_weights": None, **changes})
    if precision or recipe.precision == "auto":
        automatic = "mixed_float16" if accelerator else "float32"
        recipe = dataclasses.replace(recipe, precision=precision or automatic)
    source = RandomSource(range(CLASSES), feature_shape(recipe))
    begun = time.perf_counter()
    model = build.build_model(recipe, source)
    model.jit_compile = keras.backend.backend() == "jax"  # as `train` has it on TensorFlow
    batch = random_batch(model, recipe.batch_size)
    seconds = []
    for step in range(2 + steps):
        started = time.perf_counter()
        loss = float(model.train_on_batch(*batch, return_dict=True)["loss"])
        seconds.append(time.perf_counter() - started)
        if step == 1:
            beginning = time.perf_counter() - begun
    if not np.isfinite(loss):
        raise RuntimeError(f"the loss became {loss}")
    median = statistics.median(seconds[2:])
    shape = " x ".join(map(str, (recipe.batch_size, *next(iter(model.input.values())).shape[1:])))
    return {
        "device": devices,
        "cells": [
            shape,
            recipe.precision,
            f"{model.count_params() / 1e6:.1f}",
            f"{beginning:.1f}",
            f"{median:.4f}",
            f"{recipe.batch_size / median:.1f}",
            f"{peak(accelerator):.2f}",
        ],
    }


def feature_shape(recipe):
    """Shape of the cached features of one position; None where the model takes frames."""
    if not recipe.cached:
        return None
    size, channels = recipe.clips.size, recipe.stream.channels
    network = build_backbone(recipe.backbone, size, None, recipe.endpoint, channels)
    return tuple(network.output_shape[1:])


def random_batch(model, batch_size):
    """Random frames, from 0 to 255, or features of a model, and labels."""
    draw = np.random.default_rng(0)
    high = 255 if "video" in model.input else 1
    inputs = {
        name: draw.uniform(0, high, (batch_size, *tensor.shape[1:])).astype("float32")
        for name, tensor in model.input.items()
    }
    return inputs, draw.integers(0, CLASSES, batch_size)


def backend_devices():
    """Backend, version and device in words, and the first accelerator, or None."""
    name = keras.backend.backend()
    if name == "jax":
        import jax

        device = jax.devices()[0]
        accelerator = None if device.platform == "cpu" else device
        return f"JAX {jax.__version__}, {device.device_kind}", accelerator
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    return f"TensorFlow {tf.__version__}, {'GPU' if found else 'CPU'}", (found or [None])[0]


def peak(accelerator):
    """Peak memory in GiB, of the accelerator if there is one."""
    if accelerator is None:
        return peak_memory()
    if keras.backend.backend() == "jax":
        return (accelerator.memory_stats() or {}).get("peak_bytes_in_use", float("nan")) / 2**30
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**30


def main(options):
    """Print the table, one row as soon as it is there; the exit code counts rows that failed."""
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * 3}{'--:|' * (len(HEAD) - 3)}", flush=True)
    failed, device = 0, None
    for name, kind in cases(options.recipes):
        command = [sys.executable, __file__, "--one", name, kind, "--steps", str(options.steps)]
        command += ["--precision", options.precision] if options.precision else []
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        title = name if kind == RECIPES[name].input else f"{name}, {kind}"
        found = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}
        device = found.get("device", device)
        failed += "cells" not in found
        code = done.returncode
        lost = [found.get("error", f"exit code {code}: out of memory?" if code else "no answer")]
        cells = found.get("cells") or lost + [""] * (len(HEAD) - 2)
        print(f"| {title} | {' | '.join(cells)} |", flush=True)
    print(f"\nKeras {keras.__version__}, {device}, {options.steps} steps.")
    return min(failed, 1)


def one(name, kind, options):
    """Print the cells of a row as JSON, or the error that there was instead."""
    try:
        found = measure(name, kind, options.steps, options.precision)
    except Exception as error:
        traceback.print_exc()
        text = " ".join(f"{type(error).__name__}: {error}".split()).replace("|", "/")
        found = {"error": text[:200]}
    print(json.dumps(found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--steps", type=int, default=5, help="steps that are timed")
    parser.add_argument("--precision", choices=("float32", "mixed_float16", "mixed_bfloat16"))
    parser.add_argument("--one", nargs=2, metavar=("RECIPE", "INPUT"), help="for itself")
    options = parser.parse_args()
    sys.exit(one(*options.one, options) if options.one else main(options))
