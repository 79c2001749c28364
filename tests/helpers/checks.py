"""What every layer and every model must pass, on whichever backend is running."""

import itertools

import keras
import numpy as np
from keras import ops, tree

BACKEND = keras.backend.backend()
# On TensorFlow, Keras compiles even `predict` with XLA unless told otherwise, which takes seconds
# a function on a CPU. Models in tests are run without, and `check_model` trains once with it.
JIT = BACKEND == "jax"


def numpy(x):
    return np.asarray(ops.convert_to_numpy(ops.cast(x, "float32")))


def assert_close(actual, expected, atol=1e-5):
    actual, expected = (tree.flatten(x) for x in (actual, expected))
    assert len(actual) == len(expected)
    for x, y in zip(actual, expected, strict=True):
        np.testing.assert_allclose(numpy(x), numpy(y), rtol=1e-4, atol=atol)


def compiled(function):
    """`function` of arrays, compiled by XLA."""
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def gradient(function, x):
    """Gradient of a scalar function at the array x, as NumPy."""
    if BACKEND == "jax":
        import jax

        with jax.enable_x64(x.dtype == np.float64):
            return np.asarray(jax.grad(function)(x))
    import tensorflow as tf

    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return tape.gradient(value, x).numpy()


def check_gradient(function, reference, x):
    """The gradient of `function` at x is that of the NumPy `reference`, in float64."""
    x = x.astype("float64")
    expected = np.zeros_like(x)
    step = 1e-6
    for index, sign in itertools.product(np.ndindex(x.shape), (1, -1)):
        moved = x.copy()
        moved[index] += sign * step
        expected[index] += sign * reference(moved) / (2 * step)
    actual = gradient(function, x)
    assert actual.dtype == np.float64
    assert np.abs(actual - expected).max() < 1e-6 * np.abs(expected).max()


def _sum_of_squares(outputs):
    return sum(ops.sum(ops.square(y)) for y in tree.flatten(outputs))


def _weight_gradients(layer, inputs):
    if BACKEND == "jax":
        import jax

        frozen = [w.value for w in layer.non_trainable_variables]

        def total(trainable):
            outputs, _ = layer.stateless_call(trainable, frozen, *inputs)
            return _sum_of_squares(outputs)

        return jax.grad(total)([w.value for w in layer.trainable_variables])
    import tensorflow as tf

    with tf.GradientTape() as tape:
        total = _sum_of_squares(layer(*inputs))
    return tape.gradient(total, [w.value for w in layer.trainable_weights])


def round_trip(layer):
    """A copy from the configuration, made twice since Keras' wrappers change the dict they get."""
    for _ in range(2):
        copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    return copy


def check_layer(layer, *inputs):
    """Shapes, configuration, gradients, XLA, mixed precision. Returns the outputs."""
    outputs = layer(*inputs)
    symbolic = layer(*(keras.KerasTensor(x.shape, str(x.dtype)) for x in inputs))
    for actual, inferred in zip(tree.flatten(outputs), tree.flatten(symbolic), strict=True):
        assert tuple(actual.shape) == tuple(inferred.shape)

    copy = round_trip(layer)
    copy(*inputs)
    copy.set_weights(layer.get_weights())
    assert_close(copy(*inputs), outputs)

    gradients = _weight_gradients(layer, inputs)
    assert len(gradients) == len(layer.trainable_weights)
    for weight, values in zip(layer.trainable_weights, gradients, strict=True):
        assert values is not None, f"no gradient reaches {weight.path}"
        assert np.any(numpy(values)), f"the gradient of {weight.path} is zero everywhere"

    assert_close(compiled(layer)(*inputs), outputs, atol=1e-4)
    half = type(layer).from_config({**layer.get_config(), "dtype": "mixed_float16"})
    for output in tree.flatten(half(*inputs)):
        assert np.isfinite(numpy(output)).all()
    return outputs


