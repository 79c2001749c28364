"""Models that decide at every step of a clip: its labels, and the decision for the clip."""

from keras import ops


def supervise_steps(labels, step_logits, sample_weight=None):
    """Return labels, logits and weights that turn Keras' mean over steps into their sum.

    Shapes: `(B,), (B, S, K), (B,) -> (B, S), (B, S, K), (B, S)` of class numbers, and of a number
    for each class `(B, K), (B, S, K), (B,) -> (B, S, K), (B, S, K), (B, S)`.
    """
    steps = step_logits[:, :, 0]
    weights = ops.zeros_like(steps) + ops.cast(ops.shape(steps)[1], steps.dtype)
    if sample_weight is not None:
        weights = weights * ops.cast(sample_weight, weights.dtype)[:, None]
    if len(labels.shape) == 2:
        labels = ops.cast(labels, step_logits.dtype)
        return ops.zeros_like(step_logits) + labels[:, None], step_logits, weights
    labels = ops.cast(labels, "int32")
    return ops.zeros_like(steps, dtype="int32") + labels[:, None], step_logits, weights


def clip_logits(step_logits):
    """Return log(mean over the steps of softmax(step_logits)), which is never log(0).

    Shapes: `(B, S, K) -> (B, K)`.
    """
    log_probabilities = ops.log_softmax(step_logits)
    peak = ops.max(log_probabilities, axis=1, keepdims=True)
    mean = ops.mean(ops.exp(log_probabilities - peak), axis=1)
    return ops.log(mean) + ops.squeeze(peak, axis=1)
