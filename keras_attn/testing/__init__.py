"""Contracts for layers and models that others write for this library; they need no test runner.

    from keras_attn.testing import check_layer, check_model

    def test_my_layer():
        check_layer(MyLayer(units=7), np.random.normal(size=(2, 5, 6)).astype("float32"))

Each raises an `AssertionError` that says what is wrong.
"""

from keras_attn.testing.layer_contract import check_layer
from keras_attn.testing.model_contract import check_model

__all__ = ["check_layer", "check_model"]
