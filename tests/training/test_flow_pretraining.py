"""The attention network learns flow first: what it learns, what is kept, and what is refused."""

import csv
import dataclasses
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from flow_files import write_planes, write_truth

import keras_attn
from keras_attn.backbones import flownet_s
from keras_attn.data import flow_pairs, flow_records, records
from keras_attn.data.source import open_source
from keras_attn.data.video import Video
from keras_attn.datasets import tables
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.flow import estimate
from keras_attn.models import STACNN, FlowPretraining
from keras_attn.recipes import RECIPES, Clips, Pretraining, Recipe, from_dict, override
from keras_attn.training import flow_pretraining
from keras_attn.training.loop import Progress
from keras_attn.utils.files import read_json

RECIPE = Recipe(
    model="sta_cnn",
    arguments={"attention_network": "flownet_s", "groups": 1, "test_keep": 2},
    cached=False,
    backbone="tiny",
    backbone_weights=None,
    clips=Clips(sampling="segments", frames=3, snippet=2, size=64),
    seed=5,
)


@pytest.fixture(scope="module", autouse=True)
def small_flownet():
    """FlowNetS with eight filters in every layer."""
    with pytest.MonkeyPatch.context() as patch:
        for table in ("CONVOLUTIONS", "EXPANSIONS"):
            small = {
                name: (*row[:-1], 8) if isinstance(row, tuple) else 8
                for name, row in getattr(flownet_s, table).items()
            }
            patch.setattr(flownet_s, table, small)
        yield


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return write_truth(tmp_path_factory.mktemp("pairs"), np.random.default_rng(7), 10)


@pytest.fixture(scope="module")
def source(tiny_data, tmp_path_factory):
    """Videos as a source has them, with flow beside them that a test made up: byte 160."""
    index = records.read_index(tiny_data)
    still = np.full((11, 32, 32), 160, "uint8")
    folder = tmp_path_factory.mktemp("flow")
    planes = [write_planes(folder, record, still, still) for record in index]
    checked = []

    def check(data, name, some, **checking):
        checked.append((name, len(some)))

    fake = SimpleNamespace(read_flow_index=lambda *_: planes, check_flow_contents=check)
    videos = [Video(r.id, r.path, r.frames, r.label) for r in index]
    subsets = {"train": videos[:5], "validation": videos[5:7]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow_pairs, "flow_records", fake)
        folder = tables.read_data_folder(tiny_data)
        yield SimpleNamespace(data=tiny_data, folder=folder, subsets=subsets, checked=checked)


def recipe(truth, **changes):
    settings = Pretraining(str(truth), 12, 1, learning_rate=3e-3, batch_size=2)
    return dataclasses.replace(RECIPE, pretraining=dataclasses.replace(settings, **changes))


@pytest.fixture(scope="module")
def learned(truth, source, tmp_path_factory):
    """A finished pre-training: its stages, events, file, and the weights when it was written."""
    tf.config.experimental.enable_op_determinism()  # as `train` does
    folder, events, weights = tmp_path_factory.mktemp("run"), [], []
    save = FlowPretraining.save_attention_network

    def spy(model, path):
        layers = [model.get_layer(name) for name in flownet_s.CONVOLUTIONS]
        weights.extend(values for layer in layers for values in layer.get_weights())
        save(model, path)

    source.checked.clear()
    stages = flow_pretraining.open_stages(recipe(truth), source, folder)
    checked = list(source.checked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FlowPretraining, "save_attention_network", spy)
        path = flow_pretraining.pretrain(recipe(truth), stages, folder, events.append)
    return SimpleNamespace(**locals())


def test_the_stages_hold_out_what_they_are_judged_by(learned):
    # Every fifth of ten pairs; three pairs per video, as many as a clip has segments.
    found = [(s.name, s.epochs, len(s.learn), len(s.held)) for s in learned.stages]
    assert found == [("truth", 12, 8, 2), ("clips", 1, 15, 6)]
    assert learned.checked == [("tvl1", 5), ("tvl1", 2)]


def test_the_error_on_held_out_pairs_falls(learned):
    rows = [event for event in learned.events if isinstance(event, dict)]
    epochs = [("truth", i) for i in range(13)] + [("clips", 0), ("clips", 1)]
    assert [(row["stage"], row["epoch"]) for row in rows] == epochs
    errors = [row["val_endpoint_error"] for row in rows]
    # What does not look at the frames errs by no less than "no motion".
    assert errors[12] < 0.6 * min(errors[0], rows[0]["val_still_error"])
    assert errors[14] < errors[13]
    assert rows[12]["endpoint_error"] < rows[1]["endpoint_error"]
    assert rows[0]["val_still_error"] == pytest.approx(np.hypot(3, 2))
    # Byte 160 of 32 pixels is twice that in 64.
    assert rows[13]["val_still_error"] == pytest.approx(2 * 32.5 * 40 / 255 * 2**0.5, rel=1e-4)
    steps = [event for event in learned.events if isinstance(event, Progress)]
    assert [(event.step, event.steps) for event in steps[:5]] == [(i, 4) for i in (1, 2, 3, 4, 1)]
    assert steps[3].logs["loss"] == rows[1]["loss"]
    with open(learned.folder / "pretraining.csv", newline="") as file:
        table = list(csv.DictReader(file))
    columns = ["stage", "epoch", "val_endpoint_error", "val_still_error", "endpoint_error", "loss"]
    assert list(table[0]) == columns and len(table) == 15
    assert flow_pretraining.read_rows(learned.folder) == rows
    assert flow_pretraining.read_rows(learned.folder.parent) == []


