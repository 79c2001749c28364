"""Every paper's model keeps the contract of `keras_attn.testing`; a new one adds it to CASES."""

import numpy as np
import pytest
from checks import BACKEND, cross_entropy
from reference import scramble

from keras_attn.models import MODELS
from keras_attn.testing import check_model

CLIPS, FRAMES, CLASSES = 2, 4, 5


def _sum_over_steps(outputs, labels):
    return cross_entropy(labels, outputs["step_logits"]).sum(1).mean()


def _mean_over_selected(outputs, labels):
    steps = cross_entropy(labels, outputs["step_logits"])
    return np.mean([s[kept > 0].mean() for s, kept in zip(steps, outputs["selected"], strict=True)])


# Arguments away from their defaults, the outputs' shapes without the batch, and the objective that
# the penalties are added to where it is not the cross-entropy of the logits. Of the cases of a
# model, XLA compiles the first.
CASES = [
    (
        "structured_attention",
        dict(
            input_shape=(None, 2, 3, 7),
            units=8,
            attention="concentrated",
            stride=1,
            penalty=0.3,
            current_frame=True,
            logit_tanh=False,
            dropout=0.2,
            weight_decay=0.01,
        ),
        {"logits": (5,), "step_logits": (4, 5), "spatial_attention": (4, 2, 3)},
        _sum_over_steps,
    ),
    (
        "structured_attention",
        dict(input_shape=(4, 2, 3, 7), units=8, attention="none", dropout=0.2, weight_decay=0.01),
        {"logits": (5,), "step_logits": (4, 5), "spatial_attention": (4, 2, 3)},
        _sum_over_steps,
    ),
    (
        "sta_cnn",
        dict(
            input_shape=(None, 2, 3, 7),
            groups=2,
            keep=1,
            aux_weight=0.7,
            dropout=0.2,
            test_keep=3,
        ),
        {
            "logits": (5,),
            "step_logits": (4, 5),
            "aux_logits": (4, 5),
            "spatial_attention": (4, 2, 3),
            "temporal_attention": (4,),
            "selected": (4,),
        },
        _mean_over_selected,
    ),
    (
        "temporal_attention",
        dict(input_shape=(None, 7), units=8, iterations=3, dropout=0.2, last=2),
        {"logits": (5,), "step_logits": (3, 5), "temporal_attention": (3, 4)},
        _sum_over_steps,
    ),
    (
        "where_and_when",
        dict(
            input_shape=(None, 2, 3, 7),
            units=6,
            attention_units=9,
            reduce=5,
            total_variation=0.3,
            contrast=0.2,
            unimodality=40.0,
            dropout=0.4,
        ),
        {"logits": (5,), "spatial_attention": (4, 2, 3), "temporal_attention": (4, 4)},
        None,
    ),
    (
        "where_and_when",
        dict(input_shape=(4, 2, 3, 7), units=6, temporal_mode="posthoc", unimodality=40.0),
        {"logits": (5,), "spatial_attention": (4, 2, 3), "temporal_attention": (4,)},
        None,
    ),
    (
        "pyramid_attention",
        dict(
            input_shape=(None, 2, 3, 64),
            interaction=0.3,
            pyramid=0.2,
            dropout=0.2,
            backbone="tiny",
            cached=True,
        ),
        {"logits": (5,), "spatial_attention": (4, 2, 3), "interaction": (), "pyramid": ()},
        None,
    ),
    (
        "pyramid_attention",
        dict(input_shape=(4, 2, 3, 64), mode="none", backbone="tiny", cached=True),
        {"logits": (5,), "spatial_attention": (4, 2, 3)},
        None,
    ),
    (
        "attention_fusion",
        dict(
            input_shape=(None, 2, 3, 64),
            levels=["conv_1", "conv_3"],
            interaction=0.3,
            pyramid=0.2,
            dropout=0.2,
            backbone="tiny",
            cached=True,
        ),
        {
            "logits": (5,),
            "spatial_attention": (4, 2, 3),
            "stream_attention": (2,),
            "interaction": (),
            "pyramid": (),
        },
        None,
    ),
    (
        "frame_classifier",
        dict(input_shape=(None, 2, 3, 7), dropout=0.2),
        {"logits": (5,), "step_logits": (4, 5)},
        lambda outputs, labels: cross_entropy(labels, outputs["step_logits"]).mean(),
    ),
]


@pytest.mark.parametrize("case", range(len(CASES)), ids=[name for name, *_ in CASES])
def test_contract(rng, case):
    name, arguments, shapes, objective = CASES[case]
    first = name not in [other for other, *_ in CASES[:case]]
    if BACKEND == "jax" and not first:
        pytest.skip("the first case of a model shows the backend, and JAX takes long")
    model = scramble(MODELS[name](CLASSES, **arguments), rng, scale=0.3)
    features = rng.normal(size=(CLIPS, FRAMES, *arguments["input_shape"][1:])).astype("float32")
    outputs = check_model(
        model,
        {"features": features},
        np.array([3, 1]),
        objective,
        jit_compile=first,
    )
    assert {name: output.shape[1:] for name, output in outputs.items()} == shapes
    _refuses_features_it_was_not_built_for(model, features)


def _refuses_features_it_was_not_built_for(model, features):
    """Of another rank, other channels, and other cells or frames where these are fixed."""
    wrong = [features[0], features[None], features[..., 0], features[..., 1:]]
    wrong += [features[:, :, 1:]] if features.ndim == 5 else []
    wrong += [features[:, 1:]] if model.input["features"].shape[1] else []
    message = r"`features` must have the shape .*, got .*; "
    for some in wrong:
        with pytest.raises(ValueError, match=message):
            model({"features": some})
    with pytest.raises(ValueError, match=message):  # on JAX it takes the weights with it
        model.fit({"features": features[..., 0]}, np.array([3, 1]), verbose=0)


def test_every_model_has_a_case():
    assert {name for name, *_ in CASES} == set(MODELS)
