"""A training that begins with flow: the weights are used, recorded, and the same after a stop."""

import dataclasses
import pathlib

import keras
import numpy as np
import pytest
from flow_files import write_truth
from small import assert_same_run, eagerly, no_step, refused

from keras_attn.backbones import flownet_s
from keras_attn.errors import DataError, UserError
from keras_attn.recipes import Clips, Pretraining, Recipe
from keras_attn.training import flow_pretraining, train
from keras_attn.utils import files


@pytest.fixture(scope="module", autouse=True)
def small_flownet():
    """FlowNetS with four filters in every layer."""
    with pytest.MonkeyPatch.context() as patch, eagerly():
        for table in ("CONVOLUTIONS", "EXPANSIONS"):
            small = {
                name: (*row[:-1], 4) if isinstance(row, tuple) else 4
                for name, row in getattr(flownet_s, table).items()
            }
            patch.setattr(flownet_s, table, small)
        yield


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    truth = write_truth(folder, np.random.default_rng(7), 3, height=32, width=32)
    return Recipe(
        model="sta_cnn",
        arguments={"attention_network": "flownet_s", "groups": 1, "test_keep": 2},
        cached=False,
        backbone="tiny",
        backbone_weights=None,
        clips=Clips(sampling="segments", frames=2, snippet=2, size=32),
        batch_size=6,
        epochs=1,
        learning_rate=1e-9,  # so that the network is found as it was put in
        pretraining=Pretraining(str(truth), 1, learning_rate=1e-2, batch_size=2),
        seed=5,
    )


@pytest.fixture(scope="module")
def whole(recipe, tiny_data, tmp_path_factory):
    return train.train(recipe, tiny_data, tmp_path_factory.mktemp("whole"))


def test_the_network_of_a_run_is_the_one_that_learned_flow(whole):
    results = files.read_json(whole.results)
    assert results["pretraining"] == flow_pretraining.read_rows(whole.path)
    assert [row["stage"] for row in results["pretraining"]] == ["truth", "truth"]
    expected = flownet_s.contracting(32, 32, last_stride=1)
    expected.load_weights(whole.path / flow_pretraining.WEIGHTS)
    model = keras.models.load_model(whole.model, compile=False)
    network = model.get_layer("segments").layer.get_layer("attention_network")
    for value, start in zip(network.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(value, start, atol=1e-6)


@pytest.fixture
def moved_truth(recipe):
    """A function that gives the pairs other names, or their own again; they are put back."""
    paths = sorted(pathlib.Path(recipe.pretraining.truth).iterdir())
    others = [path.with_name(f"other{path.name}") for path in paths]

    def move(there=True):
        for path, other in zip(paths, others, strict=True):
            if path.exists() == there:
                path.rename(other) if there else other.rename(path)

    yield move
    move(there=False)


def test_stops_in_the_pretraining_and_after_it_change_nothing(
    whole, recipe, tiny_data, tmp_path, moved_truth
):
    """Before its first step, where other pairs are refused; after it these are not needed."""

    def stopped(name, resume):
        def stop(event):
            if name in (event if isinstance(event, dict) else event.logs):
                raise KeyboardInterrupt

        folder = tmp_path / "run"
        with pytest.raises(KeyboardInterrupt):
            train.train(recipe, tiny_data, folder, resume=resume, progress=stop)
        return (folder / flow_pretraining.WEIGHTS).exists()

    assert not stopped("val_still_error", resume=False)
    moved_truth()
    with pytest.raises(UserError, match="pretraining_data.pairs_sha256: was .*same settings"):
        train.train(recipe, tiny_data, tmp_path / "run", resume=True, progress=no_step)
    moved_truth(there=False)
    assert stopped("accuracy", resume=True)
    moved_truth()
    events = []
    run = train.train(recipe, tiny_data, tmp_path / "run", resume=True, progress=events.append)
    assert_same_run(whole, run)
    steps = [event.logs for event in events if not isinstance(event, dict)]
    assert steps and not any("endpoint_error" in logs for logs in steps)
    assert not (run.path / "pretraining.npz").exists()


def test_data_that_is_not_there_is_found_before_anything_is_written(recipe, tiny_data, tmp_path):
    gone = dataclasses.replace(recipe.pretraining, truth=str(tmp_path / "gone"))
    changed = dataclasses.replace(recipe, pretraining=gone)
    refused(DataError, "gone: no such folder", changed, tiny_data, tmp_path / "run")
    clips = dataclasses.replace(recipe, pretraining=Pretraining(clips_epochs=1))
    refused(DataError, "flow.*keras-attn extract-flow", clips, tiny_data, tmp_path / "run")