def test_the_weights_land_in_the_attention_network(learned, truth, tmp_path):
    assert learned.path == learned.folder / "attention.weights.h5"

    def network(**arguments):
        model = STACNN(3, (3, 64, 64, 6), backbone="tiny", **RECIPE.arguments, **arguments)
        return model, model.get_layer("segments").layer.get_layer("attention_network")

    _, built = network(attention_weights=learned.path)
    model, filled = network()
    flow_pretraining.load_attention(model, recipe(truth), learned.folder)
    assert len(learned.weights) == 20
    for found in (built, filled):
        for value, expected in zip(found.get_weights(), learned.weights, strict=True):
            np.testing.assert_array_equal(value, expected)
    (tmp_path / "attention.weights.h5").write_bytes(b"no weights")
    with pytest.raises(UserError, match="attention.weights.h5' could not be loaded .*workdir"):
        flow_pretraining.load_attention(model, recipe(truth), tmp_path)


def test_the_seed_decides_and_what_is_finished_is_kept(learned, truth, tmp_path):
    def stop(event):
        raise KeyboardInterrupt

    other = dataclasses.replace(recipe(truth), seed=6)
    with pytest.raises(KeyboardInterrupt):
        flow_pretraining.pretrain(other, learned.stages, tmp_path / "other", stop)
    (row,) = flow_pretraining.read_rows(tmp_path / "other")
    rows = flow_pretraining.read_rows(learned.folder)
    assert row["val_endpoint_error"] != rows[0]["val_endpoint_error"]

    keras.utils.set_random_seed(99)  # random numbers drawn before do not matter
    shorter = dataclasses.replace(learned.stages[0], epochs=2)
    again = flow_pretraining.pretrain(recipe(truth), [shorter], tmp_path)
    assert flow_pretraining.read_rows(tmp_path) == rows[:3]
    assert not (tmp_path / "pretraining.npz").exists()

    before = again.stat().st_mtime_ns
    assert flow_pretraining.open_stages(recipe("gone"), None, tmp_path) == ()
    flow_pretraining.pretrain(recipe(truth), (), tmp_path, pytest.fail)
    assert again.stat().st_mtime_ns == before


def test_without_a_validation_subset_every_fifth_group_is_held_out(source, tmp_path):
    videos = source.subsets["train"] + source.subsets["validation"]
    groups = ("", "", "a", "b", "c", "d", "c")
    rows = [
        tables.Row(v.id, "", "one", g, usable=True) for v, g in zip(videos, groups, strict=True)
    ]
    folder = tables.DataFolder(tmp_path, rows, ["one"])
    alone = SimpleNamespace(data=tmp_path, folder=folder, subsets={"train": videos})
    wanted = dataclasses.replace(RECIPE, flow_method="dis", pretraining=Pretraining(clips_epochs=3))
    source.checked.clear()
    (stage,) = flow_pretraining.open_stages(wanted, alone, source.data)
    assert (stage.name, len(stage.learn), len(stage.held)) == ("clips", 15, 6)
    assert [video.id for video in stage.held.videos] == [videos[4].id, videos[6].id]
    assert source.checked == [("dis", 5), ("dis", 2)]
    assert flow_pretraining.open_stages(RECIPE, source, source.data) == ()


@pytest.fixture(scope="module")
def dis(tiny_data, tmp_path_factory):
    """Videos with their DIS flow, and a recipe that learns from them at its size."""
    data = shutil.copytree(tiny_data, tmp_path_factory.mktemp("dis") / "data")
    keras_attn.extract_flow(data, "dis", width=32, height=32)
    wanted = dataclasses.replace(
        RECIPE,
        flow_method="dis",
        clips=dataclasses.replace(RECIPE.clips, size=32),
        pretraining=Pretraining(clips_epochs=1),
    )
    return wanted, open_source(data, wanted, read=("train", "validation"))


def test_flow_that_was_extracted_is_of_the_frames_beside_it(dis, tmp_path, monkeypatch):
    monkeypatch.setattr(flow_pairs, "flow_records", flow_records)  # not what `source` put there
    shown, checking = [], {"full": True, "progress": lambda *event: shown.append(event)}
    (stage,) = flow_pretraining.open_stages(*dis, tmp_path, **checking)
    assert (len(stage.learn), len(stage.held), len(shown)) == (3 * 12, 3 * 6, 12 + 6)
    frames, found = next(iter(flow_pretraining._batches(stage.held, dis[0])))
    expected = estimate(frames[..., :3], frames[..., 3:], "dis")
    assert np.abs(found - expected).max() < 0.5 < np.abs(expected).max() / 2  # half a level, JPEG


