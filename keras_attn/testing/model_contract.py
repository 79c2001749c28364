"""The contract of a model: configuration, maps, objective, training, half precision, files."""

import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_attn.models import VideoClassifier
from keras_attn.testing.arrays import BACKEND, answer, assert_close, numpy, require
from keras_attn.testing.layer_contract import copy_from_config

# What half precision may change in a probability or in a share of attention.
_HALF = 0.05


def check_model(model, inputs, labels, objective=None, unchanged=(), jit_compile=True):
    """Check that a model can be trained, explained, saved and served like those of this library.

    Its configuration makes an equal model; its outputs are finite and float32; `explain` and
    `step_probabilities` give distributions; the loss that Keras logs is `objective` plus each term
    of `loss_terms`; one training step changes every trainable weight; both kinds of half precision
    answer nearly alike, and float16 trains; the `.keras` file and, on TensorFlow, the exported
    SavedModel give the same answers.

    Choose a small model with random weights, axes that differ in size, and arguments away from
    their defaults. The model is compiled and trained for one step.

    Args:
        model: A `keras_attn.models.VideoClassifier`.
        inputs: Arrays by the names of the model's inputs, `(B, T, ...)` each.
        labels: Class numbers `(B,)`.
        objective: Function of the outputs, as NumPy arrays, and the labels that gives the loss
            without `loss_terms` and weight regularization. None: the mean cross-entropy of
            `logits`.
        unchanged: Ends of the paths, as "level_1/bias", of weights that one training step need not
            change.
        jit_compile: Whether the training step is compiled by XLA on TensorFlow; worth its time for
            one variant of each model.

    Returns:
        The model's outputs before the training step, as NumPy arrays by name.

    Raises:
        AssertionError: The model breaks the contract; the message names the check.

    Example:
        features = {"features": np.random.normal(size=(2, 6, 3, 4, 7)).astype("float32")}
        check_model(WhereAndWhen(5, (None, 3, 4, 7), units=8), features, np.array([3, 1]))
    """
    require(isinstance(model, VideoClassifier), f"{type(model)} must be a VideoClassifier")
    copy = copy_from_config(model)
    outputs = answer(model, inputs)
    _check_outputs(outputs)
    _check_explanation(model, outputs, next(iter(inputs.values())).shape[1])
    _check_half_precision(model, inputs, labels, outputs)
    loss = _check_objective(model, inputs, labels, outputs, objective)
    _check_copy(model, copy, labels, outputs, loss)
    _check_training(model, inputs, labels, unchanged, jit_compile)
    _check_files(model, inputs)
    return outputs


def cross_entropy(labels, logits):
    """Cross-entropy of class numbers (B,) and logits (B, ..., K), in NumPy: (B, ...)."""
    logits = np.asarray(logits, "float64")
    logits = logits - logits.max(-1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -np.stack([row[..., label] for row, label in zip(logs, labels, strict=True)])


def _check_outputs(outputs):
    require("logits" in outputs, f"outputs must hold logits, got {', '.join(outputs)}")
    for name, output in outputs.items():
        require(output.dtype == np.float32, f"output {name} must be float32, got {output.dtype}")
        require(np.isfinite(output).all(), f"output {name} must be finite")


def _check_explanation(model, outputs, frames):
    batch = len(outputs["logits"])
    maps = {name: numpy(x) for name, x in model.explain(outputs).items()}
    require(set(maps) == {"where", "when"}, f"explain must give where and when, got {list(maps)}")
    where, when, steps = maps["where"], maps["when"], numpy(model.step_probabilities(outputs))
    for name, shares, axes, rank in (
        ('explain(...)["where"]', where, (2, 3), 4),
        ('explain(...)["when"]', when, (1,), 2),
        ("step_probabilities(...)", steps, (2,), 3),
    ):
        require(
            shares.ndim == rank and shares.shape[:2] == (batch, frames),
            f"{name} must have {rank} axes and begin with {batch, frames}, got {shares.shape}",
        )
        require(shares.min() >= 0, f"{name} must not be negative")
        sums = shares.sum(axes)
        require(np.allclose(sums, 1, atol=1e-4), f"{name} must sum to one, got {sums}")


def _check_half_precision(model, inputs, labels, outputs):
    """The float16 copy trains, too; bfloat16 has the range of float32."""
    for policy in ("mixed_bfloat16", "mixed_float16"):
        copy = type(model).from_config({**model.get_config(), "dtype": policy})
        copy.set_weights(model.get_weights())
        found = answer(copy, inputs)
        _check_outputs(found)
        for name, shares in _shares(model, outputs).items():
            other = _shares(copy, found)[name]
            message = f"{policy} must not change {name} by more than {_HALF}"
            require(np.abs(other - shares).max() <= _HALF, message)
    # Scaled less than Keras does at first: terms with large factors would overflow.
    _compile(copy, keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), 2**10))
    logs = copy.train_on_batch(inputs, labels, return_dict=True)
    require(np.isfinite(list(logs.values())).all(), f"{policy} must train on finite losses: {logs}")
    pairs = list(zip(model.trainable_weights, copy.trainable_weights, strict=True))
    require(
        all(np.isfinite(numpy(w)).all() for _, w in pairs), f"{policy} must keep weights finite"
    )
    require(any(np.any(numpy(a) != numpy(b)) for a, b in pairs), f"{policy} must train some weight")


