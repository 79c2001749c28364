"""Models are built as a training builds them, also where there is no TensorFlow."""

import model_steps
import pytest


@pytest.mark.parametrize("name, kind", [("sta_cnn_tiny", "flow"), ("sta_cnn_mobilenet", "rgb")])
def test_a_recipe_is_measured_with_its_batch_and_input(name, kind):
    cells = model_steps.measure(name, kind, steps=1, precision=None)["cells"]
    shapes = {"sta_cnn_tiny": "8 x 9 x 64 x 64 x 10", "sta_cnn_mobilenet": "16 x 9 x 8 x 8 x 1280"}
    assert cells[:2] == [shapes[name], "float32"]
    assert all(float(cell) >= 0 for cell in cells[2:])