def cross_entropy(labels, logits):
    """Of integer labels (B,) and logits (B, ..., K), in NumPy: (B, ...)."""
    logits = np.asarray(logits, "float64")
    logits = logits - logits.max(-1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -np.stack([row[..., label] for row, label in zip(logs, labels, strict=True)])


def sum_of_squares(model):
    """Of all weights outside the backbone."""
    own = [layer for layer in model.layers if layer.name != "backbone"]
    return sum(np.sum(np.square(w)) for layer in own for w in layer.get_weights())


def _decayed_steps(model, outputs, labels):
    """Cross-entropy summed over the steps, and weight decay."""
    steps = cross_entropy(labels, outputs["step_logits"])
    return steps.sum(1).mean() + model.config["weight_decay"] * sum_of_squares(model)


def check_step(model, inputs, labels, loss=None, metrics=None):
    """A step of training has finite losses and gradients; mixed_float16 leaves out all others."""
    # Scaled less than Keras does at first: terms with large factors would overflow.
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), initial_scale=2**10)
    model.compile(optimizer, loss, metrics=metrics, jit_compile=JIT)
    before = [numpy(w) for w in model.trainable_weights]
    logs = model.train_on_batch(inputs, labels, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values()), logs
    after = [numpy(w) for w in model.trainable_weights]
    assert all(np.isfinite(w).all() for w in after)
    assert any(np.any(old != new) for old, new in zip(before, after, strict=True))


def check_model(model, inputs, labels, tmp_path, objective=None, unchanged=()):
    """Configuration, objective, training, saving and serving agree. Returns the outputs.

    `objective(outputs, labels)` is the loss in NumPy, without the model's loss terms; `unchanged`
    are ends of paths, as "level_1/bias", of weights that need not change in a training step.
    """
    round_trip(model)
    arguments = dict(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.compile(**arguments, jit_compile=JIT)
    outputs = model.predict(inputs, verbose=0)
    for output in outputs.values():
        assert output.dtype == np.float32
    logs = model.evaluate(inputs, labels, batch_size=len(labels), verbose=0, return_dict=True)
    expected = objective(outputs, labels) if objective else _decayed_steps(model, outputs, labels)
    terms = {mean.name: logs[mean.name] for mean in model.term_means}
    np.testing.assert_allclose(logs["loss"], expected + sum(terms.values()), rtol=1e-5)
    accuracy = np.mean(outputs["logits"].argmax(-1) == labels)
    np.testing.assert_allclose(logs["accuracy"], accuracy, rtol=1e-6)

    before = model.get_weights()
    model.compile(**arguments, jit_compile=True)
    history = model.fit(inputs, labels, verbose=0).history
    assert set(history) == {"loss", "accuracy", *terms}
    pairs = zip(model.weights, before, model.get_weights(), strict=True)
    constant = [w.path for w, a, b in pairs if np.array_equal(a, b)]
    odd = [path for path in constant if not path.endswith(tuple(unchanged))]
    assert not odd, f"one training step must change {', '.join(odd)}"
    for end in unchanged:
        assert any(w.path.endswith(end) for w in model.weights), f"no weight ends with {end}"

    arguments["optimizer"] = model.optimizer
    model.compile(**arguments, jit_compile=JIT)
    after = model.predict(inputs, verbose=0)
    model.save(tmp_path / "model.keras")
    assert_close(
        keras.models.load_model(tmp_path / "model.keras").predict(inputs, verbose=0), after
    )
    if BACKEND == "tensorflow":
        import tensorflow as tf

        model.export(tmp_path / "exported", verbose=False)
        served = tf.saved_model.load(tmp_path / "exported").signatures["serving_default"]
        tensors = {name: tf.constant(x[:1], "float32") for name, x in inputs.items()}
        assert_close(served(**tensors), {name: y[:1] for name, y in after.items()})
        if all(x.shape[1] is None for x in model.inputs):
            shorter = {name: x[:, 1:] for name, x in tensors.items()}
            assert_close(served(**shorter), model.predict(shorter, verbose=0))
    return outputs
