"""Flow in colors: which, how strong, and what cannot be drawn."""

import numpy as np
import pytest

from keras_attn.visualization.flow_colors import draw

RED, GREEN, CYAN, VIOLET = (255, 0, 0), (128, 255, 0), (0, 255, 255), (128, 0, 255)


def uniform(x, y):
    return np.broadcast_to(np.array([x, y], "float32"), (2, 3, 2))


@pytest.mark.parametrize(
    "step, color",
    [((5, 0), RED), ((0, 5), GREEN), ((-5, 0), CYAN), ((0, -5), VIOLET), ((0, 0), (255,) * 3)],
)
def test_the_color_is_the_direction(step, color):
    picture = draw(uniform(*step))
    assert picture.shape == (2, 3, 3) and picture.dtype == np.uint8
    np.testing.assert_allclose(picture, np.broadcast_to(color, (2, 3, 3)), atol=1)


def test_its_strength_is_the_length_up_to_the_longest():
    flow = np.zeros((1, 3, 2), "float32")
    flow[0, :, 0] = 1, 2, 8
    np.testing.assert_allclose(draw(flow, longest=4)[0, :, 1], [191, 128, 0], atol=1)
    np.testing.assert_allclose(draw(flow)[0, :, 1], [223, 191, 0], atol=1)


def test_small_motion_stays_pale():
    assert draw(uniform(0.1, 0)).min() > 220


@pytest.mark.parametrize(
    "flow, arguments, message",
    [
        (np.zeros((4, 5, 3)), {}, "got \\(4, 5, 3\\)"),
        (np.full((4, 5, 2), np.nan), {}, "finite"),
        (np.zeros((4, 5, 2)), {"longest": 0}, "longest must be above 0"),
    ],
)
def test_what_cannot_be_drawn(flow, arguments, message):
    with pytest.raises(ValueError, match=message):
        draw(flow, **arguments)