def test_the_facts_tell_other_pairs_and_other_flow_apart(dis, tmp_path):
    assert flow_pretraining.facts(RECIPE, None, tmp_path) == {}
    facts = flow_pretraining.facts(*dis, tmp_path)
    provenance = read_json(dis[1].data / "flow" / "dis" / "provenance.json")
    assert facts == {"pretraining_data": {"flow": provenance}} and provenance["method"] == "dis"
    hashes = set()
    for stem, side in (("a", 16), ("b", 16), ("b", 17)):  # other names, then other sizes
        folder = write_truth(tmp_path / f"{stem}{side}", np.random.default_rng(1), 2, height=side)
        for path in folder.iterdir():
            path.rename(folder / f"{stem}{path.name}")
        wanted = recipe(folder, clips_epochs=0)
        facts = flow_pretraining.facts(wanted, None, tmp_path)["pretraining_data"]
        assert facts.keys() == {"pairs", "pairs_sha256"} and facts["pairs"] == 2
        hashes.add(facts["pairs_sha256"])
    assert len(hashes) == 3


def test_errors_name_pairs_that_cannot_be_read_and_a_loss_that_diverges(tmp_path, monkeypatch):
    folder = write_truth(tmp_path / "truth", np.random.default_rng(1), 3)
    wanted = recipe(folder, clips_epochs=0)
    stages = flow_pretraining.open_stages(wanted, None, tmp_path)
    broken = folder / "00003_flow.flo"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-4])
    with pytest.raises(DataError, match="could not be read: .*00003_flow.flo: .*`resume=True`"):
        flow_pretraining.pretrain(wanted, stages, tmp_path)
    broken.write_bytes(whole[:-4] + np.float32(np.nan).tobytes())
    with pytest.raises(DataError, match="00003_flow.flo: the flow of 1 of 4096 pixels is unknown"):
        flow_pretraining.pretrain(wanted, stages, tmp_path)
    broken.write_bytes(whole)
    diverging = {"loss": float("nan"), "endpoint_error": 1.0}
    monkeypatch.setattr(FlowPretraining, "train_on_batch", lambda *_, **__: diverging)
    with pytest.raises(UserError, match="became nan in epoch 1 of truth.* lower pretraining.lear"):
        flow_pretraining.pretrain(wanted, stages, tmp_path)
    assert not (tmp_path / "attention.weights.h5").exists()


# === The recipe ===


def test_the_settings_are_overridden_and_read_back():
    changes = {"pretraining.truth": "chairs", "pretraining.truth_epochs": "20"}
    changed = override(RECIPE, changes | {"pretraining.learning_rate": "1e-3"})
    assert changed.pretraining == Pretraining("chairs", 20, learning_rate=1e-3)
    assert from_dict(dataclasses.asdict(changed)) == changed
    assert override(RECIPES["sta_cnn"], changes).pretraining.wanted
    old = dataclasses.asdict(RECIPE)
    del old["pretraining"]
    assert from_dict(old) == RECIPE and not RECIPE.pretraining.wanted
    with pytest.raises(UsageError, match="no field 'pretraining.epochs'; it has .*pretraining.tr"):
        override(RECIPE, {"pretraining.epochs": "2"})


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"truth": "x"}, "need each other, got 'x' and 0"),
        ({"truth_epochs": "1"}, "need each other, got None and 1"),
        ({"clips_epochs": "-1"}, "pretraining.clips_epochs must be at least 0, got -1"),
        ({"clips_epochs": "1.5"}, "pretraining.clips_epochs must be of type int"),
        ({"batch_size": "0"}, "pretraining.batch_size must be at least 1, got 0"),
        ({"learning_rate": "0"}, "pretraining.learning_rate must be above 0"),
    ],
)
def test_settings_that_cannot_work(changes, message):
    with pytest.raises(UsageError, match=message):
        override(RECIPE, {f"pretraining.{key}": value for key, value in changes.items()})


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model.attention_network": "tiny"}, "flownet_s_pooled, got sta_cnn, rgb, .* and tiny"),
        ({"model.spatial": "none"}, "it goes with model.spatial=location"),
        ({"model.attention_weights": "a.h5"}, "without model.attention_weights"),
        ({"input": "flow"}, "input must be rgb, got flow: the attention network flownet_s"),
        ({"cached": "true", "clips.snippet": "1"}, "cached=true and flownet_s"),
    ],
)
def test_recipes_that_have_nothing_to_pretrain(changes, message):
    with pytest.raises(UsageError, match=message):
        override(RECIPE, {"pretraining.clips_epochs": "1", **changes})
    with pytest.raises(UsageError, match="got temporal_attention, rgb"):
        override(RECIPES["temporal_attention_tiny"], {"pretraining.clips_epochs": "1"})
