"""What `compile` and `fit` take: losses and metrics of logits, and labels that fit the loss."""

import inspect

import keras
from keras import ops

# Cross-entropies of probabilities, unless they are told otherwise, by the names of their functions.
_CROSS_ENTROPIES = {
    "sparse_categorical_crossentropy": "SparseCategoricalCrossentropy",
    "categorical_crossentropy": "CategoricalCrossentropy",
    "categorical_focal_crossentropy": "CategoricalFocalCrossentropy",
    "binary_crossentropy": "BinaryCrossentropy",
    "binary_focal_crossentropy": "BinaryFocalCrossentropy",
}
_BINARY = (keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy)
# Those that cannot be told otherwise.
_PROBABILITIES_ONLY = {
    "kl_divergence": "KLDivergence",
    "categorical_generalized_cross_entropy": "CategoricalGeneralizedCrossEntropy",
    "dice": "Dice",
    "tversky": "Tversky",
}
_OWN = "keras_attn.losses.LogitsCrossEntropy()"
_ACCURACY = ("accuracy", "acc")
# Losses of class numbers; every other loss of Keras compares a number for each class.
_OF_NUMBERS = keras.losses.SparseCategoricalCrossentropy
_OF_SHARES = tuple(
    kind
    for kind in vars(keras.losses).values()
    if inspect.isclass(kind) and kind not in (keras.losses.Loss, _OF_NUMBERS)
)


# === Compiling ===


def of_logits(argument, value):
    """Return what `value` says of the output `logits`, the only one that is compared with labels.

    Args:
        argument: Name of the argument, for the error.
        value: Anything; of a dict by outputs the entry "logits", of a list of one its content where
            the argument is a loss.

    Raises:
        ValueError: For a dict with other keys.
    """
    if isinstance(value, dict):
        if set(value) != {"logits"}:
            raise ValueError(
                f'{argument} must be for the output "logits", the only one that has labels; got a '
                f"dict with the keys {', '.join(map(repr, value)) or 'of nothing'}"
            )
        value = value["logits"]
    if argument in ("loss", "loss_weights") and isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise ValueError(f"{argument} must be one, that of the logits; got {len(value)}")
        value = value[0]
    return value


def find_loss(loss):
    """Return the function or `keras.losses.Loss` that `loss` names.

    Raises:
        ValueError: For a loss of probabilities: the models' outputs are logits.
    """
    found = loss
    if isinstance(loss, str) and loss.lower() in ("crossentropy", "ce"):
        found = keras.losses.categorical_crossentropy  # or another: Keras chooses by the labels
    found = keras.losses.get(found)
    advice = _advice(found, "losses")
    if advice:
        raise ValueError(
            f"loss={_name(loss)} takes probabilities, and the output of this model is logits: give "
            f"{advice}, or no loss, for the model's own"
        )
    return found


def find_metrics(metrics, loss=None):
    """Return `metrics` with "accuracy" as `loss` means it, or None for None.

    Of a loss of each class by itself the accuracy is that of each class: whether the logit is
    above 0. Otherwise Keras chooses by the labels.

    Raises:
        ValueError: For a cross-entropy or an AUC of probabilities.
    """
    if metrics is None:
        return None
    if isinstance(metrics, (list, tuple)):
        return [find_metrics(metric, loss) for metric in metrics]
    if isinstance(metrics, str) and metrics.lower() in _ACCURACY:
        if not isinstance(loss, _BINARY):
            return metrics
        accuracy = keras.metrics.binary_accuracy
        return keras.metrics.MeanMetricWrapper(accuracy, name=metrics, threshold=0.0)
    found = metrics
    if isinstance(metrics, str) and metrics.lower() in ("crossentropy", "ce"):
        found = keras.metrics.CategoricalCrossentropy()
    elif isinstance(metrics, str):
        found = keras.metrics.get(metrics)
    advice = _advice(found, "metrics")
    if advice:
        raise ValueError(
            f"the metric {_name(metrics)} takes probabilities, and the output of this model is "
            f"logits: give {advice}"
        )
    return metrics


