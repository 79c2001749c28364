"""FlowNetS against the published table, and its variants."""

import pytest
from checks import BACKEND
from keras import layers
from networks import multiplications

from keras_attn.backbones.flownet_s import contracting, expanding, flownet_s

CELLS = {  # in a row of the map of each convolution, at 224 pixels
    "conv1": 112,
    "conv2": 56,
    "conv3": 28,
    "conv3_1": 28,
    "conv4": 14,
    "conv4_1": 14,
    "conv5": 7,
    "conv5_1": 7,
    "conv6": 4,
    "conv6_1": 4,
}
slow_on_jax = pytest.mark.skipif(BACKEND == "jax", reason="JAX takes long to build it")


@slow_on_jax
def test_the_published_network():
    model = contracting(224, 224)
    flow_model = expanding(model)
    convolutions = {layer.name: layer for layer in model.layers if isinstance(layer, layers.Conv2D)}
    assert {name: layer.output.shape[1] for name, layer in convolutions.items()} == CELLS
    assert sum(layer.strides == (2, 2) for layer in convolutions.values()) == 6
    assert model.output_shape == (None, 4, 4, 1024)
    assert flow_model.output_shape == [(None, cells, cells, 2) for cells in (56, 28, 14, 7, 4)]
    assert (model.count_params(), flow_model.count_params()) == (24_050_752, 38_675_536)
    assert multiplications(model) == pytest.approx(3.134e9, rel=1e-3)


@slow_on_jax
@pytest.mark.parametrize("last_stride, cells", [(1, 7), (2, 4)])
def test_variants_have_the_same_weights(last_stride, cells):
    model = flownet_s(224, 224, last_stride, pooling="max")
    assert model.get_layer("conv6_1_relu").output.shape == (None, cells, cells, 1024)
    assert [shape[1] for shape in model.output_shape] == [56, 28, 14, 7, cells]
    assert model.count_params() == 38_675_536
    pools = [layer for layer in model.layers if isinstance(layer, layers.MaxPooling2D)]
    assert len(pools) == (6 if last_stride == 2 else 5)
    strided = [layer for layer in model.layers if "conv" in layer.name and hasattr(layer, "kernel")]
    assert all(layer.strides == (1, 1) for layer in strided if layer.name[:4] == "conv")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"last_stride": 3}, "last_stride must be one of 1, 2, got 3"),
        ({"pooling": "mean"}, "pooling must be one of stride, max, got 'mean'"),
    ],
)
def test_unknown_variants(arguments, message):
    with pytest.raises(ValueError, match=message):
        contracting(64, 64, **arguments)
