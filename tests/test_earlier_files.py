"""Files that an earlier version wrote still load, and answer what they answered then.

`earlier_files/make.py` wrote them and says when. They are read where they lie and never written.
"""

import contextlib
import csv
import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from clean_server import one_clean_process
from small import SMALL, eagerly, small_flownet

import keras_attn
from keras_attn.data.source import open_source
from keras_attn.errors import UserError
from keras_attn.inference.loading import load_recognizer
from keras_attn.models import MODELS
from keras_attn.training import checkpoint
from keras_attn.training.optimizers import OPTIMIZERS, make_optimizer
from keras_attn.training.runs import open_run, package_versions
from keras_attn.utils.files import read_json, write_json

FILES = Path(__file__).parent / "earlier_files"
RUN = FILES / "run"
CLOSE = dict(rtol=0, atol=1e-5)

# Loads one file in a process that imports the package and Keras, in the order of its arguments.
FRESH = """
import importlib, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
import keras
print(type(keras.models.load_model(sys.argv[1])).__name__)
"""


def recorded(path, prefix=""):
    """The arrays of an .npz file whose names begin with `prefix`, without it."""
    with np.load(path, allow_pickle=False) as archive:
        names = [name for name in archive.files if name.startswith(prefix)]
        return {name.removeprefix(prefix): archive[name] for name in names}


def assert_answers(found, expected):
    assert set(found) >= set(expected)  # later versions may say more
    for name, value in expected.items():
        np.testing.assert_allclose(np.asarray(found[name]), value, **CLOSE, err_msg=name)


# === Models ===


@pytest.mark.parametrize("name", [path.stem for path in sorted((FILES / "models").glob("*.keras"))])
def test_a_model_answers_as_it_did(name):
    path = FILES / "models" / "answers.npz"
    inputs, outputs = (recorded(path, f"{name}/{part}/") for part in ("input", "output"))
    small = small_flownet() if name == "flow_pretraining" else contextlib.nullcontext()
    with small:
        model = keras.models.load_model(FILES / "models" / f"{name}.keras")
    if name == "flow_pretraining":
        flows = model(inputs["frames"], training=False)
        assert_answers({str(level): flow for level, flow in enumerate(flows)}, outputs)
    else:
        assert type(model) is MODELS[name]
        assert all(layer.trainable for layer in model._flatten_layers())
        assert_answers(model(inputs, training=False), outputs)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_compiled_model_goes_on_with_its_optimizer(name):
    model = keras.models.load_model(FILES / "optimizers" / f"{name}.keras")
    assert model.compiled
    optimizer = model.optimizer
    assert type(optimizer) is OPTIMIZERS[name]
    assert int(optimizer.iterations) == 1
    assert optimizer.coupled_weight_decay == 0.01
    assert optimizer.multipliers == {"bias$": [2, 0]}
    assert optimizer.global_clipnorm == 5.0
    assert float(optimizer.learning_rate) == pytest.approx(0.05)
    slots = [np.asarray(slot) for slot in optimizer.variables[2:]]
    assert slots and all(slot.any() for slot in slots if slot.ndim > 1)
    before = model.get_weights()
    optimizer.apply([keras.ops.ones_like(variable) for variable in model.trainable_variables])
    assert int(optimizer.iterations) == 2
    assert any((old != new).any() for old, new in zip(before, model.get_weights(), strict=True))


# === A run ===


