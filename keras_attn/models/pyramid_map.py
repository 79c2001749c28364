"""From the levels of all frames to the vector of a video, with attention or without."""

import itertools

from keras import ops

from keras_attn.layers import PerFrame
from keras_attn.layers.pyramid_attention import AttentionPenalties


def levels_of_streams(features, channels, streams):
    """The levels, each (B, T, h, w, C_j), with the frames of one stream after those of another.

    In the channels of `features` lie all levels of a stream, then all of the next.
    """
    if len(features.shape) == 3:  # vectors are maps of one cell
        features = features[:, :, None, None]
    sizes = channels * streams
    ends = itertools.accumulate(sizes)
    maps = [features[..., end - size : end] for end, size in zip(ends, sizes, strict=True)]
    if streams == 1:
        return maps
    levels = len(channels)
    return [ops.concatenate(maps[level::levels], axis=1) for level in range(levels)]


def attend(maps, attention, tail, interaction_reduction, pyramid_form):
    """The vector of a video by the attention, and the attention and losses of each video."""
    penalties = AttentionPenalties(
        interaction_reduction, pyramid_form, dtype="float32", name="penalties"
    )
    aggregated, weights, level_weights = attention(maps)
    outputs = {}
    if attention.mode != "uniform":  # else the losses are constant
        interaction, pyramid = penalties(maps[-1], weights, level_weights)
        outputs = {"interaction": interaction, "pyramid": pyramid}
    return tail(aggregated), {"attention": ops.mean(weights, axis=-1), **outputs}


def average_frames(maps, tail):
    """Table 2, "0 scales": the mean over the frames of the network's vectors."""
    ones = ops.ones_like(maps[..., 0], dtype="float32")
    uniform = ones / ops.sum(ones, axis=(1, 2, 3), keepdims=True)
    return ops.mean(PerFrame(tail, name="tail")(maps), axis=1), {"attention": uniform}
