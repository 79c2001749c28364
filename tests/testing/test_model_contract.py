"""`check_model` accepts a model that keeps the contract and names what is wrong with any other."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_attn.models import VideoClassifier
from keras_attn.testing import check_model


@keras.saving.register_keras_serializable("keras_attn_tests")
class Good(VideoClassifier):
    """Attention over frames, with a penalty; the broken models below differ in one respect."""

    def __init__(self, num_classes, input_shape=(3, 4), penalty=0.0, **kwargs):
        features = keras.Input(input_shape, name="features")
        scores = layers.Dense(1, use_bias=False, name="scores")(self.seen(features))[..., 0]
        weights = ops.softmax(scores)
        video = ops.einsum("bt,btc->bc", weights, features)
        logits = layers.Dense(num_classes, name="classifier")(video)
        outputs = {"logits": logits, "temporal_attention": weights}
        super().__init__({"features": features}, outputs, loss_term_names=["peak"], **kwargs)
        self.config = dict(num_classes=num_classes, input_shape=input_shape, penalty=penalty)

    def seen(self, features):
        return features

    def loss_terms(self, labels, outputs, sample_weight=None):
        squares = ops.sum(ops.square(outputs["temporal_attention"]), axis=1)
        return {"peak": self.config["penalty"] * ops.mean(squares)}

    def explain(self, outputs):
        when = ops.convert_to_tensor(outputs["temporal_attention"])
        return {"where": ops.ones_like(when)[:, :, None, None], "when": when}

    def get_config(self):
        return {"name": self.name, **self.config}


class LosesAnArgument(Good):
    """One that no output depends on."""

    def get_config(self):
        config = super().get_config()
        del config["penalty"]
        return config


class ChangesAnArgument(Good):
    def get_config(self):
        config = super().get_config()
        return {**config, "penalty": config["penalty"] + 1}


class LogsATermThatIsNotAdded(Good):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        super().compute_loss(x, y, y_pred, sample_weight, training)
        return keras.Model.compute_loss(self, x, y, y_pred["logits"], sample_weight, training)


class AddsATermThatIsNotLogged(Good):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return super().compute_loss(x, y, y_pred, sample_weight, training) + 1


class ExplainsNoDistribution(Good):
    def explain(self, outputs):
        return {name: 2 * x for name, x in super().explain(outputs).items()}


class ExplainsOtherAxes(Good):
    def explain(self, outputs):
        maps = super().explain(outputs)
        return {**maps, "where": maps["where"][..., 0]}


class OverflowsInHalfPrecision(Good):
    def seen(self, features):
        return ops.log(layers.Activation("exponential")(13 + features))


@keras.saving.register_keras_serializable("keras_attn_tests")
class DoesNotLearn(Good):
    def seen(self, features):
        return ops.stop_gradient(ops.zeros_like(features))


class IsNotRegistered(Good):
    pass


def _check(kind, rng, **arguments):
    model = kind(5, (3, 4), penalty=0.3)
    model.set_weights([rng.normal(size=w.shape) for w in model.weights])
    features = rng.normal(size=(2, 3, 4)).astype("float32")
    inputs, labels = {"features": features}, np.array([3, 1])
    return check_model(model, inputs, labels, jit_compile=False, **arguments)


def test_a_good_model_is_accepted_and_its_outputs_returned(rng):
    outputs = _check(Good, rng)
    assert {name: x.shape for name, x in outputs.items()} == {
        "logits": (2, 5),
        "temporal_attention": (2, 3),
    }


@pytest.mark.parametrize(
    "model, message",
    [
        (LosesAnArgument, "from_config.get_config... must give the same loss"),
        (ChangesAnArgument, "must give the same configuration"),
        (LogsATermThatIsNotAdded, "the loss must be the objective, regularization and the terms"),
        (AddsATermThatIsNotLogged, "the loss must be the objective, regularization and the terms"),
        (ExplainsNoDistribution, "must sum to one"),
        (ExplainsOtherAxes, r"where.*must have 4 axes and begin with \(2, 3\), got \(2, 3, 1\)"),
        (OverflowsInHalfPrecision, "logits must be finite"),
        (DoesNotLearn, "one training step must change scores/kernel"),
        (IsNotRegistered, "the .keras file must load: .*IsNotRegistered"),
    ],
)
def test_a_broken_model_is_refused(rng, model, message):
    with pytest.raises(AssertionError, match=f"(?s){message}"):
        _check(model, rng)


def test_weights_that_need_not_change_are_named(rng):
    _check(DoesNotLearn, rng, unchanged=["scores/kernel"])
    with pytest.raises(AssertionError, match="no weight ends with other/kernel"):
        _check(DoesNotLearn, rng, unchanged=["scores/kernel", "other/kernel"])


def test_another_objective(rng):
    with pytest.raises(AssertionError, match="the loss must be the objective"):
        _check(Good, rng, objective=lambda outputs, labels: 0.0)


def test_only_video_classifiers_have_the_contract(rng):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    with pytest.raises(AssertionError, match="must be a VideoClassifier"):
        check_model(model, {}, np.array([0]))
