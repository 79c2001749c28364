"""Clips of unequal length in one batch: what tells a model which frames are padding."""

import keras
import numpy as np
from keras import ops, tree

from keras_attn.utils.masks import cleared, frame_mask
from keras_attn.utils.numerics import softmax


def split_mask(inputs):
    """The inputs of a model without `lengths (B,)` or `mask (B, T)`, and the mask, or None.

    Lengths are 1 to T, and the frames are the first ones; in a graph, where they cannot be checked,
    the nearest of these is taken.

    Raises:
        ValueError: For both, another shape, or lengths that cannot be.
    """
    if not isinstance(inputs, dict) or not {"lengths", "mask"} & inputs.keys():
        return inputs, None
    inputs = dict(inputs)
    lengths, mask = (inputs.pop(name, None) for name in ("lengths", "mask"))
    if len(inputs) != 1 or (lengths is None) == (mask is None):
        raise ValueError("give `lengths` (B,) or `mask` (B, T) of one input, and not both")
    ((name, frames),) = inputs.items()
    time = ops.shape(frames)[1]
    if lengths is not None:
        lengths = _checked_lengths(lengths, time, name)
        if isinstance(frames, keras.KerasTensor):
            return inputs, LengthMask(name="lengths_mask")(frames, lengths)
        return inputs, length_mask(lengths, time)
    if len(mask.shape) != 2 or not _may_be(mask.shape[1], frames.shape[1]):
        found = tuple(mask.shape)
        raise ValueError(f"`mask` must be (B, T) for {name} {tuple(frames.shape)}, got {found}")
    return inputs, ops.cast(mask, "bool")


def _checked_lengths(lengths, time, name):
    if not hasattr(lengths, "shape"):
        lengths = np.asarray(lengths)
    if len(lengths.shape) == 2 and lengths.shape[1] == 1:  # as `fit` gives one number for each clip
        lengths = lengths[:, 0]
    if len(lengths.shape) != 1:
        found = tuple(lengths.shape)
        raise ValueError(f"`lengths` must be (B,), the frames of each clip, got the shape {found}")
    try:
        known, last = np.asarray(lengths), int(time)
    except (TypeError, ValueError, RuntimeError):  # of a graph
        return lengths
    if known.size and not (known.min() >= 1 and known.max() <= last):
        raise ValueError(
            f"`lengths` must be from 1 to the {last} frames of {name}, got {known.min()} to "
            f"{known.max()}"
        )
    return lengths


def length_mask(lengths, time):
    """The mask `(B, time)` of the first `lengths (B,)` frames, at least one and at most all."""
    lengths = ops.clip(ops.cast(lengths, "int32"), 1, time)
    return ops.arange(time, dtype="int32")[None] < lengths[:, None]


def _may_be(size, other):
    return None in (size, other) or size == other


def common_mask(mask):
    """The one mask `(B, T)` among those that Keras gives for each input, or None."""
    masks = [frame_mask(one) for one in tree.flatten(mask) if one is not None]
    return masks[0] if masks else None


def check_backbone(network):
    """`ValueError` if a backbone sees several frames at once, and not all its layers heed masks."""
    if network is None or len(network.input_shape) == 4:
        return
    heeds = (
        # Keras puts the latter between models, where it does nothing.
        type(part).__name__ in ("InputLayer", "ConvertToTensor")
        or getattr(part, "supports_masking", False)
        for part in network.operations
    )
    if not all(heeds):
        raise ValueError(
            "the backbone sees several frames at once and does not heed masks, so `lengths` and "
            "`mask` have no effect in it: give clips of unequal length one by one"
        )


def without_padding(maps, mask):
    """The maps of `explain`, with zeros at padded frames: `when` sums to one over the others."""
    where, when = cleared(maps["where"], mask), cleared(maps["when"], mask)
    return {"where": where, "when": divided_by_sum(when, 1)}


def divided_by_sum(weights, axes):
    """The weights divided by their sum over `axes`; zeros stay zeros."""
    total = ops.sum(weights, axis=axes, keepdims=True)
    return weights / ops.where(total > 0, total, 1)


@keras.saving.register_keras_serializable("keras_attn")
class EqualWeights(keras.layers.Layer):
    """The same weight for every cell, summing to one over `axes`; ones without axes.

    Shapes: `(B, T, ..., C) -> (B, T, ...)`. Padded frames have none.
    """

    def __init__(self, axes, **kwargs):
        super().__init__(**kwargs)
        self.axes = axes

    def call(self, features, mask=None):
        ones = cleared(ops.ones_like(features[..., 0]), frame_mask(mask))
        return divided_by_sum(ones, self.axes) if self.axes else ones

    def compute_mask(self, features, mask):
        return frame_mask(mask)


@keras.saving.register_keras_serializable("keras_attn")
class LengthMask(keras.layers.Layer):
    """`length_mask` where T is not known yet. Shapes: `(B, T, ...), (B,) -> (B, T)`."""

    def call(self, frames, lengths):
        return length_mask(lengths, ops.shape(frames)[1])


@keras.saving.register_keras_serializable("keras_attn")
class FrameWeights(keras.layers.Layer):
    """Scores of frames to weights: `(B, T, 1) -> (B, T)`, a softmax over those not padded."""

    def call(self, scores, mask=None):
        return softmax(scores[..., 0], mask=frame_mask(mask))

    def compute_mask(self, scores, mask):
        return frame_mask(mask)


@keras.saving.register_keras_serializable("keras_attn")
class Masked(keras.layers.Layer):
    """`features (B, T, h, w, C)` times a mask of their cells `(B, T, h, w)`."""

    def call(self, features, cells, features_mask=None):
        return features * cells[..., None]

    def compute_mask(self, features, mask):
        return frame_mask(mask)
