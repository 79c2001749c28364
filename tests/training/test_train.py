"""Training: mistakes are told before it begins, and what it leaves is what it says."""

import contextlib
import csv
import dataclasses
import json
import math
import shutil

import keras
import numpy as np
import pytest
from small import (
    SMALL,
    TIMINGS,
    assert_same_run,
    history,
    model_weights,
    no_step,
    refused,
)

from keras_attn.backbones import build_backbone
from keras_attn.data import batches
from keras_attn.data.source import open_source
from keras_attn.datasets import tables
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.models import swap_input
from keras_attn.recipes import Clips
from keras_attn.training import build, train
from keras_attn.utils import files
from keras_attn.utils.files import locked

VIDEO = dataclasses.replace(SMALL, cached=False)
SHORT = dataclasses.replace(SMALL, epochs=1, batch_size=24, accumulate=1)  # two steps


def recipe_with(recipe=SMALL, **changes):
    return dataclasses.replace(recipe, **changes)


@pytest.fixture
def data(tiny_features, tmp_path):
    return shutil.copytree(tiny_features, tmp_path / "data")


MISTAKES = {
    "recipe": ("no_such_recipe", UsageError, "no recipe 'no_such_recipe'; there are structured"),
    "model": (recipe_with(model="lstm"), UsageError, "no model 'lstm'; there are structured"),
    "backbone": (recipe_with(backbone="vgg"), UsageError, "no backbone 'vgg'; there are bn_"),
    "block": (
        recipe_with(arguments={"block": 9}),
        UsageError,
        "cannot be built .*block must fit .* got block=9",
    ),
    "choice": (recipe_with(arguments={"attention": "x"}), UsageError, "attention must be one of"),
    "argument": (
        recipe_with(arguments={"unit": 9}),
        UsageError,
        "no argument 'unit'; it has units",
    ),
    "accumulate": (recipe_with(accumulate=21), UsageError, "accumulate=21.*only 20 batches"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_in_the_recipe_are_told_first(tiny_features, tmp_path, name):
    recipe, error, message = MISTAKES[name]
    refused(error, message, recipe, tiny_features, tmp_path / "run")


@pytest.mark.parametrize("seconds", [-1, math.nan])
def test_seconds_between_checkpoints_that_mean_nothing(tiny_features, tmp_path, seconds):
    message = f"checkpoint_seconds must be 0 or more, got {seconds}"
    with pytest.raises(UsageError, match=message):
        train.train(SMALL, tiny_features, tmp_path / "run", checkpoint_seconds=seconds)


def test_a_class_without_training_videos(data, tmp_path):
    split = tables.read_split(data)
    moved = {k: "test" if k.startswith(("left", "up")) else subset for k, subset in split.items()}
    tables.write_split(data, moved)
    message = "2 of 4 classes have no training video: left, up"
    refused(DataError, message, SMALL, data, tmp_path / "run")


def test_no_training_videos_and_no_validation(data, tmp_path):
    split = tables.read_split(data)
    tables.write_split(
        data, {k: subset.replace("validation", "test") for k, subset in split.items()}
    )
    best = recipe_with(select="best")
    refused(UsageError, "select=best needs a validation subset", best, data, tmp_path / "run")
    tables.write_split(data, dict.fromkeys(split, "test"))
    refused(DataError, "no training videos.*keras-attn split", SMALL, data, tmp_path / "run")


def test_missing_features_and_split(data, tmp_path):
    shutil.rmtree(data / "features")
    refused(DataError, "keras-attn features", SMALL, data, tmp_path / "run")
    (data / "split.csv").unlink()
    refused(DataError, "keras-attn split", VIDEO, data, tmp_path / "run")


def test_a_fold_of_a_split_without_folds(tiny_features, tmp_path):
    refused(UsageError, "drop `fold`", SMALL, tiny_features, tmp_path / "run", fold=0)


def test_an_occupied_folder_and_other_settings(tiny_features, small_run):
    with pytest.raises(UserError, match="already holds a run"):
        train.train(SMALL, tiny_features, small_run.path, progress=no_step)
    with pytest.raises(UserError, match="recipe.epochs: was 2, is 3"):
        other = recipe_with(epochs=3)
        train.train(other, tiny_features, small_run.path, resume=True, progress=no_step)
    again = train.train(SMALL, tiny_features, small_run.path, resume=True, progress=no_step)
    assert again.finished()


def test_two_processes_do_not_train_in_one_folder(eager, tiny_features, tmp_path, monkeypatch):
    """Nor does the second one remove a file that the first is writing, nor one without a lock."""
    workdir = tmp_path / "run"
    with pytest.raises(AssertionError, match="the training began"):
        train.train(SHORT, tiny_features, workdir, progress=no_step)
    (workdir / ".0123abcd-checkpoint.npz").write_bytes(b"half")
    with locked(workdir), pytest.raises(UserError, match="another process trains here"):
        train.train(SHORT, tiny_features, workdir, resume=True, progress=no_step)
    with monkeypatch.context() as patch:
        patch.setattr(files.fcntl, "flock", no_lock)
        with pytest.raises(AssertionError, match="the training began"):
            train.train(SHORT, tiny_features, workdir, resume=True, progress=no_step)
    assert (workdir / ".0123abcd-checkpoint.npz").exists()
    assert train.train(SHORT, tiny_features, workdir, resume=True).finished()
    assert not (workdir / ".0123abcd-checkpoint.npz").exists()


def no_lock(*arguments):
    raise OSError("a file system without locks")


def test_a_changed_split_is_not_resumed(eager, data, tmp_path):
    run = train.train(SHORT, data, tmp_path / "run")
    split = tables.read_split(data)
    tables.write_split(data, dict(reversed(split.items())))
    with pytest.raises(UserError, match="split_sha256: was "):
        train.train(SHORT, data, run.path, resume=True)


def test_history_and_results(small_run):
    with open(small_run.history, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = {"loss", "accuracy", "block_sparsity"}
    expected = {"epoch", *names, *(f"val_{name}" for name in names), *TIMINGS}
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(set(row) == expected for row in rows)
    assert all(0 <= float(row["data_wait"]) <= 1 for row in rows)
    assert all(float(row["clips_per_second"]) > 0 for row in rows)
    results = json.loads(small_run.results.read_text())
    assert results["epochs"] == 2 and results["seconds"] > 0
    assert [{k: str(v) for k, v in row.items()} for row in results["history"]] == rows
    used = dataclasses.replace(SMALL, backbone_weights=None)  # those that made the features
    assert results["recipe"] == dataclasses.asdict(used)
    assert results["classes"] == ["down", "left", "right", "up"]
    model = keras.models.load_model(small_run.model, compile=False)
    assert results["parameters"] == model.count_params()
    assert 0.1 < results["peak_memory_gib"] < 64
    assert results["videos"] == {"train": 12, "validation": 6, "test": 6}


def test_validation_logs_are_those_of_the_model(small_run, tiny_features):
    """The last row's val_accuracy, computed again from the saved model."""
    source = open_source(tiny_features, SMALL)
    model = keras.models.load_model(small_run.model, compile=False)
    head = swap_input(model, None, (4, *source.feature_shape))
    right = []
    for inputs, labels in batches.batches(source.clips("validation"), source.reader(), 7):
        logits = head.predict(inputs, verbose=0)["logits"]
        right += (logits.argmax(-1) == labels.numpy()).tolist()
    assert len(right) == 24
    assert float(history(small_run)[-1]["val_accuracy"]) == pytest.approx(np.mean(right), abs=1e-6)


def test_the_saved_model_takes_video_and_answers_like_the_features(small_run, tiny_features):
    source = open_source(tiny_features, SMALL)
    frames = open_source(tiny_features, VIDEO)
    model = keras.models.load_model(small_run.model, compile=False)
    head = swap_input(model, None, (4, *source.feature_shape))
    features = next(iter(batches.batches(source.clips("test"), source.reader(), 5)))
    video = next(iter(batches.batches(frames.clips("test"), frames.reader(), 5)))
    np.testing.assert_array_equal(features[1], video[1])
    expected = head.predict(features[0], verbose=0)
    found = model.predict(video[0], verbose=0)
    for name in ("logits", "step_logits", "spatial_attention"):
        np.testing.assert_allclose(found[name], expected[name], atol=2e-3)
    stored = build_backbone("tiny", 32, source.feature_folder.weights_path)
    for x, y in zip(
        stored.get_weights(), model.get_layer("backbone").layer.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(x, y)


def test_another_backbone_file_is_found_before_the_model_is_written(eager, data, tmp_path):
    path = data / "features" / "tiny-32" / "backbone.weights.h5"
    whole = path.read_bytes()
    keras.utils.set_random_seed(99)
    build_backbone("tiny", 32).save_weights(path)
    message = r"weights\.h5: is not the backbone.*expected [0-9a-f]"
    for content in (path.read_bytes(), b"garbage"):
        path.write_bytes(content)
        refused(DataError, message, SHORT, data, tmp_path / "run")
    path.write_bytes(whole)
    with pytest.raises(DataError, match=message):
        train.train(SHORT, data, tmp_path / "run", progress=lambda _: path.write_bytes(content))
    assert not (tmp_path / "run" / "model.keras").exists()
    path.write_bytes(whole)
    assert train.train(SHORT, data, tmp_path / "run", resume=True).finished()


def test_the_same_seed_gives_the_same_bits(small_run, tiny_features, tmp_path):
    again = train.train(SMALL, tiny_features, tmp_path / "again")
    assert_same_run(small_run, again)


def test_another_seed_gives_other_bits(eager, tiny_features, tmp_path):
    one, other = (
        model_weights(train.train(recipe_with(SHORT, seed=seed), tiny_features, tmp_path / name))
        for seed, name in ((5, "five"), (6, "six"))
    )
    assert not np.array_equal(one["classifier/kernel"], other["classifier/kernel"])


@pytest.mark.slow
@pytest.mark.parametrize("train_backbone", [False, True])
def test_a_frozen_backbone_stays_as_it_is(eager, tiny_data, tmp_path, train_backbone):
    recipe = recipe_with(
        VIDEO,
        backbone="tiny" if train_backbone else "mobilenet_v2",
        train_backbone=train_backbone,
        clips=Clips(frames=2, stride=2, size=64),  # 2 x 2 cells of MobileNetV2
        batch_size=24,
        accumulate=1,
        epochs=1,
    )
    untrained = build.build_model(*_opened(recipe, tiny_data))
    before = untrained.get_layer("backbone").get_weights()
    known = pytest.warns(UserWarning, match="mobilenet_v2 starts from random weights")
    with contextlib.nullcontext() if train_backbone else known:
        run = train.train(recipe, tiny_data, tmp_path / "run")
    model = keras.models.load_model(run.model, compile=False)
    after = model.get_layer("backbone").get_weights()
    same = [np.array_equal(x, y) for x, y in zip(before, after, strict=True)]
    assert all(same) if not train_backbone else not any(same)


def _opened(recipe, data):
    build.fix_randomness(recipe.seed)
    return recipe, open_source(data, recipe)


def test_accumulation_is_one_large_batch(eager, tiny_features, tmp_path):
    """Without dropout, 4 batches of 12 clips that make one update are a batch of 48."""
    plain = {**SMALL.arguments, "dropout": 0.0}
    subsets, whole = (
        train.train(
            recipe_with(arguments=plain, batch_size=size, accumulate=48 // size, epochs=1),
            tiny_features,
            tmp_path / str(size),
        )
        for size in (12, 48)
    )
    for x, y in zip(model_weights(subsets).values(), model_weights(whole).values(), strict=True):
        np.testing.assert_allclose(x, y, atol=2e-4)
    expected = float(history(whole)[0]["loss"])
    assert float(history(subsets)[0]["loss"]) == pytest.approx(expected, abs=1e-4)


def test_best_keeps_the_first_of_the_best_epochs(eager, tiny_features, tmp_path, monkeypatch):
    from keras_attn.training.loop import StepLoop

    accuracies = iter([0.3, 0.6, 0.6, 0.1])
    seen = []

    def validate(self, batches):
        seen.append([np.array(w) for w in self.model.trainable_weights])
        return {"accuracy": next(accuracies)}

    monkeypatch.setattr(StepLoop, "evaluate", validate)
    recipe = recipe_with(SHORT, select="best", epochs=4)
    run = train.train(recipe, tiny_features, tmp_path / "run")
    saved = list(model_weights(run).values())
    kept = [all(any(np.array_equal(w, s) for s in saved) for w in weights) for weights in seen]
    assert kept == [False, True, False, False]
