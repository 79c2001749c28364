"""Windows of the adaptive pooling against loops, and sizes it cannot make."""

import numpy as np
import pytest
from checks import assert_close

from keras_attn.layers import AdaptiveMaxPool
from keras_attn.testing import check_layer


@pytest.mark.parametrize("shape", [(2, 7, 5, 3), (2, 2, 9, 6, 3), (1, 4, 3, 2)])
@pytest.mark.parametrize("size", [(4, 3), (1, 2)])
def test_windows_cover_the_map_evenly(rng, shape, size):
    maps = rng.normal(size=shape).astype("float32")
    outputs = np.asarray(AdaptiveMaxPool(size)(maps))
    assert outputs.shape == (*shape[:-3], *size, shape[-1])
    for i, j in np.ndindex(*size):
        rows = slice(int(np.floor(i * shape[-3] / size[0])), _ceil((i + 1) * shape[-3] / size[0]))
        columns = slice(
            int(np.floor(j * shape[-2] / size[1])), _ceil((j + 1) * shape[-2] / size[1])
        )
        assert_close(outputs[..., i, j, :], maps[..., rows, columns, :].max((-3, -2)))


def _ceil(x):
    return int(np.ceil(x))


def test_as_a_layer(rng):
    maps = rng.normal(size=(2, 5, 4, 3)).astype("float32")
    check_layer(AdaptiveMaxPool((2, 3)), maps)
    assert_close(AdaptiveMaxPool((5, 4))(maps), maps, atol=0)


@pytest.mark.parametrize("size", [(6, 4), (0, 4), (5, 5)])
def test_sizes_that_cannot_be_made(size):
    with pytest.raises(ValueError, match=r"at most the map's known \(H, W\), got .* of \(5, 4\)"):
        AdaptiveMaxPool(size)(np.zeros((1, 5, 4, 2)))
