"""From the levels of all frames to the vector of a video, with attention or without."""

import itertools

import keras
from keras import layers, ops

from keras_attn.layers import PerFrame
from keras_attn.layers.pyramid_attention import AttentionPenalties
from keras_attn.models.padding import EqualWeights
from keras_attn.utils.masks import frame_mask


@keras.saving.register_keras_serializable("keras_attn")
class StreamLevels(layers.Layer):
    """The levels, each (B, T, h, w, C_j), with the frames of one stream after those of another.

    In the channels of the features lie all levels of a stream, then all of the next.
    """

    def __init__(self, channels, streams=1, **kwargs):
        super().__init__(**kwargs)
        self.channels, self.streams = tuple(channels), streams

    def call(self, features, mask=None):
        if len(features.shape) == 3:  # vectors are maps of one cell
            features = features[:, :, None, None]
        sizes = self.channels * self.streams
        ends = itertools.accumulate(sizes)
        maps = [features[..., end - size : end] for end, size in zip(ends, sizes, strict=True)]
        levels = len(self.channels)
        if self.streams == 1:
            return maps
        return [ops.concatenate(maps[level::levels], axis=1) for level in range(levels)]

    def compute_mask(self, features, mask):
        if mask is None:
            return None
        return [ops.tile(frame_mask(mask), (1, self.streams))] * len(self.channels)


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
    uniform = EqualWeights((1, 2, 3), dtype="float32", name="equal_weights")(maps)
    vectors = PerFrame(tail, name="tail")(maps)
    mean = layers.GlobalAveragePooling1D(name="mean_vector")(vectors)
    return mean, {"attention": uniform}
