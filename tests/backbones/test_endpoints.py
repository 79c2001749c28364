"""Where networks are cut: maps, vectors, levels side by side, and the rest of the network."""

import dataclasses
import math

import keras
import numpy as np
import pytest
from checks import assert_close, tensorflow_is_enough
from keras import layers, ops
from networks import PLAIN, QUICK, SIDES, network, share

from keras_attn.backbones import (
    BACKBONES,
    Endpoint,
    backbone_tail,
    build_backbone,
    endpoint_channels,
    features_input,
)
from keras_attn.backbones.caching import cached_maps, mean_of
from keras_attn.layers import PerFrame

CELLS = {  # in a row of each level of the pyramid, at the sides of SIDES
    "bn_inception": (8, 2, 2),
    "inception_resnet_v2": (35, 17, 8),
    "inception_v3": (35, 17, 8),
    "mobilenet_v2": (4, 2, 2),
    "resnet_50": (8, 4, 2),
    "resnet_101": (8, 4, 2),
    "resnet_50_torch": (8, 4, 2),
    "tsm_resnet_50": (8, 4, 2),
    "tiny": (32, 16, 8),
    "vgg_16": (4, 2, 1),
}


@pytest.mark.parametrize("name", PLAIN)
def test_the_table_says_what_is_built(monkeypatch, name):
    entry = BACKBONES[name]
    assert entry.name == name and entry.endpoint in entry.maps
    assert str(entry.size) in entry.description
    share(monkeypatch, name)
    first = network(name).weights[0]
    assert len(first.shape) == 4 and first.shape[2] == 3, "flow_weights is for the first weight"
    endpoints = "+".join(entry.maps)
    levels = build_backbone(name, SIDES[name], endpoint=endpoints).get_layer("levels").input
    assert tuple(level.shape[-1] for level in levels) == endpoint_channels(name, endpoints)
    for level, cells in zip(entry.pyramid, CELLS[name], strict=True):
        maps = levels[entry.maps.index(level)]
        if level != entry.maps[-1]:
            maps = maps._keras_history.operation.input
        assert maps.shape[-3:-1] == (cells, cells)


# ResNet-101 is ResNet-50 with more blocks.
@pytest.mark.parametrize("name", [name for name in PLAIN if name != "resnet_101"])
@tensorflow_is_enough
def test_a_tail_is_the_rest_of_the_network(rng, monkeypatch, name):
    """A map and its tail give what the whole network gives, and no weight is in both."""
    entry = share(monkeypatch, name)
    side = SIDES[name]
    frames = rng.integers(0, 256, (2 if side < 100 else 1, side, side, 3), dtype="uint8")
    if not entry.per_frame:
        frames = frames[:, None]
    *_, last = entry.endpoints
    whole = build_backbone(name, side, "shared", last)
    expected = whole(frames)
    assert expected.shape[-1:] == endpoint_channels(name, last) and np.ptp(expected) > 0
    for endpoint in entry.maps if name in QUICK else entry.pyramid[-1:]:
        body = build_backbone(name, side, "shared", endpoint)
        maps = body(frames)
        if endpoint in entry.pyramid and name != "inception_v3":
            assert ops.min(maps) < 0, "a level is a map before activation"
        tail = backbone_tail(name, endpoint, maps.shape[-3:-1], "shared")
        if entry.per_frame:
            assert_close(tail(maps), expected)
        else:
            assert_close(tail(maps[:, 0]), expected[:, 0])
        assert len(body.weights) + len(tail.weights) == len(whole.weights)


def test_attention_may_act_at_an_earlier_map(monkeypatch):
    """Table 1 of paper 004; also where the map has another size than the backbone's own."""
    share(monkeypatch, "mobilenet_v2")
    tail = backbone_tail("mobilenet_v2", "block_12", (5, 9))
    assert tail.input_shape == (None, 5, 9, 96)
    assert tail.output_shape == (None, 1280)


def test_a_map_that_does_not_fit_the_weights(monkeypatch):
    share(monkeypatch, "vgg_16")
    with pytest.raises(ValueError, match=r"map_size must be \(1, 1\) .* vgg_16, got \(2, 1\)"):
        backbone_tail("vgg_16", "conv5_3", (2, 1), "shared")


def test_weights_of_a_tail_are_its_own(rng, tmp_path):
    path = tmp_path / "tiny.weights.h5"
    whole = build_backbone("tiny", 64, endpoint="pooled")
    whole.save_weights(path)
    frames = rng.integers(0, 256, (2, 64, 64, 3))
    maps = build_backbone("tiny", 64, path, "conv_2")(frames)
    tail = backbone_tail("tiny", "conv_2", (16, 16), path)
    assert_close(tail(maps), whole(frames))
    tail.set_weights([w * 2 for w in tail.get_weights()])
    assert_close(backbone_tail("tiny", "conv_2", (16, 16), path)(maps), whole(frames))


