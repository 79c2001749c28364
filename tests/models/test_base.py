"""Two kinds of input for one model, and what a saved model needs to be read again."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from checks import BACKEND, JIT, QUICK, answer, assert_close

from keras_attn.backbones import weights_hash
from keras_attn.models import StructuredAttentionLSTM, swap_input

VIDEO = dict(
    num_classes=5, input_shape=(3, 32, 48, 3), units=8, attention="concentrated", backbone="tiny"
)


def _video(rng, clips=2, time=3):
    return {"video": rng.integers(0, 256, (clips, time, 32, 48, 3), dtype="uint8")}


def _scramble(model, rng):
    model.set_weights([rng.normal(size=w.shape) / 3 for w in model.weights])
    return model


def test_features_and_video_answer_alike(rng, tmp_path):
    model = _scramble(StructuredAttentionLSTM(**VIDEO), rng)
    video = _video(rng)
    expected = answer(model, video)
    cached = swap_input(model, None, (3, 4, 6, 48))
    maps = model.get_layer("backbone")(video["video"])
    features = {"features": keras.ops.convert_to_numpy(maps)}
    assert_close(answer(cached, features), expected)

    model.get_layer("backbone").layer.save_weights(tmp_path / "tiny.weights.h5")
    file = tmp_path / "tiny.weights.h5"
    back = swap_input(cached, "tiny", (3, 32, 48, 3), backbone_weights=file)
    assert_close(answer(back, video), expected)
    assert back.get_config() == model.get_config()


def test_another_number_of_frames_keeps_the_backbone(rng):
    model = _scramble(StructuredAttentionLSTM(**VIDEO), rng)
    longer = swap_input(model, "tiny", (None, 32, 48, 3))
    assert weights_hash(longer) == weights_hash(model)
    video = _video(rng)
    assert_close(answer(longer, video), answer(model, video))
    assert answer(longer, _video(rng, time=5))["step_logits"].shape == (2, 5, 5)


def test_swaps_that_do_not_fit_say_so():
    model = StructuredAttentionLSTM(**VIDEO)
    with pytest.raises(ValueError, match="does not fit the weights of layer 'attended_lstm'"):
        swap_input(model, None, (3, 4, 8, 48))


def test_gradients_reach_the_backbone(rng):
    model = StructuredAttentionLSTM(**VIDEO)
    before = weights_hash(model.get_layer("backbone"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for frozen in (True, False):
        model.get_layer("backbone").trainable = not frozen
        model.compile("adam", loss, metrics=["accuracy"], **QUICK)
        model.train_on_batch(_video(rng), np.array([1, 4]))
        assert (weights_hash(model.get_layer("backbone")) == before) == frozen


def test_a_saved_model_loads_in_a_fresh_process(rng, tmp_path):
    weights = tmp_path / "tiny.weights.h5"
    StructuredAttentionLSTM(**VIDEO).get_layer("backbone").layer.save_weights(weights)
    model = _scramble(StructuredAttentionLSTM(**VIDEO, backbone_weights=weights), rng)
    weights.unlink()
    assert "backbone_weights" not in model.get_config()
    video = _video(rng)
    np.save(tmp_path / "video.npy", video["video"])
    model.save(tmp_path / "model.keras")
    code = (
        "import keras, numpy as np, keras_attn.models, sys; folder = sys.argv[1]\n"
        "model = keras.models.load_model(folder + '/model.keras')\n"
        f"model.compile(jit_compile={JIT})\n"
        "outputs = model.predict({'video': np.load(folder + '/video.npy')}, verbose=0)\n"
        "np.savez(folder + '/outputs.npz', **outputs)"
    )
    environment = {**os.environ, "KERAS_BACKEND": BACKEND}
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, env=environment, timeout=120
    )
    with np.load(tmp_path / "outputs.npz") as outputs:
        assert_close(dict(outputs), answer(model, video))


def test_weights_alone_save_and_load(rng, tmp_path):
    model = _scramble(StructuredAttentionLSTM(**VIDEO), rng)
    model.save_weights(tmp_path / "model.weights.h5")
    copy = StructuredAttentionLSTM(**VIDEO)
    copy.load_weights(tmp_path / "model.weights.h5")
    assert weights_hash(copy) == weights_hash(model)
    video = _video(rng, clips=3)
    one_by_one = copy.predict(video, batch_size=1, verbose=0)
    assert_close(one_by_one, answer(model, video))
