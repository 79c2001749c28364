"""Before STA-CNN sees an action, its attention network learns optical flow, in up to two stages.

"truth", frames with their true flow, then "clips", the flow that was estimated for the training
videos: both of Yang et al. 2020, section 3.2.1. In the run folder:

    pretraining.csv       one row an epoch; row 0 of a stage is the network before it
    attention.weights.h5  the contracting part, when the last stage is over
"""

import csv
import hashlib
import math
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from keras_attn.backbones.weights import load_weights_file
from keras_attn.data import flow_pairs
from keras_attn.data.flow_pairs import ClipPairs, TruePairs
from keras_attn.data.flow_records import read_flow_provenance
from keras_attn.data.streams import flow_name
from keras_attn.datasets import tables
from keras_attn.errors import DataError, UserError
from keras_attn.models import FlowPretraining
from keras_attn.training.loop import Progress, write_history
from keras_attn.utils.files import staging

WEIGHTS = "attention.weights.h5"
HISTORY = "pretraining.csv"


@dataclass(frozen=True)
class Stage:
    """What is learnt from, and what is held out of it; `name` is "truth" or "clips"."""

    name: str
    epochs: int
    learn: TruePairs | ClipPairs
    held: TruePairs | ClipPairs


def open_stages(recipe, source, path) -> tuple[Stage, ...]:
    """The stages of `recipe.pretraining`, their data found and checked.

    None if none is wanted, or the file that they would make is in the run folder `path`. Of a
    folder with true flow every fifth pair is held out, of the clips the validation subset or, where
    there is none, every fifth group of videos (clips cut from one source video; a video without a
    group is its own). Raises `DataError` for data that is missing or damaged.
    """
    settings, stages = recipe.pretraining, []
    if (Path(path) / WEIGHTS).exists():
        return ()
    if settings.truth_epochs:
        halves = flow_pairs.held_out(flow_pairs.true_pairs(settings.truth))
        learn, held = (TruePairs(tuple(files)) for files in halves)
        stages.append(Stage("truth", settings.truth_epochs, learn, held))
    if settings.clips_epochs:
        halves = source.subsets["train"], source.subsets.get("validation")
        if not halves[1]:
            halves = _held_out_groups(source.data, halves[0])
        name = flow_name(recipe.flow_method, warped=False)
        learn, held = (
            ClipPairs(tuple(flow_pairs.with_flow(source.data, half, name)), recipe.clips.frames)
            for half in halves
        )
        stages.append(Stage("clips", settings.clips_epochs, learn, held))
    return tuple(stages)


def _held_out_groups(data, videos):
    groups = {row.id: row.group or row.id for row in tables.read_manifest(data)}
    _, held = flow_pairs.held_out(list(dict.fromkeys(groups[video.id] for video in videos)))
    return (
        [video for video in videos if groups[video.id] not in held],
        [video for video in videos if groups[video.id] in held],
    )


def facts(recipe, source) -> dict:
    """What a run records of the pairs that `recipe.pretraining` learns from, to refuse others.

    Raises `DataError` where there are none.
    """
    settings, found = recipe.pretraining, {}
    if settings.truth_epochs:
        pairs = flow_pairs.true_pairs(settings.truth)
        files = [Path(name) for pair in pairs for name in pair]
        names = "".join(f"{file.name} {file.stat().st_size}\n" for file in files)
        found["pairs"] = len(pairs)
        found["pairs_sha256"] = hashlib.sha256(names.encode()).hexdigest()
    if settings.clips_epochs:
        name = flow_name(recipe.flow_method, warped=False)
        found["flow"] = read_flow_provenance(source.data, name)
    return {"pretraining_data": found} if found else {}


def pretrain(recipe, stages, path, progress=None) -> Path:
    """Train `FlowPretraining` in `stages`; returns the file of the attention network in `path`.

    A file that is there is kept; a pre-training that was stopped begins again. It is a function of
    the recipe's seed. `endpoint_error` is in pixels of the stretched frames, on maps of a quarter
    of their size; `val_still_error` is what the answer "no motion" would have of it. `progress` is
    called as by `train`, rows having a `stage`. Raises `UserError` when the loss is not finite.
    """
    target = Path(path) / WEIGHTS
    if target.exists():
        return target
    progress = progress or (lambda event: None)
    keras.utils.set_random_seed(recipe.seed)
    size, rows = recipe.clips.size, []
    model = FlowPretraining((size, size, 6), recipe.arguments["attention_network"])
    optimizer = keras.optimizers.Adam(recipe.pretraining.learning_rate)
    model.compile(optimizer, jit_compile=False)  # Keras has no XLA for deterministic ops
    for stage in stages:
        for row in _learn(model, stage, recipe, progress):
            rows.append({"stage": stage.name, **row})
            write_history(Path(path) / HISTORY, rows)
            progress(rows[-1])
    with staging(target) as beside:
        model.save_attention_network(beside)
    return target


