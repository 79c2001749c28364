"""Two streams fused by attention: RGB and flow as frames of one attention layer.

Weiming Hu, Haowei Liu, Yang Du, Chunfeng Yuan, Bing Li, Stephen Maybank. Interaction-Aware
Spatio-Temporal Pyramid Attention Networks for Action Classification. Table 11, "attention fusion".

    RGB, flow -> a backbone each, levels of each frame                                   eq. (1)
    levels -> scores by kernels of the stream's own -> one softmax over both        eq. (2)-(3)
    last levels, weights -> one map (B,h,w,C) for all frames of RGB and of flow          eq. (4)
    map -> the rest of one backbone, once per video -> vector (B,D) -> logits (B,K)

Objective: that of `PyramidAttentionNetwork`; its penalties are over the 2T frames.

Differences from the paper, and notes:
  - The appendix that describes the fusion is not public. The frames of both streams side by side
    in one attention is our reading of it, and of "more memory and much slower": both backbones
    run. The paper's other fusions are `metrics.fusion` and `backbones.motion_reinforcement`.
  - Flow starts from the weights of RGB, with the first kernel averaged (section 5); from then on
    the two share only the network behind the attention, which starts from the weights of RGB.
  - Unlike with one stream, a bias of eq. (2) has an effect with one level and fusion="sum" too: it
    moves attention from one stream to the other.

Protocol: that of `pyramid_attention`, on a frame and the 5 planes of flow after it. The 64 videos
of a batch are 32 steps of 2.
"""

import keras
from keras import ops

from keras_attn.models.pyramid_attention import PyramidAttentionNetwork


@keras.saving.register_keras_serializable("keras_attn")
class AttentionFusionNetwork(PyramidAttentionNetwork):
    """`PyramidAttentionNetwork` over the frames of RGB and of flow at once.

    Inputs: `{"video": (B, T, H, W, 3 + 2L)}`, bytes 0..255, RGB and behind it x and y of L planes
    of flow, or with `cached=True` `{"features": (B, T, h, w, 2C)}`, the output of `build_backbone`
    for as many channels: all levels of RGB, then all of flow. Outputs besides those of one stream,
    where `spatial_attention` (B, T, h, w) is the sum of both streams in a cell: `stream_attention`
    (B, 2), the shares of RGB and of flow, which sum to one.

    Arguments are those of `PyramidAttentionNetwork`, with backbones that see one stream. With
    `mode="none"` the mean is over the frames of both.
    """

    streams = 2

    @staticmethod
    def attention_maps(attention):
        streams = ops.split(attention, 2, axis=1)
        shares = [ops.sum(stream, axis=(1, 2, 3)) for stream in streams]
        return {
            "spatial_attention": streams[0] + streams[1],
            "stream_attention": ops.stack(shares, axis=1),
        }
