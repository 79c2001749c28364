"""What a copy of a model keeps: its dtype policy, and its objective, or it is refused."""

import keras
import numpy as np
import pytest
from checks import QUICK, answer, tensorflow_is_enough

from keras_attn.models import STACNN, StructuredAttentionLSTM, swap_input


def _policies(model):
    return [layer.dtype_policy.name for layer in model._flatten_layers()]


@tensorflow_is_enough
def test_the_global_policy_is_saved_and_another_can_be_asked_for(policy, rng):
    policy("mixed_float16")
    model = STACNN(3, (3, 2, 2, 4))
    policy("float32")
    copy = STACNN.from_config(model.get_config())
    assert _policies(copy) == _policies(model)
    other = STACNN.from_config({**model.get_config(), "dtype": "float32"})
    assert set(_policies(other)) == {"float32"}
    other.set_weights(model.get_weights())
    features = {"features": rng.normal(size=(2, 3, 2, 2, 4)).astype("float32")}
    np.testing.assert_allclose(
        answer(other, features)["logits"], answer(model, features)["logits"], atol=5e-3
    )


@tensorflow_is_enough
def test_another_input_keeps_the_dtype():
    model = StructuredAttentionLSTM(3, (3, 16, 32, 3), backbone="tiny", dtype="mixed_bfloat16")
    cached = swap_input(model, None, (3, 2, 4, 48))
    assert cached.dtype_policy.name == "mixed_bfloat16"
    assert cached.get_layer("attended_lstm").compute_dtype == "bfloat16"


def test_a_clone_without_the_objective_is_refused():
    model = STACNN(3, (3, 2, 2, 4))
    model.compile("adam", **QUICK)
    with pytest.raises(TypeError, match="without its objective.*from_config.model.get_config"):
        keras.models.clone_model(model)
