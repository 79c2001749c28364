"""A recipe on a KerasHub preset: features, training on them and end to end, evaluation, export."""

import dataclasses
import json
import shutil

import pytest
from clean_server import one_clean_process
from hub_presets import CELLS, CHANNELS, SIDE, write_preset
from small import SMALL, eagerly

import keras_attn
from keras_attn.backbones import build_backbone
from keras_attn.backbones.golden import golden_path
from keras_attn.errors import UsageError, UserError
from keras_attn.recipes import Clips, override

pytest.importorskip("keras_hub", reason="keras-hub is not installed here")


@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables .*mask_token")
def test_a_recipe_reads_features_of_a_preset_and_trains_it(tiny_data, tmp_path):
    write_preset("dinov2", tmp_path / "preset")
    data = shutil.copytree(tiny_data, tmp_path / "data")
    name = f"hub:{tmp_path}/preset"
    summary = keras_attn.features(data, backbone=name, weights="imagenet", batch_size=8)
    assert summary.maps == {"last": (CELLS, CELLS, CHANNELS)}
    recipe = dataclasses.replace(
        SMALL,
        backbone=name,
        backbone_weights="preset",
        clips=Clips(frames=4, stride=4, size=SIDE),
        epochs=1,
        accumulate=1,
    )
    with eagerly():
        cached = keras_attn.train(recipe, data, tmp_path / "cached")
        frames = {"cached": False, "train_backbone": True}
        keras_attn.train(recipe, data, tmp_path / "frames", changes=frames)
    build_backbone(name, SIDE, tmp_path / "frames", "block_1")  # the run's backbone, cut
    _damage_golden(tmp_path / "frames")
    with pytest.raises(UserError, match="golden.json: is of a network with other layers"):
        build_backbone(name, SIDE, tmp_path / "frames")
    shutil.rmtree(tmp_path / "preset")
    assert keras_attn.evaluate(tmp_path / "frames", examples=1).summary.videos == 6
    with one_clean_process():
        assert keras_attn.export(cached.path, tmp_path / "models").passed
    with pytest.raises(UsageError, match="backbone must be hub: and a preset .*, or a folder"):
        keras_attn.train(recipe, data, tmp_path / "other")
    assert override(recipe, {"backbone": "hub:dinov2_small"}).backbone == "hub:dinov2_small"


def _damage_golden(run):
    path = golden_path(run / "model.keras")
    kept = json.loads(path.read_text())
    (network,) = kept["networks"].values()
    network["layers"].pop()
    path.write_text(json.dumps(kept))
