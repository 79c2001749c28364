"""Every recipe with every input that it can see, as it is printed: it trains, is saved, answers.

Only the sides of the frames, the batch and the number of epochs are smaller, and the published
backbones are small networks with their endpoints. `scripts/full_size.py` runs the
recipes at their sizes.
"""

import shutil

import numpy as np
import pytest
from small import eagerly, small_flownet
from stand_in import stand_in

import keras_attn
from keras_attn.backbones import BACKBONES
from keras_attn.data import batches
from keras_attn.data.source import open_source
from keras_attn.data.streams import INPUTS
from keras_attn.datasets.synthetic import write_dataset
from keras_attn.errors import UsageError
from keras_attn.recipes import RECIPES, override
from keras_attn.training import build, train

SMALLER = {
    "clips.size": "64",
    "batch_size": "2",
    "accumulate": "1",
    "epochs": "1",
    "backbone_weights": "none",
}
# Convolutions of 512 channels in each of 50 frames; nothing else depends on how many there are.
NARROWER = {"model.units": "16", "model.attention_units": "8"}


def printed(name, kind):
    """The recipe with that input; `UsageError` if it cannot see it."""
    changes = {} if kind == RECIPES[name].input else {"input": kind}
    narrower = NARROWER if RECIPES[name].model == "where_and_when" else {}
    return override(override(RECIPES[name], changes), SMALLER | narrower)


def _possible():
    for name in RECIPES:
        for kind in INPUTS:
            try:
                yield name, printed(name, kind)
            except UsageError:
                continue


POSSIBLE = {(name, recipe.input): recipe for name, recipe in _possible()}
# Those of the papers. `test_every_model` runs those of the tiny backbone on their own inputs.
PAPERS = [name for name in RECIPES if not name.endswith(("_tiny", "_mobilenet"))]
# Warped flow is other numbers in the same places.
OTHERS = [
    (name, kind)
    for name, kind in POSSIBLE
    if (name.endswith("_mobilenet") or kind != RECIPES[name].input)
    and (kind != "warped_flow" or name == "sta_cnn")
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two classes, a video of each in each subset, with TV-L1 flow, plain and warped."""
    root = tmp_path_factory.mktemp("printed")
    write_dataset(root / "videos", scenes=3, seed=1, side=48, frames=12)
    for name in ("up", "down"):
        shutil.rmtree(root / "videos" / name)
    keras_attn.scan(root / "videos", root / "data", workers=1)
    keras_attn.split(root / "data", fractions=(1 / 3, 1 / 3, 1 / 3))
    keras_attn.prepare(root / "data", workers=1)
    keras_attn.extract_flow(root / "data", width=18, height=16)
    keras_attn.extract_flow(root / "data", width=18, height=16, warped=True)
    return root


@pytest.fixture(scope="module", autouse=True)
def small_networks():
    with pytest.MonkeyPatch.context() as patch, small_flownet():
        for name in set(BACKBONES) - {"tiny"}:
            patch.setitem(BACKBONES, name, stand_in(BACKBONES[name]))
        yield


def test_every_recipe_sees_its_own_input():
    assert POSSIBLE.keys() >= {(name, recipe.input) for name, recipe in RECIPES.items()}
    assert {kind for _, kind in POSSIBLE} == set(INPUTS)


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.filterwarnings("ignore:.*random weights", "ignore:.*lie in no block")
def test_a_run_is_saved_and_answers(name, data, tmp_path):
    recipe = POSSIBLE[name, RECIPES[name].input]
    if recipe.cached:
        keras_attn.features(data / "data", recipe=recipe, weights=None)
    with eagerly():
        run = keras_attn.train(recipe, data / "data", tmp_path / "run")
    video = next((data / "videos" / "left").iterdir())
    (answer,) = keras_attn.predict(video, run.path)
    assert not answer.problem and answer.guesses


@pytest.mark.parametrize("name, kind", OTHERS)
@pytest.mark.filterwarnings("ignore:.*lie in no block")
def test_a_batch_is_drawn_and_learned(name, kind, data):
    recipe = POSSIBLE[name, kind]
    if recipe.cached:
        keras_attn.features(data / "data", recipe=recipe, weights=None)
    source = open_source(data / "data", recipe)
    with eagerly():
        model = build.build_model(recipe, source)
    read = source.reader(train._augmentations(recipe), random=True)
    clips, labels = next(iter(batches.batches(source.clips("train"), read, 2, seed=0)))
    logs = model.train_on_batch(clips, labels, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())
