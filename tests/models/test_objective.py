"""Losses and labels that the models take, in plain Keras: `compile`, `fit`, `evaluate`."""

import functools

import keras
import numpy as np
import pytest
from checks import BACKEND, answer, cross_entropy

from keras_attn.losses import LogitsCrossEntropy
from keras_attn.models import (
    STACNN,
    PyramidAttentionNetwork,
    StructuredAttentionLSTM,
    TemporalAttentionLSTM,
    WhereAndWhen,
)

# A step each: a graph, on either backend, takes longer than it saves.
QUICK = dict(run_eagerly=True, jit_compile=False)
CLASSES, CLIPS = 3, 4
MAPS = (3, 2, 2, 4)
MODELS = {
    "structured": lambda: StructuredAttentionLSTM(CLASSES, MAPS, units=3, dropout=0.0),
    "sta_cnn": lambda: STACNN(CLASSES, MAPS, groups=1, keep=2, test_keep=2, dropout=0.0),
    "prediction": lambda: STACNN(
        CLASSES, MAPS, groups=1, keep=2, test_keep=2, dropout=0.0, consensus="prediction"
    ),
    "temporal": lambda: TemporalAttentionLSTM(
        CLASSES, (3, 4), units=3, iterations=2, last=1, dropout=0.0
    ),
    "where_and_when": lambda: WhereAndWhen(CLASSES, MAPS, units=3, attention_units=3, dropout=0.0),
    "pyramid": lambda: PyramidAttentionNetwork(CLASSES, MAPS, dropout=0.0),
}
LABELS = np.array([2, 0, 1, 1])
SHARES = np.array([[0, 0.1, 0.9], [0.8, 0.1, 0.1], [0, 1, 0], [0.5, 0.5, 0]], "float32")
TWO_OF_THREE = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])


@pytest.fixture(scope="module")
def model():
    """One of each, built once; tests compile it anew and never train it."""
    return functools.cache(_random)


def _random(name):
    model, random = MODELS[name](), np.random.default_rng(3)
    model.set_weights([w + random.uniform(size=w.shape) for w in model.get_weights()])
    return model


def _inputs(model):
    shape = (CLIPS, *model.input["features"].shape[1:])
    return {"features": np.random.default_rng(4).normal(size=shape).astype("float32")}


def _logs(model, labels, loss=None, sample_weight=None, **options):
    model.compile("sgd", loss, **QUICK, **{"metrics": ["accuracy"], **options})
    return model.test_on_batch(_inputs(model), labels, sample_weight, return_dict=True)


# === Labels ===


# Labels and losses are those of the base class; on JAX every pair is compiled anew.
@pytest.mark.parametrize("name", MODELS if BACKEND == "tensorflow" else ["prediction", "temporal"])
def test_every_kind_of_label_and_loss(model, name):
    model = model(name)
    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = _logs(model, LABELS, sparse)
    probabilities = answer(model, _inputs(model))["logits"]
    assert expected["accuracy"] == pytest.approx((probabilities.argmax(1) == LABELS).mean())
    dense = keras.losses.CategoricalCrossentropy(from_logits=True)
    one_hot = np.eye(CLASSES)[LABELS]
    for labels, loss in [
        (LABELS, None),
        (LABELS[:, None], None),
        (LABELS[:, None], sparse),
        (one_hot.astype("int32"), None),
        (one_hot, dense),
        (LABELS, keras.losses.SparseCategoricalCrossentropy(from_logits=True, name="other")),
    ]:
        assert _logs(model, labels, loss) == pytest.approx(expected, rel=1e-5)
    shares = _logs(model, SHARES)
    assert shares == pytest.approx(_logs(model, SHARES, dense), rel=1e-5)
    smoothing = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.3)
    smoothed = 0.7 * one_hot + 0.1
    found = _logs(model, one_hot, smoothing)
    assert found == pytest.approx(_logs(model, smoothed), rel=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_several_labels_per_clip_and_focal_losses(model, name):
    model = model(name)
    binary = keras.losses.BinaryCrossentropy(from_logits=True)
    found = _logs(model, TWO_OF_THREE, binary)
    logits = answer(model, _inputs(model))["logits"]
    # Each class by itself; `categorical_accuracy` would compare where the maxima are.
    assert found["accuracy"] == pytest.approx(((logits > 0) == TWO_OF_THREE).mean())
    # Without focusing and balancing a focal loss is the plain one, in the auxiliary loss too.
    focal = keras.losses.BinaryFocalCrossentropy(from_logits=True, gamma=0.0)
    assert _logs(model, TWO_OF_THREE, focal) == pytest.approx(found, rel=1e-5)
    focal = keras.losses.CategoricalFocalCrossentropy(from_logits=True, gamma=0.0, alpha=1.0)
    expected = _logs(model, np.eye(CLASSES)[LABELS])
    assert _logs(model, np.eye(CLASSES)[LABELS], focal) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "labels, loss, message",
    [
        (np.zeros((CLIPS, 5)), None, r"y must be .* of the num_classes=3 classes, .*\(4, 5\)"),
        (np.zeros((CLIPS, 2, 3)), None, r"y must be class numbers .* got the shape \(4, 2, 3\)"),
        (
            SHARES,
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            r"takes class numbers \(B,\): compile with keras.losses.CategoricalCrossentropy",
        ),
        (
            LABELS[:, None],  # Keras would compare one label with all classes
            keras.losses.BinaryCrossentropy(from_logits=True),
            r"loss=BinaryCrossentropy takes .*keras.utils.to_categorical\(y, 3\)",
        ),
        (LABELS, "categorical_hinge", r"categorical_hinge takes a number for each class"),
    ],
)
@pytest.mark.parametrize("name", ["temporal", "where_and_when"])
def test_labels_that_do_not_fit_are_refused_in_words(model, name, labels, loss, message):
    with pytest.raises(ValueError, match=message):
        _logs(model(name), labels, loss)


