"""Terms of the objective inside functional models of a user's own."""

import keras
import numpy as np
import pytest
from checks import assert_close

from keras_attn import layers, losses

REGULARIZER = losses.AttentionRegularizer("block_sparsity", 0.5, {"block": 3})


@keras.saving.register_keras_serializable("keras_attn_tests")
def spread(weights, power=2):
    return keras.ops.mean(weights**power)


@keras.saving.register_keras_serializable("keras_attn_tests")
def unreduced(weights):
    return weights


def classifier(penalty=None, regularizer=None):
    features = keras.Input((2, 4, 5, 3))
    lstm = layers.AttendedLSTM(3, attention_regularizer=regularizer, name="lstm")
    hidden, weights = lstm(features)
    if penalty is not None:
        weights = penalty(weights)
    logits = keras.layers.Dense(2)(hidden[:, -1])
    return keras.Model(features, {"logits": logits, "weights": weights})


@pytest.mark.parametrize("kind", ["layer", "argument"])
def test_counts_once_in_the_loss_of_a_users_model_and_trains_it(rng, tmp_path, kind):
    penalty = layers.Penalty("block_sparsity", 0.5, {"block": 3})
    model = classifier(penalty) if kind == "layer" else classifier(regularizer=REGULARIZER)
    features, labels = rng.random((4, 2, 4, 5, 3), dtype="float32"), np.array([0, 1, 1, 0])
    keras_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for loaded in (False, True):
        outputs = model(features)
        term = 0.5 * losses.block_sparsity(outputs["weights"], block=3)
        assert_close(sum(model.losses), term)
        model.compile("sgd", loss={"logits": keras_loss})
        found = model.evaluate(features, {"logits": labels}, verbose=0)
        found = found[0] if isinstance(found, list) else found
        assert_close(found, keras_loss(labels, outputs["logits"]) + term, atol=1e-5)
        if not loaded:
            model.save(tmp_path / "model.keras")
            model = keras.models.load_model(tmp_path / "model.keras")
    before = model.get_layer("lstm").rnn.cell.attention.get_weights()[0]
    nothing = {"logits": np.zeros(4, "float32")}  # so that the term alone trains
    model.fit(features, {"logits": labels}, sample_weight=nothing, verbose=0)
    assert np.any(model.get_layer("lstm").rnn.cell.attention.get_weights()[0] != before)


def test_inputs_pass_unchanged_under_mixed_precision_and_several_are_arguments(rng):
    layer = layers.Penalty(losses.interaction, 2, {"reduction": "mean"}, dtype="mixed_float16")
    inputs = [rng.random((2, 5, 4), dtype="float32"), rng.random((2, 5, 3), dtype="float32")]
    outputs = layer(inputs)
    for output, value in zip(outputs, inputs, strict=True):
        assert keras.backend.standardize_dtype(output.dtype) == "float32"
        assert_close(output, value, atol=0)
    assert_close(layer.losses[0], 2 * losses.interaction(*inputs, reduction="mean"))
    copy = layers.Penalty.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()


def test_a_registered_function_is_saved(rng, tmp_path):
    model = classifier(layers.Penalty(spread, 3.0, {"power": 3}))
    model.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    outputs = model(rng.random((2, 2, 4, 5, 3), dtype="float32"))
    assert_close(sum(model.losses), 3 * keras.ops.mean(outputs["weights"] ** 3))


def test_what_cannot_be_saved_or_added_is_refused_in_words():
    with pytest.raises(ValueError, match="must be registered.*lambda.*decorate a named function"):
        layers.Penalty(lambda weights: weights)
    with pytest.raises(ValueError, match="must be one of block_entropy.*got 'sparsity'"):
        layers.Penalty("sparsity")
    with pytest.raises(ValueError, match="`function` must be a function or a name, got 3"):
        losses.AttentionRegularizer(3)
    with pytest.raises(ValueError, match=r"must return a scalar, got the shape \(2, 3\)"):
        layers.Penalty(unreduced)(np.ones((2, 3), "float32"))


def layer_and_input(name):
    regularizer = keras.regularizers.L1(0.1)
    arguments = {
        "AttendedLSTM": ((3,), (2, 3, 2, 4, 5)),
        "ConvLSTMAttention": ((4,), (2, 3, 2, 4, 5)),
        "LocationAttention": ((), (2, 3, 4, 5)),
        "ReattendingLSTM": ((3, 2), (2, 3, 5)),
        "SaliencyMask": ((), (2, 3, 4, 5)),
    }
    values, shape = arguments[name]
    return getattr(layers, name)(*values, attention_regularizer=regularizer), shape


@pytest.mark.parametrize(
    "name",
    ["AttendedLSTM", "ConvLSTMAttention", "LocationAttention", "ReattendingLSTM", "SaliencyMask"],
)
def test_every_attention_layer_regularizes_what_it_returns(rng, name):
    layer, shape = layer_and_input(name)
    inputs = rng.random(shape, dtype="float32")
    outputs = layer(inputs)
    weights = outputs[1] if isinstance(outputs, (tuple, list)) else outputs
    assert_close(layer.losses[-1], 0.1 * keras.ops.sum(weights), atol=1e-5)
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert copy.attention_regularizer.get_config() == layer.attention_regularizer.get_config()


def test_pyramid_attention_regularizes_the_weights(rng):
    layer = layers.PyramidAttention(attention_regularizer="l1")
    levels = [rng.random((2, 3, 2, 4, channels), dtype="float32") for channels in (5, 3)]
    _, weights, _ = layer(levels)
    assert_close(layer.losses[-1], 0.01 * keras.ops.sum(weights), atol=1e-5)
    assert layer.from_config(layer.get_config()).get_config() == layer.get_config()


def test_an_object_as_dtype_is_saved():
    layer = layers.ConfidencePool(4, dtype=keras.DTypePolicy("mixed_bfloat16"))
    assert layer.from_config(layer.get_config()).dtype_policy.name == "mixed_bfloat16"
