"""`check_layer` accepts a layer that keeps the contract and names what is wrong with any other."""

import keras
import numpy as np
import pytest
from checks import BACKEND
from keras import ops

from keras_attn.testing import check_layer


class Good(keras.layers.Layer):
    """Scales and shifts each channel; the broken layers below differ from it in one respect."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, shape):
        self.scale = self.add_weight((shape[-1],), name="scale", initializer="ones")

    def call(self, x):
        return self.factor * x * ops.cast(self.scale, x.dtype)


class LosesAnArgument(Good):
    def get_config(self):
        return super().get_config()  # which knows the base class's arguments only


class ChangesAnArgument(Good):
    def get_config(self):
        return {**super().get_config(), "factor": self.factor + 1}


class InfersAnotherShape(Good):
    def compute_output_shape(self, shape):
        return (*shape, 1)


class HasAnUnusedWeight(Good):
    def call(self, x):
        return self.factor * x


class HasAGradientOfZero(Good):
    def call(self, x):
        return self.factor * x + 0 * super().call(x)


class AnswersOtherwiseCompiled(Good):
    def call(self, x):
        try:
            return super().call(x) + float(ops.sum(x)) / 1e6
        except TypeError:  # a compiled tensor has no value
            return super().call(x) + 1


class OverflowsInHalfPrecision(Good):
    def call(self, x):
        return super().call(ops.exp(12 + x)) / 1e4


class GivesNoNumbers(Good):
    def call(self, x):
        return super().call(x) / (0 * x)


class TakesLists(Good):
    def build(self, shapes):
        super().build(shapes[0])

    def call(self, xs):
        return {"sum": super().call(xs[0] + xs[1]), "mean": ops.mean(xs[0], axis=1)}

    def compute_output_shape(self, shapes):
        return {"sum": shapes[0], "mean": (shapes[0][0], *shapes[0][2:])}


# JAX gives a weight that nothing depends on a gradient of zeros.
UNUSED = {"tensorflow": "no gradient reaches .*scale", "jax": "scale is zero everywhere"}[BACKEND]


@pytest.fixture
def x(rng):
    return rng.normal(size=(2, 3, 5)).astype("float32")


def test_a_good_layer_is_accepted_and_its_outputs_returned(x):
    layer = Good(3.0)
    np.testing.assert_allclose(check_layer(layer, x), 3 * x, rtol=1e-6)
    found = check_layer(TakesLists(2.0), [x, x])
    np.testing.assert_allclose(found["sum"], 4 * x, rtol=1e-6)


@pytest.mark.parametrize(
    "layer, message",
    [
        (LosesAnArgument, "a layer from get_config.. must give the same answer"),
        (ChangesAnArgument, "must give the same configuration"),
        (InfersAnotherShape, r"inferred shapes must be .*\(2, 3, 5, 1\).*\(2, 3, 5\)"),
        (
            HasAnUnusedWeight,
            "no gradient reaches .*scale"
            if BACKEND == "tensorflow"
            else "scale is zero everywhere",
        ),
        (HasAGradientOfZero, "the gradient of .*scale is zero everywhere"),
        pytest.param(
            AnswersOtherwiseCompiled,
            "compiled by XLA, the layer must give the same answer",
            marks=pytest.mark.skipif(BACKEND == "jax", reason="JAX compiles every answer"),
        ),
        (OverflowsInHalfPrecision, "finite under mixed_float16"),
        (GivesNoNumbers, "the outputs of .* must be finite"),
    ],
)
def test_a_broken_layer_is_refused(x, layer, message):
    with pytest.raises(AssertionError, match=f"(?s){message}"):
        check_layer(layer(factor=3.0), x)