# === Losses ===


@pytest.mark.parametrize(
    "loss, advice",
    [
        ("sparse_categorical_crossentropy", "losses.SparseCategoricalCrossentropy"),
        ("categorical_crossentropy", "losses.CategoricalCrossentropy"),
        ("binary_crossentropy", "losses.BinaryCrossentropy"),
        ("bce", "losses.BinaryCrossentropy"),
        ("binary_focal_crossentropy", "losses.BinaryFocalCrossentropy"),
        ("categorical_focal_crossentropy", "losses.CategoricalFocalCrossentropy"),
        (keras.losses.sparse_categorical_crossentropy, "losses.SparseCategoricalCrossentropy"),
        (keras.losses.CategoricalCrossentropy(), "losses.CategoricalCrossentropy"),
        (keras.losses.BinaryFocalCrossentropy, "losses.BinaryFocalCrossentropy"),
        ({"logits": "categorical_crossentropy"}, "losses.CategoricalCrossentropy"),
        ("crossentropy", "losses"),
        ("kl_divergence", r"losses.LogitsCrossEntropy\(\)"),
        (keras.losses.Dice(), r"losses.LogitsCrossEntropy\(\)"),
    ],
)
def test_losses_of_probabilities_are_refused_by_name(model, loss, advice):
    named = loss["logits"] if isinstance(loss, dict) else loss
    named = named if isinstance(named, str) else getattr(named, "__name__", type(named).__name__)
    with pytest.raises(
        ValueError, match=f'loss="?{named}"? takes probabilities.*: give .*{advice}'
    ):
        model("pyramid").compile("sgd", loss)


def test_metrics_of_probabilities_are_refused_by_name(model):
    message = r"takes probabilities.*: give keras.metrics.*from_logits=True"
    for metric in ("ce", "sparse_categorical_crossentropy", keras.metrics.AUC(), "AUC"):
        with pytest.raises(ValueError, match=message):
            model("pyramid").compile("sgd", metrics=[metric])
    model("pyramid").compile("sgd", metrics=[keras.metrics.AUC(from_logits=True), "mse"])


def test_losses_of_other_kinds_are_taken(model):
    model = model("pyramid")
    squares = lambda y, logits: keras.ops.mean((y - logits) ** 2, axis=-1)  # noqa: E731
    expected = _logs(model, SHARES, "mean_squared_error")
    assert _logs(model, SHARES, squares) == pytest.approx(expected, rel=1e-5)


def test_a_function_is_the_auxiliary_loss_too(model):
    model = model("sta_cnn")
    own = functools.partial(keras.losses.sparse_categorical_crossentropy, from_logits=True)
    expected = _logs(model, LABELS, sample_weight=np.float32([1, 2, 0, 1]))
    found = _logs(model, LABELS, own, sample_weight=np.float32([1, 2, 0, 1]))
    assert found == pytest.approx(expected, rel=1e-5)


def test_without_a_loss_a_model_learns_its_classes(tmp_path):
    model = _random("structured")
    inputs = _inputs(model)
    model.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"], **QUICK)
    before = cross_entropy(LABELS, answer(model, inputs)["step_logits"]).sum(1).mean()
    for _ in range(3):
        loss = model.train_on_batch(inputs, LABELS)[0]
    assert cross_entropy(LABELS, answer(model, inputs)["step_logits"]).sum(1).mean() < before
    assert loss > 0.5  # the penalty alone is 0.0001 of that

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.loss) is LogitsCrossEntropy
    assert int(loaded.optimizer.iterations) == 3
    expected = model.test_on_batch(inputs, LABELS, return_dict=True)
    loaded.compile(loaded.optimizer, loaded.loss, metrics=["accuracy"], **QUICK)
    assert loaded.test_on_batch(inputs, LABELS, return_dict=True) == pytest.approx(expected)


def test_what_was_compiled_is_loaded(tmp_path):
    """By name of the output, with a weight, and accuracy of each class by itself."""
    model = _random("pyramid")
    model.compile(
        "sgd",
        {"logits": keras.losses.BinaryCrossentropy(from_logits=True)},
        loss_weights={"logits": 0.5},
        metrics={"logits": ["accuracy"]},
        **QUICK,
    )
    expected = model.evaluate(_inputs(model), TWO_OF_THREE, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    found = loaded.evaluate(_inputs(model), TWO_OF_THREE, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)
    assert set(found) == {"loss", "accuracy", "interaction", "pyramid"}


def test_a_file_that_was_compiled_for_probabilities_still_loads(tmp_path):
    """As before there was a check."""
    model = _random("pyramid")
    keras.Model.compile(model, "sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match='compiled as it was saved, but loss="sparse_cat'):
        loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.loss == "sparse_categorical_crossentropy"