def built(run):
    """The compiled model of a run's recipe, with weights of its own."""
    recipe = run.recipe
    clips, kind = recipe.clips, MODELS[recipe.model]
    model = kind(
        len(run.classes),
        input_shape=(clips.frames, clips.size, clips.size, recipe.stream.channels),
        **kind.input_arguments(recipe.backbone, recipe.cached),
        **recipe.arguments,
    )
    model.image_network.trainable = recipe.train_backbone
    model.compile(
        make_optimizer(recipe.optimizer, recipe.learning_rate, accumulate=recipe.accumulate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.optimizer.build(model.trainable_variables)
    return model


def test_a_checkpoint_restores_all_that_it_holds():
    run = open_run(RUN)
    assert run.finished()
    recipe, model = run.recipe, built(run)
    state = checkpoint.load(run.checkpoint, model)
    saved = keras.models.load_model(run.model, compile=False)  # the last epoch, as the checkpoint
    for value, expected in zip(model.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)
    assert state["epoch"] == len(state["history"]) == recipe.epochs
    with open(run.history, newline="", encoding="utf-8") as file:
        rows = [{key: float(text) for key, text in row.items()} for row in csv.DictReader(file)]
    assert rows == state["history"] == run.read_results()["history"]
    assert int(model.optimizer.iterations) > 0
    assert any(np.asarray(variable).any() for variable in model.optimizer.variables[2:])


def test_a_run_goes_on_where_it_was(tiny_data, tmp_path):
    folder = shutil.copytree(RUN, tmp_path / "run")
    (folder / "results.json").unlink()
    (folder / "model.keras").unlink()
    facts = read_json(folder / "run.json")
    assert "clip_aggregation" not in facts["recipe"], "a field that is newer than the run"
    recipe = dataclasses.replace(SMALL, cached=False, train_backbone=True, epochs=3)
    facts["recipe"]["epochs"] = 3
    facts |= open_source(tiny_data, recipe).facts() | {"versions": package_versions()}
    write_json(folder / "run.json", facts)
    with eagerly():
        run = keras_attn.train(recipe, tiny_data, folder, resume=True)
    history = run.read_results()["history"]
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert history[:2] == open_run(RUN).read_results()["history"]
    with pytest.raises(UserError, match="recipe.clip_aggregation: was None, is 'mean'"):
        keras_attn.train(
            recipe, tiny_data, folder, resume=True, changes={"clip_aggregation": "mean"}
        )


def test_a_run_answers_as_it_did():
    expected = recorded(FILES / "answers.npz", "frames/")
    frames = recorded(FILES / "answers.npz")["frames"]
    assert_answers(load_recognizer(RUN).answer_frames(frames), expected)


@pytest.mark.parametrize("model", [RUN, FILES / "saved_model"], ids=["run", "saved_model"])
def test_a_clip_is_recognized_as_it_was(model):
    (prediction,) = keras_attn.predict(FILES / "clip.mp4", model)
    assert not prediction.problem
    found = {guess.name: guess.probability for guess in prediction.guesses}
    expected = recorded(FILES / "answers.npz")["clip"]
    np.testing.assert_allclose([found[name] for name in open_run(RUN).classes], expected, **CLOSE)


def test_an_export_without_maps_of_its_clips_still_makes_an_overlay(tmp_path):
    found = keras_attn.explain(FILES / "clip.mp4", FILES / "saved_model", tmp_path / "a.mp4")
    assert found.maps["where"].shape[0] == found.frames == 12 and len(found.lines()) == 1
    with pytest.raises(UserError, match="a.npz: .* an earlier version .* export the run again"):
        keras_attn.explain(FILES / "clip.mp4", FILES / "saved_model", tmp_path / "a.npz")


# === In other processes ===


def test_an_export_agrees_with_its_run():
    with one_clean_process():
        verification = keras_attn.verify(FILES / "saved_model" / "1", run=RUN)
    assert verification.passed, verification.lines()
    assert {name for _, name in verification.differences} >= {"serving_default", "features"}


@pytest.mark.parametrize("order", [["keras_attn", "keras"], ["keras", "keras_attn"]], ids=" ".join)
def test_keras_loads_a_model_after_the_package_alone_was_imported(order):
    path = FILES / "optimizers" / "adam.keras"  # a model and an optimizer of this package
    done = subprocess.run(
        [sys.executable, "-c", FRESH, path, *order],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(FILES.parents[1]), "TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == MODELS["temporal_attention"].__name__
