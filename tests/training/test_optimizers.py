"""The optimizers against NumPy, step by step, and through everything Keras wraps around them."""

import json

import keras
import numpy as np
import pytest
from checks import JIT
from keras import layers

from keras_attn.training import checkpoint
from keras_attn.training.optimizers import OPTIMIZERS, SGD, Adadelta, make_optimizer

NAMES = list(OPTIMIZERS)
DECAY = 0.02
# Temporal segment networks, optical flow; the last expression must not reach what came before it.
GROUPS = {
    "^conv1/kernel": (5, 1),
    "^conv1/bias": (10, 0),
    "bias$": (2, 0),
    "(gamma|beta)$": (1, 0),
    "conv": (1, 1),
}
FACTORS = {
    "conv1/kernel": (5, 1),
    "conv1/bias": (10, 0),
    "conv2/kernel": (1, 1),
    "conv2/bias": (2, 0),
    "norm/gamma": (1, 0),
    "dense/kernel": (1, 1),
}


class _Rule:
    """One variable of one optimizer, in NumPy: Caffe's momentum, Kingma and Ba, Zeiler."""

    def __init__(self, name, value):
        self.name, self.value = name, value.astype("float64")
        self.first, self.second, self.steps = 0.0, 0.0, 0

    def step(self, gradient, rate, decay):
        gradient = gradient + decay * self.value
        self.steps += 1
        self.value = self.value - getattr(self, f"_{self.name}")(gradient, rate)

    def _sgd(self, gradient, rate):
        self.first = 0.9 * self.first + rate * gradient
        return self.first

    def _adam(self, gradient, rate):
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        mean = self.first / (1 - 0.9**self.steps)
        scale = np.sqrt(self.second / (1 - 0.999**self.steps))
        return rate * mean / (scale + 1e-7 / np.sqrt(1 - 0.999**self.steps))

    def _adadelta(self, gradient, rate):
        self.first = 0.95 * self.first + 0.05 * gradient**2
        change = np.sqrt(self.second + 1e-6) / np.sqrt(self.first + 1e-6) * gradient
        self.second = 0.95 * self.second + 0.05 * change**2
        return rate * change


def _variables(rng):
    variables = []
    for path in FACTORS:
        layer, name = path.split("/")
        with keras.name_scope(layer):
            variables.append(keras.Variable(rng.normal(size=(3, 2)).astype("float32"), name=name))
    assert [v.path for v in variables] == list(FACTORS)
    return variables


def _gradients(rng, batches):
    return [[rng.normal(size=(3, 2)).astype("float32") for _ in FACTORS] for _ in range(batches)]


def _applied(optimizer, variables, batches):
    for gradients in batches:
        tensors = [keras.ops.convert_to_tensor(gradient) for gradient in gradients]
        optimizer.apply(tensors, variables)
    return [np.asarray(variable.numpy()) for variable in variables]


def _expected(name, variables, updates, rates, decay=DECAY):
    rules = [_Rule(name, variable.numpy()) for variable in variables]
    for gradients, rate in zip(updates, rates, strict=True):
        for rule, gradient, (faster, more) in zip(rules, gradients, FACTORS.values(), strict=True):
            rule.step(gradient, faster * rate, more * decay)
    return [rule.value for rule in rules]


def _clipped(gradients, norm):
    length = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients))
    return [gradient * min(1, norm / length) for gradient in gradients]


def _assert_all_close(actual, expected):
    # Keras computes 1 - 0.999**steps of Adam in float32, where it has four digits.
    for x, y in zip(actual, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("name", NAMES)
def test_equals_numpy_over_several_steps(rng, name):
    variables, batches = _variables(rng), _gradients(rng, 4)
    optimizer = make_optimizer(name, 0.1, weight_decay=DECAY, multipliers=GROUPS)
    expected = _expected(name, variables, batches, [0.1] * 4)
    _assert_all_close(_applied(optimizer, variables, batches), expected)


@pytest.mark.parametrize("name", NAMES)
def test_batches_add_up_then_the_norm_is_bounded_then_comes_the_decay(rng, name):
    variables, batches = _variables(rng), _gradients(rng, 6)
    options = dict(weight_decay=DECAY, multipliers=GROUPS, clip_norm=1.5, accumulate=2)
    optimizer = make_optimizer(name, 0.1, **options)
    means = [
        [(a + b) / 2 for a, b in zip(*pair, strict=True)]
        for pair in zip(batches[::2], batches[1::2], strict=True)
    ]
    updates = [_clipped(gradients, 1.5) for gradients in means]
    expected = _expected(name, variables, updates, [0.1] * 3)
    _assert_all_close(_applied(optimizer, variables, batches), expected)


def test_a_schedule_counts_batches(rng):
    variables, batches = _variables(rng), _gradients(rng, 6)
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2, 4], [0.1, 0.01, 0.001])
    options = dict(weight_decay=DECAY, multipliers=GROUPS)
    expected = _expected("sgd", variables, batches, [0.1, 0.1, 0.1, 0.01, 0.01, 0.001])
    actual = _applied(make_optimizer("sgd", schedule, **options), variables, batches)
    _assert_all_close(actual, expected)
    # Two batches an update: updates at the batches 1, 3 and 5.
    expected = _expected("sgd", variables, batches[1::2], [0.1, 0.01, 0.001])
    doubled = [gradients for pair in batches[1::2] for gradients in (pair, pair)]
    optimizer = make_optimizer("sgd", schedule, accumulate=2, **options)
    _assert_all_close(_applied(optimizer, variables, doubled), expected)


