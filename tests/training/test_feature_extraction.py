"""Features are the backbone's answers, computed once, added to, never of another backbone."""

import dataclasses
import shutil

import keras
import numpy as np
import pytest
from extracting import FOLDER, MAPS, contents, extract, pictures_of, read_all
from small import SMALL

import keras_attn
from keras_attn.backbones import build_backbone
from keras_attn.backbones.caching import cached_maps
from keras_attn.data import batches
from keras_attn.data.features import FeatureFolder, weights_file_hash
from keras_attn.data.source import open_source, stream_videos
from keras_attn.data.streams import RGB
from keras_attn.datasets import tables
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.training import backbone_outputs, feature_extraction, feature_pass
from keras_attn.utils.files import locked, read_json


@pytest.fixture
def data(tiny_data, tmp_path):
    return shutil.copytree(tiny_data, tmp_path / "data")


@pytest.fixture
def no_backbone(monkeypatch):
    """A function after whose call no backbone can be built."""

    def forbid():
        monkeypatch.setattr(feature_pass, "build_maps", None)
        monkeypatch.setattr(feature_pass, "whole_network", None)

    return forbid


def test_features_are_the_backbone_on_each_frame(tiny_features):
    folder = tiny_features / FOLDER
    backbone = build_backbone("tiny", 32, folder / "backbone.weights.h5")
    provenance = read_json(folder / "provenance.json")
    assert provenance["weights_sha256"] == weights_file_hash(folder / "backbone.weights.h5")
    assert (provenance["backbone"], provenance["size"]) == ("tiny", 32)
    assert provenance["weights"] is None and provenance["records"]["quality"] == 95
    videos = stream_videos(tiny_features, RGB)
    _, index = zip(*tables.read_table(folder / "maps/index.csv", ("id",), ""), strict=True)
    assert [row["id"] for row in index] == [video.id for video in videos]
    for video in videos[::7]:
        found = read_all(tiny_features, "maps", video)
        assert found.shape == (12, 4, 4, 48) and found.dtype == np.float16
        expected = backbone.predict(pictures_of(video), verbose=0)
        np.testing.assert_allclose(found, expected, atol=5e-3)


def test_endpoints_of_one_pass_are_those_of_the_backbone(data, no_backbone, monkeypatch):
    """Three recipes: a joined endpoint, a map that it has too, and a mean."""
    recipes = {
        "joined": dataclasses.replace(SMALL, model="pyramid_attention", arguments={}),
        "pooled": dataclasses.replace(SMALL, model="temporal_attention", arguments={}),
        "maps": SMALL,
    }
    monkeypatch.setattr(feature_extraction, "RECIPES", recipes)
    summary = keras_attn.features(data, recipe=list(recipes), weights=None)
    names = {"conv_1@conv_3", "conv_2@conv_3", "conv_3", "pooled", "maps"}
    assert summary.maps.keys() == names and (summary.written, summary.positions) == (24, 288)
    assert set(summary.maps.values()) == {(4, 4, 16), (4, 4, 32), (48,), (4, 4, 48)}
    no_backbone()
    for name in recipes:
        again = keras_attn.features(data, recipe=name, weights=None)
        assert (again.written, again.kept) == (0, 24)
    assert keras_attn.features(data, recipe=list(recipes), weights=None).written == 0
    video = stream_videos(data, RGB)[5]
    for recipe in recipes.values():
        path = data / FOLDER / "backbone.weights.h5"
        backbone = build_backbone("tiny", 32, path, recipe.endpoint)
        expected = backbone.predict(pictures_of(video), verbose=0)
        np.testing.assert_allclose(read_all(data, recipe.endpoint, video), expected, atol=5e-3)
        assert open_source(data, recipe).feature_shape == expected.shape[1:]


