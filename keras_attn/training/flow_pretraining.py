"""Before STA-CNN sees an action, its attention network learns optical flow, in up to two stages.

"truth", frames with their true flow, then "clips", the flow that was estimated for the training
videos: both of Yang et al. 2020, section 3.2.1. In the run folder:

    pretraining.csv       one row per epoch; row 0 of a stage is the network before it
    pretraining.npz       the checkpoint, until the last stage is over
    attention.weights.h5  the contracting part, from then on
"""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from keras_attn.backbones.weights import load_weights_file
from keras_attn.data import flow_pairs
from keras_attn.data.flow_pairs import ClipPairs, TruePairs
from keras_attn.data.flow_records import read_flow_provenance
from keras_attn.data.streams import flow_name
from keras_attn.models import FlowPretraining
from keras_attn.training.build import compile_model, precision_of
from keras_attn.training.loop import Outputs, StepLoop
from keras_attn.utils.files import read_json, staging
from keras_attn.utils.precision import dtype_policy

WEIGHTS = "attention.weights.h5"
HISTORY = "pretraining.csv"
CHECKPOINT = "pretraining.npz"
_FACTS = "pretraining_data"


@dataclass(frozen=True)
class Stage:
    """The pairs that a stage learns from and those it holds out; `name` is "truth" or "clips"."""

    name: str
    epochs: int
    learn: TruePairs | ClipPairs
    held: TruePairs | ClipPairs


def finished(path) -> bool:
    """Whether the pre-training of the run folder `path` is over, so that it needs no pairs."""
    return any((Path(path) / name).exists() for name in (WEIGHTS, "checkpoint.npz"))


def open_stages(recipe, source, path, **checking) -> tuple[Stage, ...]:
    """The stages of `recipe.pretraining`, their data found and checked.

    None if none is wanted, or they are `finished` in the run folder `path`. Of a folder with true
    flow every fifth pair is held out, of the clips the validation subset or, where there is none,
    every fifth group of videos (clips cut from one source video; a video without a group is its
    own). `checking` is `full` and `progress`, as of `DerivedStore.check_contents`. Raises
    `DataError` for data that are missing or damaged.
    """
    settings, stages = recipe.pretraining, []
    if finished(path):
        return ()
    if settings.truth_epochs:
        halves = flow_pairs.held_out(flow_pairs.true_pairs(settings.truth))
        learn, held = (TruePairs(tuple(files)) for files in halves)
        stages.append(Stage("truth", settings.truth_epochs, learn, held))
    if settings.clips_epochs:
        halves = source.subsets["train"], source.subsets.get("validation")
        if not halves[1]:
            halves = _held_out_groups(source.folder.rows, halves[0])
        name = flow_name(recipe.flow_method, warped=False)
        rows = list(source.folder.rows.values())
        with_flow = [
            flow_pairs.with_flow(source.data, half, name, rows, **checking) for half in halves
        ]
        learn, held = (ClipPairs(tuple(videos), recipe.clips.frames) for videos in with_flow)
        stages.append(Stage("clips", settings.clips_epochs, learn, held))
    return tuple(stages)


def _held_out_groups(rows, videos):
    groups = {video.id: rows[video.id].group or video.id for video in videos}
    _, held = flow_pairs.held_out(list(dict.fromkeys(groups.values())))
    return (
        [video for video in videos if groups[video.id] not in held],
        [video for video in videos if groups[video.id] in held],
    )


def facts(recipe, source, path) -> dict:
    """The record of the pairs that `recipe.pretraining` learns from, so that others are refused.

    Those on record if it is `finished` in the run folder `path`. Raises `DataError` where there are
    no pairs.
    """
    settings, found, record = recipe.pretraining, {}, Path(path) / "run.json"
    if settings.wanted and finished(path) and record.exists():
        return {key: value for key, value in read_json(record).items() if key == _FACTS}
    if settings.truth_epochs:
        pairs = flow_pairs.true_pairs(settings.truth)
        files = [Path(name) for pair in pairs for name in pair]
        names = "".join(f"{file.name} {file.stat().st_size}\n" for file in files)
        found["pairs"] = len(pairs)
        found["pairs_sha256"] = hashlib.sha256(names.encode()).hexdigest()
    if settings.clips_epochs:
        name = flow_name(recipe.flow_method, warped=False)
        found["flow"] = read_flow_provenance(source.data, name)
    return {_FACTS: found} if found else {}


