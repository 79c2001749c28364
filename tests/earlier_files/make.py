"""Write the files of this folder: what the code of now leaves behind for the code of later.

    python tests/earlier_files/make.py

Written by keras_attn 0.1.0 as of commit 6eccfe1, before its modules were moved; `written.json` has
the versions. No test runs this: the files are old on purpose, and `tests/test_earlier_files.py`
holds what loads them against the answers recorded here. Run it again only where a format changes
on purpose. Weights, inputs and data are functions of the seeds below, but for timings and for the
last bits of what x264 encodes.
"""

import dataclasses
import pathlib
import shutil
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "helpers"))

from small import SMALL, small_flownet  # noqa: E402

import keras_attn  # noqa: E402
from keras_attn.datasets.synthetic import Scene, render, write_dataset, write_video  # noqa: E402
from keras_attn.inference.loading import load_recognizer  # noqa: E402
from keras_attn.models import MODELS, FlowPretraining  # noqa: E402
from keras_attn.training.optimizers import OPTIMIZERS, make_optimizer  # noqa: E402
from keras_attn.training.runs import package_versions  # noqa: E402
from keras_attn.utils.files import write_json  # noqa: E402

# By model: constructor arguments besides the number of classes. Where there is a backbone the input
# is a `video` of bytes, otherwise `features`.
ARGUMENTS = {
    "structured_attention": {"input_shape": (3, 4, 4, 6), "units": 4},
    "sta_cnn": {"input_shape": (6, 3, 3, 5), "groups": 3, "test_keep": 4},
    "temporal_attention": {"input_shape": (4, 6), "units": 4, "iterations": 3, "last": 2},
    "where_and_when": {"input_shape": (4, 3, 3, 6), "units": 3, "attention_units": 4},
    "pyramid_attention": {"input_shape": (3, 16, 16, 3), "backbone": "tiny"},
    "attention_fusion": {"input_shape": (2, 16, 16, 7), "backbone": "tiny"},
}
CLASSES = 3
SEED = 11
RUN = dataclasses.replace(SMALL, cached=False, train_backbone=True)


def write_models():
    """`models/<name>.keras`, and in `answers.npz` of each `<name>/input/<key>` (from
    `default_rng(SEED)`) and `<name>/output/<key>`."""
    answers = {}
    for name, arguments in ARGUMENTS.items():
        model = seeded(MODELS[name], CLASSES, **arguments)
        answers |= recorded(name, model, dict)
    with small_flownet():
        model = seeded(FlowPretraining, (32, 32, 6))
        answers |= recorded("flow_pretraining", model, lambda flows: dict(enumerate(flows)))
    np.savez_compressed(HERE / "models" / "answers.npz", **answers)


def seeded(kind, *arguments, **options):
    """A model whose weights are a function of `SEED`, also those that begin as zeros or ones."""
    keras.utils.set_random_seed(SEED)
    model = kind(*arguments, **options)
    random = np.random.default_rng(SEED)
    for weight in model.weights:
        if weight.dtype == "float32":
            weight.assign(weight * random.uniform(0.8, 1.2, weight.shape) + 0.01)
    return model


def recorded(name, model, named):
    """Save a model; returns its input and its outputs, to which `named` gives names."""
    random = np.random.default_rng(SEED)
    inputs = model.input if isinstance(model.input, dict) else {"frames": model.input}
    ((key, tensor),) = inputs.items()
    shape = (2, *tensor.shape[1:])
    value = random.normal(size=shape).astype("float32")
    if key != "features":
        value = random.integers(0, 256, shape, dtype="uint8")
    outputs = named(model({key: value} if key != "frames" else value, training=False))
    model.save(HERE / "models" / f"{name}.keras")
    answers = {f"{name}/output/{part}": np.asarray(array) for part, array in outputs.items()}
    return {f"{name}/input/{key}": value, **answers}


def write_optimizers():
    """`optimizers/<name>.keras`: a compiled model after one step by each optimizer here."""
    random = np.random.default_rng(SEED)
    for name in OPTIMIZERS:
        model = seeded(MODELS["temporal_attention"], CLASSES, **ARGUMENTS["temporal_attention"])
        optimizer = make_optimizer(
            name, 0.05, weight_decay=0.01, multipliers={"bias$": (2, 0)}, clip_norm=5.0
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)
        features = random.normal(size=(2, 4, 6)).astype("float32")
        model.train_on_batch({"features": features}, np.array([0, 2]))
        model.save(HERE / "optimizers" / f"{name}.keras")


def write_run():
    """`run`, `saved_model/1`, the video `clip.mp4`, and what both answer, in `answers.npz`."""
    video, _ = render(Scene(seed=SEED, side=32, frames=12), "left")
    write_video(HERE / "clip.mp4", video)
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        write_dataset(root / "videos", scenes=6, seed=3, side=32, frames=12)
        keras_attn.scan(root / "videos", root / "data", workers=1)
        keras_attn.split(root / "data", fractions=(0.5, 0.25, 0.25))
        keras_attn.prepare(root / "data", workers=1)
        run = keras_attn.train(RUN, root / "data", HERE / "run")
    shutil.rmtree(run.path / "tensorboard", ignore_errors=True)
    keras_attn.export(run.path, HERE / "saved_model")
    frames = np.random.default_rng(SEED).integers(0, 256, (2, 7, 20, 28, 3), dtype="uint8")
    answer = load_recognizer(run.path).answer_frames(tf.constant(frames))
    (prediction,) = keras_attn.predict(HERE / "clip.mp4", run.path)
    guessed = {guess.name: guess.probability for guess in prediction.guesses}
    answers = {f"frames/{key}": value.numpy() for key, value in answer.items()}
    np.savez_compressed(
        HERE / "answers.npz",
        **answers,
        frames=frames,
        clip=np.array([guessed[name] for name in run.classes]),
    )


def main():
    for name in ("models", "optimizers", "run", "saved_model"):
        shutil.rmtree(HERE / name, ignore_errors=True)
    for name in ("models", "optimizers"):
        (HERE / name).mkdir()
    write_models()
    write_optimizers()
    write_run()
    write_json(HERE / "written.json", package_versions())


if __name__ == "__main__":
    main()
