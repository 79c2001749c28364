"""AttentionFusionNetwork on frames: two backbones, cached features, files, and what is refused."""

import keras
import numpy as np
import pytest
from checks import QUICK, assert_close, numpy, tensorflow_is_enough

from keras_attn.backbones import build_backbone
from keras_attn.models import AttentionFusionNetwork, PyramidAttentionNetwork, swap_input

LEVELS = ("conv_1", "conv_3")
VIDEO = dict(num_classes=5, input_shape=(3, 32, 48, 7), levels=LEVELS, backbone="tiny")
CACHED = dict(VIDEO, input_shape=(3, 4, 6, 64), cached=True)


def _scrambled(rng, **arguments):
    model = AttentionFusionNetwork(**VIDEO | arguments)
    model.set_weights([rng.normal(size=w.shape) / 3 for w in model.weights])
    return model


def _video(rng):
    return {"video": rng.integers(0, 256, (2, 3, 32, 48, 7), dtype="uint8")}


def _answer(model, inputs):
    """Without compiling: each of these models is called once."""
    return {name: numpy(output) for name, output in model(inputs, training=False).items()}


@tensorflow_is_enough
def test_frames_and_cached_features_answer_alike(rng):
    """The features are those of one model for both streams: what is cached and exported."""
    model = _scrambled(rng)
    video = _video(rng)
    endpoint = AttentionFusionNetwork.endpoint("tiny", VIDEO)
    backbone = build_backbone("tiny", (32, 48), endpoint=endpoint, channels=7)
    backbone.set_weights(model.image_network.get_weights())
    assert model.per_frame and model.backbone_parts[0] is model.image_network
    features = numpy(backbone(video["video"].reshape(6, 32, 48, 7))).reshape(2, 3, 4, 6, 64)
    cached = swap_input(model, "tiny", (3, 4, 6, 64), cached=True)
    expected = _answer(model, video)
    assert_close(_answer(cached, {"features": features}), expected)

    back = swap_input(cached, "tiny", (3, 32, 48, 7))
    assert back.get_config() == model.get_config()
    back.image_network.set_weights(model.image_network.get_weights())
    assert_close(back.get_weights(), model.get_weights())


def test_attention_over_the_vectors_of_both_streams(rng):
    """Fully connected, table 1."""
    model = AttentionFusionNetwork(**CACHED | dict(input_shape=(3, 96), levels=("pooled",)))
    found = _answer(model, {"features": rng.normal(size=(2, 3, 96)).astype("float32")})
    assert found["spatial_attention"].shape == (2, 3, 1, 1)
    assert_close(found["stream_attention"].sum(1), np.ones(2))


def test_a_saved_model_answers_alike(rng, tmp_path):
    model = _scrambled(rng, input_shape=(None, 32, 48, 7))
    video = _video(rng)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert loaded.get_config() == model.get_config()
    assert_close(_answer(loaded, video), _answer(model, video))


def test_both_backbones_learn_and_start_from_the_weights_of_rgb(rng, tmp_path):
    build_backbone("tiny", 32).save_weights(tmp_path / "rgb.weights.h5")
    path = tmp_path / "rgb.weights.h5"
    model = AttentionFusionNetwork(**VIDEO, backbone_weights=path)
    streams = [model.image_network.get_layer(name) for name in ("rgb", "flow")]
    rgb, flow = ([numpy(w) for w in stream.weights] for stream in streams)
    assert_close(flow[0], np.repeat(rgb[0].mean(2, keepdims=True), 4, axis=2))
    assert_close(flow[1:], rgb[1:], atol=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, **QUICK)
    model.train_on_batch(_video(rng), np.array([1, 4]))
    for stream, before in zip(streams, (rgb, flow), strict=True):
        assert all(np.any(numpy(w) != v) for w, v in zip(stream.weights, before, strict=True))
    assert np.any(numpy(streams[0].weights[-1]) != numpy(streams[1].weights[-1]))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"input_shape": (3, 32, 48, 3)}, r"\(T, H, W, 3 \+ 2L\) of a video of RGB and flow, got"),
        ({"input_shape": (3, 32, 48, 10)}, r"\(T, H, W, 3 \+ 2L\)"),
        ({"input_shape": (3, 32, 48)}, r"input_shape must be \(T, H, W, 3 \+ 2L\)"),
        (CACHED | {"input_shape": (3, 4, 6, 32)}, r"\(T, h, w, 64\) of cached .*, of 2 streams"),
        ({"backbone": "resnet_50_reinforced", "levels": None}, "backbone must see one stream"),
    ],
)
def test_what_is_not_two_streams(arguments, message):
    with pytest.raises(ValueError, match=message):
        AttentionFusionNetwork(**VIDEO | arguments)


@pytest.mark.parametrize(
    "backbone, channels, message",
    [
        ("tiny", 7, r"input_shape must be \(T, H, W, 3\) of a video, got"),
        ("mobilenet_v2_reinforced", 3, r"input_shape must be \(T, H, W, 3 \+ 2L\) of a video of"),
    ],
)
def test_one_stream_is_not_two(backbone, channels, message):
    with pytest.raises(ValueError, match=message):
        PyramidAttentionNetwork(5, (3, 32, 32, channels), backbone=backbone)
