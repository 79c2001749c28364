"""The first numbers of every recipe, and their hashes: a change that alters none prints the same.

    python scripts/same_numbers.py > before.txt
    python scripts/same_numbers.py > after.txt && diff before.txt after.txt

A line `NAME  HASH  loss loss ...` holds the SHA-256 over the float32 bytes of the loss of each
training step of a recipe; a line `NAME checkpoint  HASH` that over what the checkpoint holds after
the last one: weights, optimizer and random seeds. Other lines are of what a training reads:
records, flow, features. A recipe that fails has `NAME  failed: ERROR`. The recipes are as they are
but for what two processor cores cannot do in seconds: small frames, few of them, batches of two,
random weights for the backbone. Hashes are comparable on one machine with the same versions.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import io
import itertools
import os
import pathlib
import shutil
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import av
import keras
import numpy as np
import tensorflow as tf

import keras_attn
from keras_attn.backbones import BACKBONES
from keras_attn.data.record_format import encoded_frames, encoded_planes
from keras_attn.data.source import open_source
from keras_attn.datasets.synthetic import Scene, render
from keras_attn.recipes import RECIPES
from keras_attn.training.loop import Progress

SIZES = {"inception_v3": 107, "inception_resnet_v2": 107}  # 2 x 2 cells, as others have at 64
SIZE = 64
LENGTH = 12  # frames of a video: windows of as many are one clip a video
SEGMENTS = 9  # at most
BATCH = 2
CLASSES = ("left", "right")
STEPS = 2  # of an epoch: the second sees what the update of the first did, or makes one with it


class Enough(Exception):
    """A training has come as far as its numbers are asked for."""


# === Data ===


def make_data(root):
    """A data folder of two classes: two videos of each to train, one for each other part."""
    for number, name in itertools.product(range(4), CLASSES):
        video, _ = render(Scene(seed=number, side=32, frames=LENGTH), name)
        write_lossless(root / "videos" / name / f"v_{name}_g{number:02d}_c01.avi", video)
    keras_attn.scan(root / "videos", root / "data", workers=1)
    keras_attn.split(root / "data", fractions=(0.5, 0.25, 0.25))
    keras_attn.prepare(root / "data", workers=1)
    show("records", hashed(frames(root / "data")))
    for method in ("tvl1", "dis"):
        keras_attn.extract_flow(root / "data", method, width=24, height=20, workers=1)
        show(f"flow {method}", hashed(planes(root / "data", method)))
    return root / "data"


def write_lossless(path, video):
    """Encode frames to the same bytes in every run.

    What x264 writes hangs on how its threads are scheduled, and Matroska has a random number.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *video.shape[1:3], "bgr0"
        for picture in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def frames(data):
    """The JPEGs of all records."""
    for path in sorted((data / "records").glob("*.record")):
        yield from encoded_frames(path)


def planes(data, method):
    """The JPEGs of all planes, those of x and then those of y of each video."""
    for path in sorted((data / "flow" / method).glob("*.record")):
        for component in encoded_planes(path):
            yield from component


def backbone_weights(name, folder):
    """The substitute for published weights of a recipe: a file, or None for those of a new network.

    In a new MobileNetV2 the maps fade from layer to layer, and are zeros as float16.
    """
    if not name.startswith("mobilenet"):
        return None
    path = folder / f"{name}.weights.h5"
    if not path.exists():
        random = np.random.default_rng(0)
        network = BACKBONES[name].network(SIZE, SIZE, 3)
        for kernel in [weight for weight in network.weights if len(weight.shape) > 1]:
            seen = kernel.shape[: 2 if "depthwise" in kernel.path else -1]
            kernel.assign(random.normal(0, (2 / np.prod(seen)) ** 0.5, kernel.shape))
        network.save_weights(path)
    return str(path)


