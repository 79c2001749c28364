"""Meng et al. (paper 003) in NumPy, with loops."""

import numpy as np
from reference import conv_lstm, convolution, convolutions, named_weights, sigmoid, softmax

# Every axis another size, every argument away from its default.
SMALL = dict(
    num_classes=5,
    input_shape=(4, 2, 3, 7),
    units=6,
    attention_units=9,
    total_variation=0.3,
    contrast=0.2,
    unimodality=40.0,
    dropout=0.4,
)


def _ends(named, *ends):
    """The weights whose paths end so."""
    return [next(v for path, v in named.items() if path.endswith(end)) for end in ends]


def _mask(model, named, maps):
    if model.config["spatial"] == "none":
        return np.ones(maps.shape[:2])
    (kernel,) = _ends(named, "mask/kernel")
    return sigmoid(convolution(convolutions(maps, named, "hidden"), kernel))[..., 0]


def _energy(model, named):
    """Eq. (2): a function of the state and a frame."""
    if model.config["temporal_mode"] == "uniform":
        return lambda h, x: 0.0
    query, w_x = _ends(named, "query/kernel", "key/kernel")

    def energy(h, x):
        if model.config["energy"] == "additive":
            return (h.mean((0, 1)) @ query + x.mean((0, 1)) @ w_x)[0]
        b, v = _ends(named, "key/bias", "score")
        return np.tanh(h.mean((0, 1)) @ query + x.mean((0, 1)) @ w_x + b) @ v

    return energy


def _iterative(model, named, frames):
    """Eq. (2)-(6): the mean state, weights of every iteration."""
    kernel, bias, recurrent = _ends(
        named,
        "conv_lstm_attention/convolution/kernel",
        "conv_lstm_attention/convolution/bias",
        "recurrent_convolution/kernel",
    )
    energy = _energy(model, named)
    mean = sum(frames) / len(frames)
    h, c = (convolutions(mean, named, stack) for stack in ("first_hidden", "first_carry"))
    weights, states = [], []
    for _ in frames:
        weights.append(softmax(np.array([energy(h, x) for x in frames])))  # eq. (2)-(3)
        glimpse = sum(w * x for w, x in zip(weights[-1], frames, strict=True))  # eq. (4)
        if model.config["glimpse"] == "mean":
            glimpse = glimpse / len(frames)
        h, c = conv_lstm(convolution(glimpse, kernel, bias), h, c, recurrent)
        states.append(h.mean((0, 1)))
    return sum(states) / len(states), np.stack(weights)


def _posthoc(model, named, frames):
    kernel, recurrent, bias = _ends(
        named, "conv_lstm_cell/kernel", "recurrent_kernel", "conv_lstm_cell/bias"
    )
    h = c = np.zeros((*frames[0].shape[:2], model.config["units"]))
    states = []
    for frame in frames:
        h, c = conv_lstm(convolution(frame, kernel, bias), h, c, recurrent)
        states.append(h.mean((0, 1)))
    scores = np.zeros(len(frames))
    if model.config["temporal_mode"] == "posthoc":
        (vector,) = _ends(named, "temporal_scores/kernel")
        scores = np.array([state @ vector[:, 0] for state in states])
    weights = softmax(scores)
    return sum(w * state for w, state in zip(weights, states, strict=True)), weights


def reference(model, features):
    """Logits, masks and temporal weights with loops."""
    named = named_weights(model)
    iterative = model.config["temporal_mode"] in ("iterative", "uniform")
    attend = _iterative if iterative else _posthoc
    logits, masks, weights = [], [], []
    for clip in features.astype("float64"):
        if model.config["reduce"]:
            kernel, bias = _ends(named, "reduction/kernel", "reduction/bias")
            clip = clip @ kernel + bias
        masks.append(np.stack([_mask(model, named, maps) for maps in clip]))
        frames = [x * m[..., None] for x, m in zip(clip, masks[-1], strict=True)]  # eq. (1)
        video, when = attend(model, named, frames)
        weights.append(when)
        kernel, bias = _ends(named, "classifier/kernel", "classifier/bias")
        logits.append(video @ kernel + bias)
    return np.stack(logits), np.stack(masks), np.stack(weights)