def test_an_activation_is_read_from_the_map_before_it(data, no_backbone):
    """MobileNetV2 ends in ReLU6; a mean over cells is made of the map that is there."""
    some = {"backbone": "mobilenet_v2", "size": 64}
    tables.write_manifest(data, tables.read_manifest(data)[:2])
    extract(data, endpoint="conv_1", **some)
    no_backbone()
    assert extract(data, endpoint="out_relu", **some).written == 0
    assert extract(data, endpoint="pooled", **some).written == 2
    assert extract(data, endpoint="pooled", **some).written == 0
    folder, video = FeatureFolder(data, "mobilenet_v2", 64), stream_videos(data, RGB, ())[1]
    jpegs = batches.encoded_frames(video.path)
    pictures = np.stack([batches.picture(jpeg, 64, 64) for jpeg in jpegs])
    for endpoint in ("out_relu", "pooled"):
        maps = cached_maps("mobilenet_v2", endpoint)
        path = folder.map_store(maps[-1].name).path(video.id)
        found = folder.reader(maps).read(path, np.arange(12), 12)
        backbone = build_backbone("mobilenet_v2", 64, folder.weights_path, endpoint)
        expected = backbone.predict(pictures, verbose=0)
        np.testing.assert_allclose(found, expected, atol=5e-3)
        assert found.min() >= 0


def test_batches_of_any_size_give_the_same(data):
    summary = extract(data, batch_size=5)
    assert (summary.written, summary.kept, summary.positions) == (24, 0, 288)
    assert summary.lines()[0] == "24 videos = 24 written + 0 kept"
    assert summary.as_dict()["maps"] == {"maps": [4, 4, 48]}
    first = contents(data)
    shutil.rmtree(data / "features")
    extract(data, batch_size=32)
    for name, content in contents(data).items():
        x, y = (np.frombuffer(c[128:-48], "f2") for c in (content, first[name]))
        np.testing.assert_allclose(x, y, atol=2e-3)


def test_a_stopped_extraction_goes_on(data):
    done = []

    def stop(number, total, text):
        done.append((number, total))
        if number == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(data, progress=stop)
    assert done == [(n, 24) for n in range(8)]
    before = contents(data)
    assert len(before) == 7
    summary = extract(data)
    assert (summary.written, summary.kept) == (17, 7)
    assert {name: contents(data)[name] for name in before} == before
    assert extract(data).written == 0
    next((data / MAPS).glob("left*.npy")).write_bytes(b"damaged")
    assert extract(data).written == 1


def test_one_process_writes_and_removes_what_killed_ones_left(data):
    extract(data)
    folder = data / FOLDER
    (folder / ".0123abcd-left.npy").write_bytes(b"half")
    with locked(folder), pytest.raises(UserError, match="another process writes features there"):
        extract(data)
    assert (folder / ".0123abcd-left.npy").exists()
    assert extract(data).kept == 24
    assert not (folder / ".0123abcd-left.npy").exists()