def test_joined_levels_are_pooled_to_the_last(rng, tmp_path):
    """From maps of 18x26 and 9x13 to 5x7 cells, with windows that share cells."""
    name, side, path = "tiny", (36, 52), tmp_path / "tiny.weights.h5"
    levels = BACKBONES[name].pyramid
    build_backbone(name, side).save_weights(path)
    joined = build_backbone(name, side, path, "+".join(levels))
    frames = rng.integers(0, 256, (2, *joined.input_shape[1:]), dtype="uint8")
    maps = [np.asarray(build_backbone(name, side, path, level)(frames)) for level in levels]
    rows, columns = maps[-1].shape[1:3]
    expected = np.empty((2, rows, columns, sum(endpoint_channels(name, "+".join(levels)))))
    for i, j in np.ndindex(rows, columns):
        cell = []
        for level in maps:
            top, left = i * level.shape[1] // rows, j * level.shape[2] // columns
            bottom = -(-(i + 1) * level.shape[1] // rows)
            right = -(-(j + 1) * level.shape[2] // columns)
            cell.append(level[:, top:bottom, left:right].max((1, 2)))
        expected[:, i, j] = np.concatenate(cell, -1)
    assert_close(joined(frames), expected)


def _clip_network(height, width, channels):
    clip = x = keras.Input((None, height, width, channels))
    x = PerFrame(layers.Conv2D(4, 3, strides=2, name="conv"), name="convolved")(x)
    x = layers.Conv3D(5, (3, 1, 1), padding="same", name="mixed")(x)  # sees neighboring frames
    return keras.Model(clip, layers.ReLU(name="relu")(x))


def test_a_backbone_that_sees_clips(rng, monkeypatch, tmp_path):
    entry = dataclasses.replace(
        BACKBONES["tiny"],
        network=_clip_network,
        endpoints={
            "convolved": Endpoint("convolved", 4),
            "mixed": Endpoint("mixed", 5),
            "relu": Endpoint("relu", 5),
            "pooled": Endpoint("pooled", 5),
        },
        per_frame=False,
    )
    monkeypatch.setitem(BACKBONES, "tiny", entry)
    path = tmp_path / "clip.weights.h5"
    video = rng.integers(0, 256, (2, 3, 9, 13, 3), dtype="uint8")
    inputs, pooled = features_input("tiny", (None, 9, 13, 3), endpoint="pooled")
    model = keras.Model(inputs, pooled)
    assert model.get_layer("backbone").name == "backbone" and pooled.shape == (None, None, 5)
    model.get_layer("backbone").save_weights(path)
    maps = build_backbone("tiny", (9, 13), path, "relu")(video)
    assert maps.shape == (2, 3, 4, 6, 5)
    assert_close(model({"video": video}), ops.mean(maps, (2, 3)))
    changed = video.copy()
    changed[:, 0] = 255 - changed[:, 0]
    moved = np.abs(ops.subtract(model({"video": video}), model({"video": changed}))).max((0, 2))
    assert moved[1] > 0 and moved[2] == 0, "a frame is seen by its neighbors"
    joined = build_backbone("tiny", (9, 13), path, "convolved+mixed")
    assert joined(video).shape == (2, 3, 4, 6, 9)

    before = build_backbone("tiny", (9, 13), path, "mixed")(video)
    tail = backbone_tail("tiny", "mixed", (4, 6), path)
    assert_close(tail(before[:, 1]), ops.mean(ops.relu(before[:, 1]), (1, 2)))


def test_any_number_of_frames(rng):
    inputs, pooled = features_input("tiny", (None, 32, 40, 3), endpoint="pooled")
    model = keras.Model(inputs, pooled)
    video = rng.integers(0, 256, (1, 250, 32, 40, 3), dtype="uint8")  # ten crops of 25 frames
    vectors = model({"video": video})
    assert vectors.shape == (1, 250, 48)
    assert_close(vectors[:, -1:], model({"video": video[:, -1:]}))


@pytest.mark.parametrize(
    "endpoint, message",
    [
        ("mixed10", "one of conv_1, conv_2, conv_3, maps, pooled, or maps.*got 'mixed10'"),
        ("conv_1+", ".*got 'conv_1\\+'"),
        ("conv_1+pooled", ".*maps of these joined by '\\+', got 'conv_1\\+pooled'"),
    ],
)
def test_endpoints_that_do_not_exist(endpoint, message):
    for function in (build_backbone, endpoint_channels):
        with pytest.raises(ValueError, match=f"endpoint of tiny must be {message}"):
            function("tiny", endpoint=endpoint)


@pytest.mark.parametrize("endpoint", ["pooled", "conv_1+conv_2", "mixed10", None])
def test_a_tail_follows_one_map(endpoint):
    with pytest.raises(ValueError, match="endpoint of tiny must be one of conv_1, conv_2, conv_3"):
        backbone_tail("tiny", endpoint, (8, 8))


@pytest.mark.parametrize("name", PLAIN)
def test_the_cache_derives_what_the_network_has(name):
    """An activation is the ReLU of the map that is stored, and the mean is of the last map."""
    entry, whole = BACKBONES[name], network(name)
    for endpoint, (layer, _, _, source, ceiling) in entry.endpoints.items():
        if source:
            activation = whole.get_layer(layer)
            assert activation.input is whole.get_layer(entry.endpoints[source].layer).output
            limit = getattr(activation, "max_value", None)
            assert ceiling == (math.inf if limit is None else limit)
            assert np.max(activation(np.float32([[[[-9, 9]]]]))) == min(9, ceiling)
            assert np.min(activation(np.float32([[[[-9, 9]]]]))) == 0
            assert cached_maps(name, endpoint) == ((source, "", ceiling),)
        elif layer == "pooled":
            last = entry.endpoints[entry.maps[-1]]
            assert whole.output is getattr(whole.get_layer(last.layer), last.side)
            assert mean_of(name, endpoint) == cached_maps(name, entry.maps[-1])[0]
        else:
            assert cached_maps(name, endpoint) == ((endpoint, "", None),)
    first, *_, last = entry.pyramid
    assert [one.name for one in cached_maps(name, f"{first}+{last}")] == [f"{first}@{last}", last]