def _shares(model, outputs):
    maps = {f"explain: {name}": numpy(x) for name, x in model.explain(outputs).items()}
    return {**maps, "probabilities": numpy(keras.ops.softmax(outputs["logits"]))}


def _check_objective(model, inputs, labels, outputs, objective):
    _compile(model)
    logs = model.test_on_batch(inputs, labels, return_dict=True)
    names = {"loss", "accuracy", *(mean.name for mean in model.term_means)}
    require(set(logs) == names, f"the log must hold {names}, got {set(logs)}")
    if objective is None:
        expected = cross_entropy(labels, outputs["logits"]).mean()
    else:
        expected = objective(outputs, labels)
    expected += sum(float(loss) for loss in model.losses)
    expected += sum(logs[mean.name] for mean in model.term_means)
    require(
        np.isclose(logs["loss"], expected, rtol=1e-5),
        "the loss must be the objective, regularization and the terms that are logged: expected "
        f"{expected}, got {logs['loss']} in {logs}",
    )
    accuracy = np.mean(outputs["logits"].argmax(-1) == labels)
    require(np.isclose(logs["accuracy"], accuracy), f"accuracy must be {accuracy}, got {logs}")
    return logs["loss"]


def _check_copy(model, copy, labels, outputs, expected):
    """A factor of a penalty, which no output shows, is not lost in the configuration."""
    copy.set_weights(model.get_weights())
    _compile(copy)
    tensors = {name: keras.ops.convert_to_tensor(x) for name, x in outputs.items()}
    loss = float(copy.compute_loss(None, keras.ops.convert_to_tensor(labels), tensors))
    require(
        np.isclose(loss, expected, rtol=1e-4),
        f"from_config(get_config()) must give the same loss, got {loss} for {expected}",
    )


def _check_training(model, inputs, labels, unchanged, jit_compile):
    before = model.get_weights()
    _compile(model, keras.optimizers.SGD(0.1), jit_compile)
    model.train_on_batch(inputs, labels)
    pairs = zip(model.weights, before, strict=True)
    constant = [w.path for w, value in pairs if np.array_equal(numpy(w), value)]
    odd = [path for path in constant if not path.endswith(tuple(unchanged))]
    require(not odd, f"one training step must change {', '.join(odd)}")
    for end in unchanged:
        require(any(w.path.endswith(end) for w in model.weights), f"no weight ends with {end}")


def _check_files(model, inputs):
    expected = answer(model, inputs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        try:
            loaded = keras.models.load_model(path)
        except Exception as error:
            raise AssertionError(f"the .keras file must load: {error}") from error
        assert_close(
            answer(loaded, inputs),
            expected,
            message="the model loaded from .keras must give the same answer",
        )
        if BACKEND == "tensorflow":
            _check_export(model, inputs, expected, Path(folder) / "exported")


def _check_export(model, inputs, expected, path):
    import tensorflow as tf

    model.export(path, verbose=False)
    served = tf.saved_model.load(path).signatures["serving_default"]
    first = {name: tf.constant(x[:1], "float32") for name, x in inputs.items()}
    message = "the exported model must give the same answer"
    assert_close(served(**first), {name: y[:1] for name, y in expected.items()}, message=message)
    if all(x.shape[1] is None for x in model.inputs):
        shorter = {name: x[:, 1:] for name, x in first.items()}
        assert_close(served(**shorter), answer(model, shorter), message=f"{message} for less time")


def _compile(model, optimizer="sgd", jit_compile=False):
    """With the loss and the metric of the library; without a graph where that is quicker."""
    jit_compile = jit_compile or BACKEND == "jax"
    model.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit_compile,
        run_eagerly=not jit_compile,
    )
