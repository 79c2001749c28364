"""Models that decide at every step of a clip: its labels, and the decision for the clip."""

import keras
from keras import ops

from keras_attn.utils.masks import frame_mask, mean_over_frames


def supervise_steps(labels, step_logits, sample_weight=None, mask=None):
    """Return labels, logits and weights that turn Keras' mean over steps into their sum.

    Shapes: `(B,), (B, S, K), (B,) -> (B, S), (B, S, K), (B, S)` of class numbers, and of a number
    for each class `(B, K), (B, S, K), (B,) -> (B, S, K), (B, S, K), (B, S)`. Padded steps, where
    `mask (B, S)` is False, have the weight zero.
    """
    steps = step_logits[:, :, 0]
    weights = ops.zeros_like(steps) + ops.cast(ops.shape(steps)[1], steps.dtype)
    if mask is not None:
        weights = weights * ops.cast(mask, weights.dtype)
    if sample_weight is not None:
        weights = weights * ops.cast(sample_weight, weights.dtype)[:, None]
    if len(labels.shape) == 2:
        labels = ops.cast(labels, step_logits.dtype)
        return ops.zeros_like(step_logits) + labels[:, None], step_logits, weights
    labels = ops.cast(labels, "int32")
    return ops.zeros_like(steps, dtype="int32") + labels[:, None], step_logits, weights


def clip_logits(step_logits, mask=None):
    """Return log(mean over the steps of softmax(step_logits)), which is never log(0).

    Shapes: `(B, S, K) -> (B, K)`. Padded steps, where `mask (B, S)` is False, do not count.
    """
    log_probabilities = ops.log_softmax(step_logits)
    if mask is not None:
        log_probabilities = ops.where(mask[:, :, None], log_probabilities, -1e30)
    peak = ops.max(log_probabilities, axis=1, keepdims=True)
    mean = mean_over_frames(ops.exp(log_probabilities - peak), mask)
    return ops.log(mean) + ops.squeeze(peak, axis=1)


@keras.saving.register_keras_serializable("keras_attn")
class ClipLogits(keras.layers.Layer):
    """`clip_logits` as a layer, which gets the mask of the steps. Shapes: `(B, S, K) -> (B, K)`."""

    def call(self, step_logits, mask=None):
        return clip_logits(step_logits, frame_mask(mask))

    def compute_mask(self, step_logits, mask):
        return None
