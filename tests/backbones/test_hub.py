"""KerasHub's presets as backbones: maps, pixels, sizes, weights and mistakes."""

import shutil
import sys

import numpy as np
import pytest
from checks import assert_close, numpy
from hub_presets import CELLS, CHANNELS, FAMILIES, FRAMES, SIDE, own_maps, write_preset

from keras_attn.backbones import build_backbone, find_backbone, golden, hub
from keras_attn.errors import UserError

pytest.importorskip("keras_hub", reason="keras-hub is not installed here")


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_are_those_of_keras_hub_for_bytes(name, rng, tmp_path):
    backbone = write_preset(name, tmp_path / "preset")
    entry = find_backbone(f"hub:{tmp_path / 'preset'}")
    clips = [FRAMES] if name == "videoprism" else []
    assert (entry.per_frame, entry.frames) == (not clips, FRAMES if clips else None)
    assert entry.size == SIDE and entry.pyramid[-1] == entry.endpoint == "last"
    frames = rng.integers(0, 256, (2, *clips, SIDE, SIDE, 3), dtype="uint8")
    last, first = own_maps(name, backbone, frames)
    joined = build_backbone(entry, weights="preset", endpoint="+".join(entry.pyramid))
    levels = np.split(numpy(joined(frames)), len(entry.pyramid), axis=-1)
    assert_close(levels[-1], last, atol=1e-4)
    if first is not None:
        assert_close(levels[0], first, atol=1e-4)
    assert not np.allclose(levels[0], levels[-1], atol=0.1)
    pooled = build_backbone(entry, weights="preset", endpoint="pooled")
    assert_close(pooled(frames), last.mean((-3, -2)), atol=1e-4)

    shutil.rmtree(tmp_path / "preset")  # what a saved model says of it is enough
    again = build_backbone(entry.reference, endpoint="+".join(entry.pyramid))
    again.set_weights(joined.get_weights())
    assert_close(again(frames), joined(frames), atol=1e-6)


def test_a_size_of_its_own_is_for_those_that_can(tmp_path, rng):
    write_preset("dinov2", tmp_path / "dinov2")
    larger = build_backbone(f"hub:{tmp_path}/dinov2", 3 * SIDE, "preset")
    assert larger.output_shape == (None, 3 * CELLS, 3 * CELLS, CHANNELS)
    with pytest.raises(ValueError, match="size must be a square of a multiple of 7 .*got 15x15"):
        build_backbone(f"hub:{tmp_path}/dinov2", 15)
    with pytest.raises(ValueError, match="channels must be 3, RGB, for .*dinov2, got 10"):
        build_backbone(f"hub:{tmp_path}/dinov2", SIDE, channels=10)
    write_preset("vit", tmp_path / "vit")
    with pytest.raises(ValueError, match="size must be 14x14 pixels .*vit.*, got 28x28"):
        build_backbone(f"hub:{tmp_path}/vit", 28)
    path = tmp_path / "of.weights.h5"
    built = build_backbone(f"hub:{tmp_path}/vit", weights="preset")
    from keras_attn.backbones.registry import whole_network

    whole_network(f"hub:{tmp_path}/vit", weights="preset").save_weights(path)
    frames = rng.integers(0, 256, (1, SIDE, SIDE, 3))
    assert_close(build_backbone(f"hub:{tmp_path}/vit", weights=path)(frames), built(frames))


@pytest.mark.parametrize("name, scale", [*((name, 1) for name in FAMILIES), ("dinov2", 3)])
def test_trained_weights_are_saved_as_they_are(name, scale, rng, tmp_path):
    """DINOv2 of KerasHub saves position embeddings resized, or not, by the sign of the change."""
    write_preset(name, tmp_path / "preset")
    entry, path = find_backbone(f"hub:{tmp_path / 'preset'}"), tmp_path / "trained.weights.h5"
    trained = build_backbone(entry, scale * SIDE, "preset")
    before = [numpy(weight) for weight in trained.trainable_variables]
    for sign in (1, -1):
        for weight, value in zip(trained.trainable_variables, before, strict=True):
            weight.assign(value + sign * rng.uniform(0.1, 0.2, value.shape))
        trained.save_weights(path)
        loaded = build_backbone(entry, scale * SIDE, "preset")
        loaded.load_weights(path)
        assert len(loaded.weights) == len(trained.weights)
        for weight, other in zip(loaded.weights, trained.weights, strict=True):
            np.testing.assert_array_equal(numpy(weight), numpy(other))


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_that_a_preset_loads_otherwise_are_refused(name, tmp_path):
    write_preset(name, tmp_path / "preset")
    entry = find_backbone(f"hub:{tmp_path / 'preset'}")
    network, other = (entry.network(SIDE, SIDE, 3) for _ in range(2))
    entry.fill(network)
    golden.record(tmp_path / "file", {entry.name: (network, entry)})
    for changed in other.trainable_variables[::3]:
        other.set_weights(network.get_weights())
        changed.assign(changed.numpy()[..., ::-1] if changed.shape[-1] > 1 else 0 * changed)
        with pytest.raises(UserError, match="1 of .* layers answer differently"):
            golden.check(tmp_path / "file", entry.name, None, other, entry)
    other.set_weights(network.get_weights())
    golden.check(tmp_path / "file", entry.name, None, other, entry)


def test_mistakes_name_the_argument_and_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="backbone must be hub: and a preset .*hub:dinov2_small"):
        find_backbone("hub:dino2_small")
    with pytest.raises(ValueError, match="backbone must be hub: .*config.json"):
        find_backbone(f"hub:{tmp_path}/nothing")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="the folder cannot be read as Backbone"):
        find_backbone(f"hub:{tmp_path}")
    write_preset("vit", tmp_path / "bare")
    (tmp_path / "bare" / "image_converter.json").unlink(missing_ok=True)
    (tmp_path / "bare" / "preprocessor.json").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="needs both a backbone and an image converter"):
        find_backbone(f"hub:{tmp_path}/bare")
    with pytest.raises(ValueError, match="must be one of DINOV2Backbone, .*got"):
        other = tmp_path / "other"
        kind = pytest.importorskip("keras_hub").models.VGGBackbone
        kind([1], [2], image_shape=(8, 8, 3)).save_to_preset(other)
        find_backbone(f"hub:{other}")

    def unreachable(preset, **options):
        raise ConnectionError("no route to host")

    models = pytest.importorskip("keras_hub").models
    monkeypatch.setattr(models.Backbone, "from_preset", unreachable)
    with pytest.raises(UserError, match="no route to host.*give `backbone` as hub:FOLDER"):
        find_backbone("hub:siglip2_base_patch16_224")
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(UserError, match=r'pip install "keras_attn\[hub\]"'):
        hub.find("hub:vit_base_patch16_224_imagenet")