def _advice(found, package):
    """What takes logits in the place of a loss or metric of probabilities; "" for any other."""
    name = _plain_name(found)
    if False in (getattr(found, option, None) for option in ("from_logits", "_from_logits")):
        place = f"keras.{package}." if hasattr(getattr(keras, package), name) else ""
        return f"{place}{name}(from_logits=True)"
    if _is_of_keras(found):
        if name in _CROSS_ENTROPIES:
            return f"keras.{package}.{_CROSS_ENTROPIES[name]}(from_logits=True)"
        if name in _PROBABILITIES_ONLY:
            return _OWN
    return _OWN if type(found).__name__ in _PROBABILITIES_ONLY.values() else ""


def _is_of_keras(loss):
    """Whether this is a function of `keras.losses`, and not one of a user's by the same name."""
    return inspect.isfunction(loss) and loss is getattr(keras.losses, loss.__name__, None)


def _name(identifier):
    return f'"{identifier}"' if isinstance(identifier, str) else _plain_name(identifier)


def _plain_name(found):
    return getattr(found, "__name__", type(found).__name__)


# === Labels ===


def check_labels(labels, classes, loss):
    """Return labels `(B,)` or `(B, K)` as `loss` takes them; those of `(B, 1)` as `(B,)`.

    Raises:
        ValueError: For labels of another shape, or of the other kind than the loss takes.
    """
    if labels is None:
        raise ValueError("y is missing: a model that is fitted or evaluated needs labels")
    shape = getattr(labels, "shape", None)
    if shape is None or getattr(shape, "rank", 0) is None or classes in (None, 1):
        return labels
    shape = tuple(shape)
    if len(shape) == 2 and shape[1] == 1:
        labels, shape = ops.squeeze(labels, axis=1), shape[:1]
    if len(shape) not in (1, 2) or shape[1:] not in ((), (classes,), (None,)):
        raise ValueError(
            f"y must be class numbers (B,) or (B, 1), or have a number for each of the "
            f"num_classes={classes} classes, (B, {classes}); got the shape {shape}"
        )
    if isinstance(loss, _OF_NUMBERS) and len(shape) == 2:
        raise ValueError(
            f"y has a number for each class, {shape}, but loss={_name(loss)} takes class numbers "
            "(B,): compile with keras.losses.CategoricalCrossentropy(from_logits=True), or give "
            "class numbers, np.argmax(y, axis=-1)"
        )
    function = _is_of_keras(loss) and loss is not keras.losses.sparse_categorical_crossentropy
    if (isinstance(loss, _OF_SHARES) or function) and len(shape) == 1:
        raise ValueError(
            f"y are class numbers, {shape}, but loss={_name(loss)} takes a number for each class, "
            f"(B, {classes}): compile with "
            "keras.losses.SparseCategoricalCrossentropy(from_logits=True), or give "
            f"keras.utils.to_categorical(y, {classes})"
        )
    return labels


def check_sample_weight(sample_weight):
    """Return sample weights `(B,)`, those of `(B, 1)` without the last axis, or None for None.

    Raises:
        ValueError: For weights of another shape.
    """
    shape = getattr(sample_weight, "shape", None)
    if shape is None or getattr(shape, "rank", 0) is None:
        return sample_weight
    if len(shape) == 2 and shape[1] == 1:
        return ops.squeeze(sample_weight, axis=1)
    if len(shape) != 1:
        raise ValueError(
            f"sample_weight must have one number for each clip, (B,); got the shape {tuple(shape)}"
        )
    return sample_weight


def label_loss(loss, labels, logits, sample_weight=None):
    """Return `loss`, a function or a `keras.losses.Loss`, of labels and logits as one number."""
    if isinstance(loss, keras.losses.Loss):
        return loss(labels, logits, sample_weight)
    values = loss(labels, logits)
    return ops.mean(values if sample_weight is None else values * sample_weight)
