"""What models that decide at every step of a clip share: its labels and the clip's decision."""

from keras import ops


def supervise_steps(labels, step_logits, sample_weight=None):
    """Labels, logits and weights for which Keras' mean over clips and steps is a sum over steps.

    Shapes: `(B,), (B, S, K), (B,) -> (B, S), (B, S, K), (B, S)`; `labels` are class numbers.
    """
    steps = step_logits[:, :, 0]
    weights = ops.zeros_like(steps) + ops.cast(ops.shape(steps)[1], steps.dtype)
    if sample_weight is not None:
        weights = weights * ops.cast(sample_weight, weights.dtype)[:, None]
    labels = ops.cast(labels, "int32")
    return ops.zeros_like(steps, dtype="int32") + labels[:, None], step_logits, weights


def clip_logits(step_logits):
    """log(mean over the steps of softmax(step_logits)); no saturated step makes it log(0).

    Shapes: `(B, S, K) -> (B, K)`.
    """
    log_probabilities = ops.log_softmax(step_logits)
    peak = ops.max(log_probabilities, axis=1, keepdims=True)
    mean = ops.mean(ops.exp(log_probabilities - peak), axis=1)
    return ops.log(mean) + ops.squeeze(peak, axis=1)
