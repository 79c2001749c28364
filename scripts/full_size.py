"""Every recipe at the size that it prints, on synthetic clips: does it fit, what does it cost?

    python scripts/full_size.py                        # all, as a Markdown table
    python scripts/full_size.py --recipes sta_cnn where_and_when

Each recipe, and its flow stream where it has one, runs in a process of its own, with random weights
for the backbone. Frames, image size, batch, accumulation and model are as printed; optical flow has
a small picture, since it is stretched to the size of the model anyway. A step is the mean of those
after the first, without reading; its batch holds the same few clips again and again. GiB are the
peak of the process up to then, and million parameters those of the model that takes frames. Then a
training of one epoch on two clips goes the whole way, with a small learning rate, since deep
networks with random weights answer NaN after one step of the printed one: "train" and "predict" are
seconds with building and loading, "export" those with its verification. A process that is killed
for want of memory is reported as such, and the others go on.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_attn
from keras_attn.data import batches
from keras_attn.data.source import open_source
from keras_attn.datasets.synthetic import write_dataset
from keras_attn.recipes import RECIPES, override
from keras_attn.training import build
from keras_attn.training.runs import open_run
from keras_attn.utils.process import peak_memory

LENGTH = 52  # frames of a video: enough for the 50 segments of Where-and-When
CLASSES = ("left", "right")
STEPS = 3
KEYS = ("clips", "millions", "step", "gib", "train", "predict", "export")
HEAD = ("recipe", "batch x frames x pixels", "million parameters", "s per step", "GiB")
HEAD += ("train", "predict", "export")


def make_data(root):
    """A data folder of two classes, one video of each in each subset, with flow."""
    write_dataset(root / "videos", scenes=3, seed=1, side=128, frames=LENGTH)
    for folder in (root / "videos").iterdir():
        if folder.is_dir() and folder.name not in CLASSES:
            shutil.rmtree(folder)
    keras_attn.scan(root / "videos", root / "data", workers=1)
    keras_attn.split(root / "data", fractions=(1 / 3, 1 / 3, 1 / 3))
    keras_attn.prepare(root / "data", workers=1)
    keras_attn.extract_flow(root / "data", width=64, height=48)


def cases(names):
    """The recipes of these names, with the input that each prints, and flow where it has that."""
    for name in names:
        yield name, RECIPES[name].input
        if RECIPES[name].flow_changes:
            yield name, "flow"


def measure(name, kind, root):
    """The cost of one recipe; everything that it writes is below `root`."""
    build.fix_randomness(0)
    data, workdir = root / "data", root / "run"
    shutil.rmtree(workdir, ignore_errors=True)
    changes = {"backbone_weights": None, **({} if kind == RECIPES[name].input else {"input": kind})}
    recipe = override(RECIPES[name], changes)
    if recipe.cached:
        keras_attn.features(data, recipe=recipe, weights=None)
    clips = recipe.clips
    shape = f"{recipe.batch_size} x {clips.frames} x {clips.size}"
    found = {"clips": shape, **costs_of_a_step(recipe, data)}
    keras.backend.clear_session()
    short = dataclasses.replace(recipe, epochs=1, accumulate=1, learning_rate=1e-6)
    video = next((root / "videos" / CLASSES[0]).iterdir())
    for key, function, *arguments in (
        ("train", keras_attn.train, short, data, workdir),
        ("predict", keras_attn.predict, video, workdir),
        ("export", keras_attn.export, workdir, workdir / "models"),
    ):
        begun = time.perf_counter()
        result = function(*arguments)
        found[key] = round(time.perf_counter() - begun, 1)
        if not getattr(result, "passed", True) or getattr(result, "problems", ()):
            raise RuntimeError(f"{key}: {'; '.join(result.lines())}")
    parameters = open_run(workdir).read_results()["parameters"]
    return found | {"millions": round(parameters / 1e6, 1)}


def costs_of_a_step(recipe, data):
    """Seconds of a training step of the printed batch, and the memory up to then."""
    source = open_source(data, recipe, read=("train",))
    model = build.build_model(recipe, source)
    read = source.reader(random=True)
    inputs, labels = next(iter(batches.batches(source.clips("train"), read, 2, seed=0)))
    places = np.arange(recipe.batch_size) % len(labels)
    inputs = {key: np.asarray(value)[places] for key, value in inputs.items()}
    labels, seconds = np.asarray(labels)[places], []
    for _ in range(STEPS):
        begun = time.perf_counter()
        loss = float(model.train_on_batch(inputs, labels, return_dict=True)["loss"])
        seconds.append(time.perf_counter() - begun)
    if not np.isfinite(loss):
        raise RuntimeError(f"the loss became {loss}")
    return {
        "step": round(float(np.mean(seconds[1:])), 2),
        "gib": round(peak_memory(), 2),
    }


def row(name, kind, root):
    """One line of the table, measured in a process of its own."""
    command = [sys.executable, __file__, "--one", name, kind, str(root)]
    done = subprocess.run(command, capture_output=True, text=True)
    title = name if kind == RECIPES[name].input else f"{name}, {kind}"
    if done.returncode == 0:
        found = json.loads(done.stdout.splitlines()[-1])
        return f"| {title} | {' | '.join(str(found[key]) for key in KEYS)} |"
    killed = done.returncode < 0
    reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    why = f"killed by signal {-done.returncode}: out of memory" if killed else reason[0][:160]
    return f"| {title} | {why}{' |' * len(KEYS)}"


def main(names):
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * 2}{'--:|' * (len(HEAD) - 2)}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        make_data(root)
        for name, kind in cases(names):
            print(row(name, kind, root), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--one", nargs=3, metavar=("RECIPE", "INPUT", "FOLDER"), help="for itself")
    options = parser.parse_args()
    if options.one:
        # If memory runs out, the system ends this process and no other.
        pathlib.Path("/proc/self/oom_score_adj").write_text("1000")
        print(json.dumps(measure(*options.one[:2], pathlib.Path(options.one[2]))))
    else:
        main(options.recipes)
