"""Frozen layers stay frozen, and dtype policies what they are: saved, loaded, copied, swapped."""

import keras
import numpy as np
import pytest
from checks import CROSS_ENTROPY, numpy, tensorflow_is_enough

from keras_attn.models import MODELS, swap_input

# Arguments from frames, and whether the paper's backbone learns.
CASES = {
    "structured_attention": (dict(input_shape=(3, 16, 24, 3), units=4, stride=1), False),
    "sta_cnn": (dict(input_shape=(3, 16, 24, 3), groups=3), True),
    "temporal_attention": (dict(input_shape=(3, 16, 24, 3), units=4, iterations=2, last=1), False),
    "where_and_when": (dict(input_shape=(3, 16, 24, 3), units=4, attention_units=3), False),
    "pyramid_attention": (dict(input_shape=(3, 16, 24, 3), levels=["conv_1", "conv_2"]), True),
    "attention_fusion": (dict(input_shape=(2, 16, 24, 7), levels=["conv_2"]), True),
    "frame_classifier": (dict(input_shape=(3, 16, 24, 3)), True),
}


def _built(name, **more):
    return MODELS[name](3, backbone="tiny", **CASES[name][0], **more)


def _trainable(model):
    return [w.name for w in model.weights if any(w is v for v in model.trainable_weights)]


def _state(model):
    return [numpy(v) for v in (*model.trainable_variables, *model.optimizer.variables)]


def _policies(model):
    return [layer.dtype_policy.name for layer in model._flatten_layers()]


@pytest.mark.parametrize("name", MODELS)
@tensorflow_is_enough
def test_freezing_and_dtype_survive_a_file_with_the_state_of_the_optimizer(name, rng, tmp_path):
    learns = CASES[name][1]
    assert all(bool(part.trainable_weights) == learns for part in _built(name).backbone_parts)
    model = _built(name, train_backbone=not learns, dtype="mixed_bfloat16")
    assert keras.config.dtype_policy().name == "float32"  # only its layers have the other
    policies = _policies(model)
    assert policies[0] == "mixed_bfloat16" and policies.count("float32") < len(policies) / 2
    assert all(bool(part.trainable_weights) != learns for part in model.backbone_parts)
    classifier = model.get_layer("segments").layer if name == "sta_cnn" else model
    if name != "frame_classifier":  # it has no other layer that could still learn
        classifier.get_layer("classifier").trainable = False  # any layer, by hand
    model.compile("adam", CROSS_ENTROPY(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    gradients = [rng.normal(size=v.shape).astype("float32") for v in model.trainable_variables]
    model.optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert _trainable(loaded) == _trainable(model)
    assert int(loaded.optimizer.iterations) == 1
    for value, expected in zip(_state(loaded), _state(model), strict=True):
        np.testing.assert_array_equal(value, expected)
    copy = type(model).from_config(model.get_config())
    assert _trainable(copy) == _trainable(model)
    assert _policies(copy) == _policies(loaded) == policies


def test_single_layers_of_a_backbone_stay_frozen_in_another_input():
    model = _built("structured_attention", train_backbone=True)
    model.image_network.get_layer("conv_2").trainable = False
    model.get_layer("attended_lstm").trainable = False
    longer = swap_input(model, "tiny", (5, 16, 24, 3))
    assert _trainable(longer) == _trainable(model)
    cached = swap_input(model, None, (3, 2, 3, 48))
    assert _trainable(cached) == ["kernel"]  # of the classifier
    back = swap_input(cached, "tiny", (3, 16, 24, 3))
    assert len(_trainable(back)) == len(_trainable(model)) + 2  # conv_2 learns again, as was asked