def pretrain(recipe, stages, path, progress=None, checkpoint_seconds: float = 60.0) -> Path:
    """Train `FlowPretraining` in `stages`; returns the file of the attention network in `path`.

    A file that is there is kept. A pre-training that was stopped in any way goes on from its
    checkpoint to the same bits, those of the recipe's seed. `endpoint_error` is in pixels of the
    stretched frames, on maps of a quarter of their size; `val_still_error` is that of the answer
    "no motion". `progress` is called as by `train`, rows having a `stage`. Raises `UserError` when
    the loss is not finite.
    """
    target, outputs = Path(path) / WEIGHTS, _outputs(path)
    if not target.exists():
        keras.utils.set_random_seed(recipe.seed)
        size = recipe.clips.size
        with dtype_policy(precision_of(recipe)):
            model = FlowPretraining((size, size, 6), recipe.arguments["attention_network"])
            compile_model(model, keras.optimizers.Adam(recipe.pretraining.learning_rate))
        with StepLoop(model, outputs, checkpoint_seconds, progress) as loop:
            names = [stage.name for stage in stages]
            first = names.index(loop.state.stage) if loop.state.stage else 0
            for stage in stages[first:]:
                _learn(loop, stage, recipe)
        loop.write_history()  # a kill may have come just before it
        with staging(target) as temporary:
            model.save_attention_network(temporary)
    outputs.checkpoint.unlink(missing_ok=True)
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


def _outputs(path):
    return Outputs(
        checkpoint=Path(path) / CHECKPOINT,
        history=Path(path) / HISTORY,
        rate="pretraining.learning_rate",
        batch="pretraining.batch_size",
        unreadable="a pair of frames or its flow could not be read: {error}. Make it again "
        "(keras-attn prepare, extract-flow; or copy the true flow again) and go on with "
        "`resume=True`; or leave it out, and start in another workdir.",
    )


def _learn(loop, stage, recipe):
    """Train one stage to its end, from where `loop` stands; a row before it and after each epoch.

    `loop` stands before the stage, unless its state names it.
    """
    state, steps = loop.state, -(-len(stage.learn) // recipe.pretraining.batch_size)
    if state.stage != stage.name:
        state.stage, state.epoch = stage.name, 0
        with loop.reading():
            still = _still_error(loop.model, _batches(stage.held, recipe))
        error = loop.evaluate(_batches(stage.held, recipe))["endpoint_error"]
        names = {"stage": stage.name, "epoch": 0}
        loop.record({**names, "val_endpoint_error": error, "val_still_error": still})
    while state.epoch < stage.epochs:
        order = {"seed": recipe.seed, "epoch": state.epoch, "skip": state.step}
        logs, _ = loop.run_epoch(_batches(stage.learn, recipe, **order), steps, stage.epochs)
        error = loop.evaluate(_batches(stage.held, recipe))["endpoint_error"]
        names = {"stage": stage.name, "epoch": state.epoch + 1}
        loop.end_epoch({**names, **logs, "val_endpoint_error": error})


def _batches(pairs, recipe, **order):
    return flow_pairs.batches(pairs, recipe.clips.size, recipe.pretraining.batch_size, **order)


def _still_error(model, batches):
    """The mean length of the true flow, at the size of the finest that the network predicts."""
    size = model.output[0].shape[1:3]
    mean = keras.metrics.Mean()
    for _, flow in batches:
        mean.update_state(tf.norm(tf.image.resize(flow, size, "area"), axis=-1))
    return float(mean.result())