def test_a_damaged_record_is_named_and_nothing_is_made_of_it(data):
    path = next((data / "records").glob("left*.record"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name}: .* of left/.* is damaged.*prepare"):
        extract(data)
    assert contents(data) == {}


def test_features_without_an_index_entry_are_made_again(data):
    extract(data)
    (data / MAPS / "index.csv").unlink()
    assert extract(data).written == 24


def test_another_backbone_is_refused_with_both_hashes(data, tmp_path):
    extract(data)
    keras.utils.set_random_seed(5)
    other = build_backbone("tiny", 32)
    other.save_weights(tmp_path / "other.weights.h5")
    path = str(tmp_path / "other.weights.h5")
    with pytest.raises(DataError, match="weights_file_sha256 is None, expected '[0-9a-f]{64}'"):
        extract(data, weights=path)
    assert extract(data).kept == 24
    shutil.rmtree(data / "features")
    assert extract(data, weights=path).written == 24
    with pytest.raises(DataError, match="weights is '.*other.weights.h5', expected None"):
        extract(data)
    moved = shutil.copy(path, tmp_path / "moved.weights.h5")
    assert extract(data, weights=str(moved)).kept == 24
    used = data / FOLDER / "backbone.weights.h5"
    whole = used.read_bytes()
    used.write_bytes(whole[:-1])
    assert extract(data, weights=str(moved)).kept == 24  # the file is put back
    assert weights_file_hash(used) == weights_file_hash(path)


def test_mistakes(data):
    with pytest.raises(UsageError, match="no backbone 'vgg'; there are .*inception_v3"):
        keras_attn.features(data, backbone="vgg")
    with pytest.raises(UsageError, match="tsm_resnet_50: sees the frames of a clip together"):
        keras_attn.features(data, backbone="tsm_resnet_50")
    for name, value, message in (
        ("batch_size", 0, "`batch_size` must be at least 1, got 0"),
        ("size", 0, "size must be at least 1 pixels for tiny, got 0"),
        ("endpoint", "conv", "endpoint of tiny must be one of conv_1, .* got 'conv'"),
    ):
        with pytest.raises(UsageError, match=message):
            extract(data, **{name: value})
    shutil.rmtree(data / "records")
    with pytest.raises(DataError, match="keras-attn prepare"):
        extract(data)
    assert not (data / "features").exists()


def test_batches_go_from_one_video_into_the_next(data):
    sizes = []

    class Model:
        def predict_on_batch(self, pictures):
            sizes.append(len(pictures))
            return [np.asarray(pictures)]

    videos, positions = stream_videos(data, RGB)[:2], [np.arange(12), np.array([1, 5, 11])]
    positions = [some.astype("int32") for some in positions]
    found = list(backbone_outputs.computed(Model(), videos, positions, 32, RGB, 5))
    assert sizes == [5, 5, 5]
    assert [(n, len(maps)) for n, (maps,) in found] == [(0, 5), (0, 5), (0, 2), (1, 3)]
    np.testing.assert_allclose(found[-1][1][0], pictures_of(videos[1])[[1, 5, 11]], atol=1e-3)


@pytest.mark.parametrize(
    "options, stream",
    [
        ({"recipe": "pyramid_attention_mobilenet"}, ("rgb", "tvl1", 1)),
        ({"recipe": "pyramid_attention_mobilenet", "input": "flow"}, ("flow", "tvl1", 5)),
        ({"recipe": "attention_fusion_mobilenet"}, ("rgb_and_flow", "tvl1", 5)),
        ({"input": "flow"}, ("flow", "tvl1", 5)),
        (
            {"input": "warped_flow", "snippet": 3, "flow_method": "dis"},
            ("warped_flow", "dis", 3),
        ),
    ],
)
def test_what_features_are_made_of(monkeypatch, options, stream):
    class Made(Exception):
        pass

    def folder(data, backbone, size, stream, endpoint):
        raise Made(backbone, size, stream, endpoint)

    monkeypatch.setattr(feature_extraction, "FeatureFolder", folder)
    with pytest.raises(Made) as caught:
        keras_attn.features("data", **options)
    backbone, size, found, endpoint = caught.value.args
    assert (found.input, found.flow_method, found.snippet) == stream
    if "recipe" in options:
        assert (backbone, size, endpoint[:7]) == (backbone, 256, "block_1")
    else:
        assert (backbone, size, endpoint) == ("inception_v3", 299, "mixed10")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"snippet": 0}, "`snippet` must be at least 1, got 0"),
        ({"snippet": 2}, "`snippet` 2 needs `input` flow"),
        ({"recipe": "x"}, "no recipe 'x'; there are structured_attention"),
        ({"recipe": "structured_attention_tiny"}, "reads frames .* give `backbone`, `endpoint`"),
        ({"recipe": ["where_and_when", "where_and_when_mobilenet"]}, "where_and_when and where_"),
    ],
)
def test_what_cannot_be_meant(options, message):
    with pytest.raises(UsageError, match=message):
        keras_attn.features("data", **options)