def test_the_decay_enters_the_momentum_unlike_that_of_keras(rng):
    variables, batches = _variables(rng), _gradients(rng, 3)
    expected = _expected("sgd", variables, batches, [0.1] * 3, decay=1.0)
    start = [variable.numpy() for variable in variables]
    rows = []
    for kind in (SGD, keras.optimizers.SGD):
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        optimizer = kind(0.1, momentum=0.9, weight_decay=1.0)
        rows.append(_applied(optimizer, variables, batches)[-1])  # both factors of it are 1
    np.testing.assert_allclose(rows[0], expected[-1], rtol=1e-4)
    assert np.abs(rows[1] - expected[-1]).max() > 0.05


def test_defaults_are_those_of_the_papers():
    assert make_optimizer("sgd", 0.1).momentum == 0.9
    optimizer = Adadelta()
    assert (float(optimizer.learning_rate), optimizer.rho, optimizer.epsilon) == (1.0, 0.95, 1e-6)


# === In a model ===


def _model(rng, optimizer):
    image = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, name="conv1")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Dense(2, name="dense", dtype="float32")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    model.compile(optimizer, "mse", jit_compile=JIT)
    return model


def _batches(rng, count):
    return [
        (rng.normal(size=(4, 6, 6, 3)).astype("float32"), rng.normal(size=(4, 2)))
        for _ in range(count)
    ]


OPTIONS = dict(weight_decay=DECAY, multipliers=GROUPS, clip_norm=1.0, accumulate=2)


@pytest.mark.parametrize(
    "name, dtype", [("sgd", "mixed_float16"), ("adam", "float32"), ("adadelta", "mixed_float16")]
)
def test_a_checkpoint_in_the_middle_of_an_update_goes_on_to_the_same_bits(
    rng, policy, tmp_path, name, dtype
):
    policy(dtype)
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.01])
    models = [_model(rng, make_optimizer(name, schedule, **OPTIONS)) for _ in range(2)]
    for model in models:
        model.optimizer.build(model.trainable_variables)
    assert isinstance(models[0].optimizer, keras.optimizers.LossScaleOptimizer) == (
        dtype == "mixed_float16"
    )
    batches = _batches(rng, 6)
    for batch in batches[:3]:
        models[0].train_on_batch(*batch)
    checkpoint.save(tmp_path / "checkpoint", models[0], {})
    checkpoint.load(tmp_path / "checkpoint", models[1])
    before = models[0].get_weights()
    for model in models:
        for batch in batches[3:]:
            assert np.isfinite(model.train_on_batch(*batch))
    for old, whole, resumed in zip(before, *(m.get_weights() for m in models), strict=True):
        np.testing.assert_array_equal(whole, resumed)
        assert not np.array_equal(old, whole)


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_is_the_whole_optimizer(name):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.01])
    optimizer = make_optimizer(name, schedule, **OPTIONS)
    config = keras.saving.serialize_keras_object(optimizer)
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert type(copy) is OPTIMIZERS[name]
    assert copy.get_config() == optimizer.get_config()
    assert copy.get_config()["weight_decay"] == DECAY
    assert list(copy.get_config()["multipliers"]) == list(GROUPS)


def test_a_saved_model_keeps_its_optimizer(rng, tmp_path):
    model = _model(rng, make_optimizer("adadelta", 0.1, **OPTIONS))
    batches = _batches(rng, 3)
    model.train_on_batch(*batches[0])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for batch in batches[1:]:
        model.train_on_batch(*batch)
        loaded.train_on_batch(*batch)
    for x, y in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(x, y)


# === Arguments ===


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"name": "rmsprop"}, "name must be one of sgd, adam, adadelta, got 'rmsprop'"),
        ({"learning_rate": 0}, "learning_rate must be above 0 and finite, got 0"),
        ({"clip_norm": -1.0}, "clip_norm must be above 0 and finite, got -1.0"),
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0 and finite, got -0.1"),
        ({"multipliers": {"(": (1, 1)}}, r"multipliers must map .*, got '\(': \(1, 1\)"),
        ({"multipliers": {"bias": 2.0}}, "to two factors of at least 0, .*, got 'bias': 2.0"),
        ({"multipliers": {"bias": (2, -1)}}, "multipliers must map"),
        ({"multipliers": {"bias": (2, "0")}}, "multipliers must map"),
    ],
)
def test_arguments_that_cannot_work(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(**{"name": "sgd", "learning_rate": 0.1, **arguments})