def load_attention(model, recipe, path) -> None:
    """Give an `STACNN` of `recipe` the attention network that `pretrain` wrote to `path`."""
    name = recipe.arguments["attention_network"]
    network = model.get_layer("segments").layer.get_layer("attention_network")
    expected = "the file that the pre-training of this run wrote; start in another workdir."
    load_weights_file(network, Path(path) / WEIGHTS, name, expected)


def read_rows(path) -> list[dict]:
    """The rows of the pre-training of a run folder, for its results; none if there was none."""
    file = Path(path) / HISTORY
    if not file.exists():
        return []
    with open(file, newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return [{key: _value(key, text) for key, text in row.items() if text} for row in rows]


def _value(key, text):
    return text if key == "stage" else int(text) if key == "epoch" else float(text)


def _learn(model, stage, recipe, progress):
    """Train one stage, and yield a row before the first epoch and after each."""
    still = _read(_still_error, model, _batches(stage.held, recipe))
    yield {"epoch": 0, "val_endpoint_error": _error(model, stage, recipe), "val_still_error": still}
    for epoch in range(stage.epochs):
        logs = _epoch(model, stage, recipe, epoch, progress)
        yield {
            "epoch": epoch + 1,
            "endpoint_error": logs["endpoint_error"],
            "val_endpoint_error": _error(model, stage, recipe),
            "loss": logs["loss"],
        }


def _epoch(model, stage, recipe, epoch, progress):
    """One epoch; returns the means of its logs over the pairs."""
    size = recipe.pretraining.batch_size
    steps = -(-len(stage.learn) // size)
    begun, waited, pairs, sums = time.perf_counter(), 0.0, 0, {}
    iterator = iter(_batches(stage.learn, recipe, seed=recipe.seed, epoch=epoch))
    for step in range(1, steps + 1):
        asked = time.perf_counter()
        frames, flow = _read(next, iterator)
        waited += time.perf_counter() - asked
        logs = model.train_on_batch(frames, flow, return_dict=True)
        for name, value in logs.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(flow)
        pairs += len(flow)
        means = {name: total / pairs for name, total in sums.items()}
        if not math.isfinite(means["loss"]):
            raise UserError(
                f"the loss of the pre-training became {means['loss']} in epoch {epoch + 1} of "
                f"{stage.name}. Start again in another workdir with a lower "
                "pretraining.learning_rate, or with precision=float32."
            )
        seconds = time.perf_counter() - begun
        speed, wait = pairs / seconds, waited / seconds
        progress(Progress(epoch + 1, stage.epochs, step, steps, means, speed, wait))
    return means


def _batches(pairs, recipe, **order):
    return flow_pairs.batches(pairs, recipe.clips.size, recipe.pretraining.batch_size, **order)


def _read(read, *arguments):
    """`read(*arguments)`; what cannot be read is a `DataError`."""
    try:
        return read(*arguments)
    except tf.errors.OpError as error:
        raise DataError(
            f"a pair of frames or its flow could not be read: {error.message.splitlines()[0]}. "
            "Make it again (keras-attn prepare, keras-attn flow; or copy the true flow anew), then "
            "--resume; or leave it out, and start in another workdir."
        ) from error


def _error(model, stage, recipe):
    def evaluate():
        return model.evaluate(_batches(stage.held, recipe), verbose=0, return_dict=True)

    return _read(evaluate)["endpoint_error"]


def _still_error(model, batches):
    """The mean length of the true flow, at the size of the finest that the network predicts."""
    size = model.output[0].shape[1:3]
    mean = keras.metrics.Mean()
    for _, flow in batches:
        mean.update_state(tf.norm(tf.image.resize(flow, size, "area"), axis=-1))
    return float(mean.result())
