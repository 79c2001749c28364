"""Optical flow from two frames: pre-training of the attention network of STA-CNN.

Hao Yang et al., STA-CNN, section 3.2.1; the network is FlowNetS (Dosovitskiy et al. 2015).

    frames (B,H,W,6) -> contracting part = the attention network -> expanding part
                     -> flow (B,h,w,2) at 1/4, 1/8, 1/16, 1/32 of the size and on the last map

Objective: the relaxed squared error of eq. (4) at each of these sizes, in a weighted sum.

Differences from the paper, and notes:
  - Eq. (4) is about one flow, and does not say at which size it is compared. FlowNet compares all
    that it predicts, and so does this; the true flow is averaged over the area of each cell.
  - Sums over pixels and the batch become means. FlowNet's weights, 0.005 for the finest flow to
    0.32 for the coarsest, belong to sums over pixels: here they are times the number of cells of
    their map, in units of the coarsest.
  - The threshold theta = e^-2 f is printed with the sign of the flow; its absolute value is used.
"""

import keras
import numpy as np
from keras import ops

from keras_attn import losses
from keras_attn.backbones import flownet_s
from keras_attn.models.segment_network import FLOW_NETWORKS
from keras_attn.utils.checks import check_at_least, check_option

# From the finest flow to the coarsest: FlowNet's weights of sums over pixels, for means over them.
LEVEL_WEIGHTS = (0.005 * 256, 0.01 * 64, 0.02 * 16, 0.08 * 4, 0.32)


@keras.saving.register_keras_serializable("keras_attn")
class FlowPretraining(keras.Model):
    """FlowNetS with the relaxed error of Yang et al. 2020.

    Input: `(B, H, W, 6)`, two RGB frames side by side, 0..255. Outputs: five flows `(B, h, w, 2)`,
    x then y, from the finest to the coarsest, in pixels of the frames divided by 20. Fit it on true
    flow `(B, H, W, 2)` in pixels of the frames, known (FlyingChairs) or estimated (TV-L1); compile
    it without a loss. `endpoint_error` is the mean distance, in pixels, between the finest flow and
    the true one at its size.

    Args:
        input_shape: Shape (H, W, 6) of the input.
        attention_network: That of `STACNN`: "flownet_s", "flownet_s_strided" or "flownet_s_pooled".
        relaxation: Share of the true flow within which an error counts as none, theta of eq. (4).

    Raises:
        ValueError: For an argument that cannot work.
    """

    def __init__(
        self,
        input_shape=(224, 224, 6),
        attention_network="flownet_s",
        relaxation=losses.FLOW_RELAXATION,
        **kwargs,
    ):
        check_option("attention_network", attention_network, FLOW_NETWORKS)
        check_at_least(0, relaxation=relaxation)
        if len(input_shape) != 3 or input_shape[-1] != 6:
            raise ValueError(f"input_shape must be (H, W, 6), got {tuple(input_shape)}")
        height, width, _ = input_shape
        network = flownet_s.flownet_s(height, width, **FLOW_NETWORKS[attention_network])
        flows = [ops.cast(flow, "float32") for flow in network.output]
        super().__init__(network.input, flows, **kwargs)
        self.endpoint_error = keras.metrics.Mean(name="endpoint_error")
        self.config = dict(
            input_shape=tuple(input_shape),
            attention_network=attention_network,
            relaxation=relaxation,
        )

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        flows = [
            _area_mean(y, *predicted.shape[1:3]) / flownet_s.FLOW_DIVISOR for predicted in y_pred
        ]
        distances = ops.sqrt(ops.sum(ops.square(y_pred[0] - flows[0]), axis=-1))
        self.endpoint_error.update_state(flownet_s.FLOW_DIVISOR * distances)
        return sum(
            weight * losses.relaxed_flow_error(flow, predicted, self.config["relaxation"])
            for weight, flow, predicted in zip(LEVEL_WEIGHTS, flows, y_pred, strict=True)
        )

    def save_attention_network(self, path):
        """Write the contracting part, `.weights.h5`, for `STACNN(attention_weights=path)`."""
        maps = self.get_layer("conv6_1_relu").output
        keras.Model(self.input, maps).save_weights(path)

    def get_config(self):
        return {"name": self.name, **self.config}


def _area_mean(flow, height, width):
    """The mean over the area of each cell of a smaller map: `(B, H, W, 2) -> (B, h, w, 2)`."""
    rows, columns = _areas(flow.shape[1], height), _areas(flow.shape[2], width)
    return ops.einsum("hy,byxc,wx->bhwc", rows, ops.cast(flow, "float32"), columns)


def _areas(pixels, cells):
    """The share that each pixel along a side has of each cell: `(cells, pixels)`."""
    edges = np.arange(cells + 1) * pixels / cells
    start = np.maximum(edges[:-1, None], np.arange(pixels))
    end = np.minimum(edges[1:, None], np.arange(pixels) + 1)
    return (np.maximum(end - start, 0) * cells / pixels).astype("float32")