def make_features(recipe, data, made):
    """Write what a recipe reads of its backbone, and show it once."""
    stream, size = recipe.stream, recipe.clips.size
    keras_attn.features(
        data,
        backbone=recipe.backbone,
        endpoint=recipe.endpoint,
        weights=recipe.backbone_weights,
        size=size,
        input=stream.input,
        flow_method=stream.flow_method,
        snippet=stream.snippet,
        batch_size=LENGTH,
    )
    name = f"{recipe.backbone}-{size}-{recipe.endpoint}{stream.suffix}"
    if name not in made:
        made.add(name)
        source = open_source(data, recipe)
        paths = [(v.path, v.length) for some in source.subsets.values() for v in some]
        show(f"features {name}", hashed(features_of(source, *one) for one in sorted(paths)))


def features_of(source, path, length):
    """The features of all positions of a video, as the bytes of a .npy file."""
    content = io.BytesIO()
    np.save(content, source.features.read(path, np.arange(length), length))
    return content.getvalue()


# === Recipes ===


def smaller(recipe, weights, epochs):
    """A recipe as two cores can run it, its backbone with `weights`."""
    clips = recipe.clips
    frames = min(clips.frames, SEGMENTS if clips.sampling == "segments" else LENGTH)
    clips = dataclasses.replace(
        clips,
        frames=frames,
        stride=min(clips.stride, frames * clips.step),
        size=SIZES.get(recipe.backbone, SIZE),
    )
    return dataclasses.replace(
        recipe,
        backbone_weights=weights,
        clips=clips,
        batch_size=BATCH,
        accumulate=min(recipe.accumulate, STEPS),
        epochs=epochs,
        # It decides nothing before the end, and the best of a large model are gigabytes once more.
        select=recipe.select if epochs > 1 else "last",
    )


def numbers(name, recipe, data, workdir):
    """Train, and show the loss of each step and what the checkpoint holds.

    A tiny recipe goes on for another epoch to the end of a training, and is evaluated.
    """
    losses, rows, last = [], [], (0, 0.0)

    def progress(event):
        nonlocal last
        if not isinstance(event, Progress):
            rows.append(event)
            if len(rows) == recipe.epochs and not name.endswith("_tiny"):
                raise Enough  # the checkpoint is written
        elif "loss" in event.logs:
            # Logs are means over the epoch so far; sums of two float32 are exact in float64.
            before, total = last if event.step > 1 else (0, 0.0), event.step * event.logs["loss"]
            losses.append(total - before[1])
            last = (event.step, total)

    with contextlib.suppress(Enough):
        keras_attn.train(recipe, data, workdir, progress=progress)
    steps = np.array(losses, "float32")
    show(name, hashed([steps.tobytes()]), *(f"{loss:.9g}" for loss in steps))
    with np.load(workdir / "checkpoint.npz", allow_pickle=False) as archive:
        arrays = (archive[key].tobytes() for key in archive.files if key != "header")
        show(f"{name} checkpoint", hashed(arrays))
    if name.endswith("_tiny"):
        keras_attn.evaluate(workdir, examples=0)
        with np.load(workdir / "evaluation" / "test" / "scores.npz") as archive:
            show(f"{name} evaluation", hashed([archive["probabilities"].tobytes()]))


# === Output ===


def hashed(parts):
    """A short SHA-256 over bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:12]


def show(*words):
    print("  ".join(words), flush=True)


def main(names, timed):
    tf.config.experimental.enable_op_determinism()
    made = set()
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        data = make_data(root)
        for name in names:
            begun = time.perf_counter()
            try:
                weights = backbone_weights(RECIPES[name].backbone, root)
                recipe = smaller(RECIPES[name], weights, 1 + name.endswith("_tiny"))
                if recipe.cached:
                    make_features(recipe, data, made)
                numbers(name, recipe, data, root / name)
            except Exception as error:  # whatever it is, the others are still asked
                show(name, f"failed: {type(error).__name__}")
                if timed:
                    print(error, file=sys.stderr)
            shutil.rmtree(root / name, ignore_errors=True)
            keras.backend.clear_session()
            if timed:
                print(f"{name}: {time.perf_counter() - begun:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="recipes, by default all")
    parser.add_argument(
        "--timed", action="store_true", help="seconds and messages of errors, to standard error"
    )
    options = parser.parse_args()
    main(options.names or RECIPES, options.timed)
