"""The cross-entropy of a classifier, however its labels are written."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_attn")
class LogitsCrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits with class numbers or with shares of the classes.

    Shapes: labels `(B,)`, `(B, 1)` or `(B, K)` and logits `(B, K)`, or with more axes before the
    last in both. Class numbers are 0 to K - 1; shares, of one-hot, smoothed or mixed labels, sum to
    one. The mean over clips, in nats. Models that are compiled without a loss have this one.

    Args:
        reduction, name, dtype: As for every `keras.losses.Loss`.

    Raises:
        ValueError: When it is called with labels and logits of shapes that do not fit.
    """

    def __init__(self, reduction="sum_over_batch_size", name="logits_cross_entropy", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, y_true, y_pred):
        axes, classes = len(y_pred.shape), y_pred.shape[-1]
        if len(y_true.shape) == axes and y_true.shape[-1] == classes:
            return -ops.sum(y_true * ops.log_softmax(y_pred), axis=-1)
        if len(y_true.shape) == axes and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, axis=-1)
        if len(y_true.shape) != axes - 1:
            raise ValueError(
                f"labels must have the shape (B,), (B, 1) or (B, {classes}) for logits "
                f"{tuple(y_pred.shape)}, got {tuple(y_true.shape)}"
            )
        labels = ops.cast(y_true, "int32")
        return ops.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
