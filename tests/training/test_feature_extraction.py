"""Features are the backbone's answers, made once, taken up again, never of another backbone."""

import shutil

import keras
import numpy as np
import pytest

import keras_attn
from keras_attn.backbones import build_backbone, weights_hash
from keras_attn.data import batches, records
from keras_attn.data.features import FeatureStore
from keras_attn.data.source import stream_videos
from keras_attn.data.streams import RGB
from keras_attn.datasets import tables
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.training import feature_extraction
from keras_attn.utils.files import locked, read_json


@pytest.fixture
def data(tiny_data, tmp_path):
    return shutil.copytree(tiny_data, tmp_path / "data")


def contents(data):
    return {p.name: p.read_bytes() for p in (data / "features" / "tiny-32-maps").glob("*.npy")}


def extract(data, **options):
    return keras_attn.features(data, "tiny", **{"weights": None, "size": 32, **options})


def test_features_are_the_backbone_on_each_frame(tiny_features):
    folder = tiny_features / "features" / "tiny-32-maps"
    backbone = build_backbone("tiny", 32)
    backbone.load_weights(folder / "backbone.weights.h5")
    provenance = read_json(folder / "provenance.json")
    assert provenance["weights_sha256"] == weights_hash(backbone)
    assert (provenance["backbone"], provenance["size"]) == ("tiny", 32)
    assert provenance["shape"][:2] == [4, 4] and provenance["records"]["quality"] == 95
    rows = records.read_index(tiny_features)
    _, index = zip(*tables.read_table(folder / "index.csv", ("id", "file"), ""), strict=True)
    assert [row["id"] for row in index] == [row.id for row in rows]
    for row, entry in list(zip(rows, index, strict=True))[::7]:
        jpegs = batches.encoded_frames(row.path)
        pictures = np.stack([batches.picture(jpeg, 32, 32) for jpeg in jpegs])
        found = np.load(folder / entry["file"])
        assert found.shape == (12, *provenance["shape"]) and found.dtype == np.float16
        np.testing.assert_allclose(found, backbone.predict(pictures, verbose=0), atol=5e-3)


def test_batches_of_any_size_give_the_same(data):
    summary = extract(data, batch_size=5)
    assert (summary.written, summary.kept, summary.frames) == (24, 0, 288)
    assert summary.lines()[0] == "24 videos = 24 written + 0 kept"
    assert summary.as_dict()["shape"][:2] == [4, 4]
    first = contents(data)
    shutil.rmtree(data / "features")
    extract(data, batch_size=32)
    for name, content in contents(data).items():
        x, y = (np.frombuffer(c[128:], "f2") for c in (content, first[name]))
        np.testing.assert_allclose(x, y, atol=2e-3)


def test_features_at_each_endpoint_lie_beside_each_other(data):
    for endpoint, shape in (("pooled", (48,)), ("conv_2+maps", (4, 4, 80))):
        summary = extract(data, endpoint=endpoint)
        assert (summary.shape, summary.written) == (shape, 24)
        assert summary.folder.name == f"tiny-32-{endpoint}"
        store = FeatureStore(data, "tiny", 32, endpoint)
        assert store.check({"endpoint": endpoint})["shape"] == list(shape)
        for path in list(summary.folder.glob("*.npy"))[::9]:
            assert np.load(path).shape == (12, *shape)
    missing = FeatureStore(data, "tiny", 32, "conv_1")
    with pytest.raises(DataError, match="--backbone tiny --size 32 --endpoint conv_1"):
        missing.check({})


def test_a_stopped_extraction_goes_on(data):
    done = []

    def stop(number, total, text):
        done.append((number, total))
        if number == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(data, progress=stop)
    assert done == [(n, 24) for n in range(1, 8)]
    before = contents(data)
    assert len(before) == 7
    summary = extract(data)
    assert (summary.written, summary.kept) == (17, 7)
    assert {name: contents(data)[name] for name in before} == before
    assert extract(data).written == 0
    next((data / "features" / "tiny-32-maps").glob("left*.npy")).write_bytes(b"damaged")
    assert extract(data).written == 1


def test_one_process_writes_and_removes_what_killed_ones_left(data):
    extract(data)
    folder = data / "features" / "tiny-32-maps"
    (folder / ".0123abcd-left.npy").write_bytes(b"half")
    with locked(folder), pytest.raises(UserError, match="another process makes these features"):
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
    (data / "features" / "tiny-32-maps" / "index.csv").unlink()
    assert extract(data).written == 24


def test_another_backbone_is_refused_with_both_hashes(data, tmp_path):
    extract(data)
    keras.utils.set_random_seed(5)
    other = build_backbone("tiny", 32)
    other.save_weights(tmp_path / "other.weights.h5")
    old = read_json(data / "features" / "tiny-32-maps" / "provenance.json")["weights_sha256"]
    with pytest.raises(DataError) as caught:
        extract(data, weights=str(tmp_path / "other.weights.h5"))
    assert f"weights_sha256 is {old!r}, expected {weights_hash(other)!r}" in str(caught.value)
    assert extract(data).kept == 24


def test_mistakes(data):
    with pytest.raises(UsageError, match="no backbone 'vgg'; there are .*inception_v3"):
        keras_attn.features(data, "vgg")
    with pytest.raises(UsageError, match="tsm_resnet_50: sees the frames of a clip together"):
        keras_attn.features(data, "tsm_resnet_50")
    for name, value, message in (
        ("batch_size", 0, "batch_size must be at least 1, got 0"),
        ("size", 0, "size must be at least 1 pixels for tiny, got 0"),
        ("endpoint", "conv", "endpoint of tiny must be one of conv_1, .* got 'conv'"),
    ):
        with pytest.raises(UsageError, match=message):
            extract(data, **{name: value})
    shutil.rmtree(data / "records")
    with pytest.raises(DataError, match="keras-attn prepare"):
        extract(data)
    assert not (data / "features").exists()


def test_the_last_piece_is_filled_up(data):
    sizes = []

    class Model:
        def predict_on_batch(self, pictures):
            sizes.append(len(pictures))
            return np.asarray(pictures)

    video = stream_videos(data, RGB)[0]
    pieces = list(feature_extraction.maps(Model(), video, 32, RGB, 5))
    assert sizes == [5, 5, 5] and [len(piece) for piece in pieces] == [5, 5, 2]
