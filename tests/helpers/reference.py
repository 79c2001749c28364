"""Parts of the papers' equations in NumPy, that several tests are held against."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def lstm(x, h, c, kernel, recurrent, bias):
    """One step; gates in Keras' order."""
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def convolution(maps, kernel, bias=0.0):
    """3x3 with zeros around the map: (h, w, C) -> (h, w, filters)."""
    height, width, _ = maps.shape
    padded = np.pad(maps, ((1, 1), (1, 1), (0, 0)))
    result = np.zeros((height, width, kernel.shape[-1]))
    for row, column in np.ndindex(3, 3):
        result += padded[row : row + height, column : column + width] @ kernel[row, column]
    return result + bias


def conv_lstm(convolved, h, c, recurrent):
    """One step from a frame that the gates' kernels have met already; Keras' order."""
    i, f, g, o = np.split(convolved + convolution(h, recurrent), 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def convolutions(maps, named, stack):
    """3x3 convolutions with batch normalization, in use, and a ReLU after each.

    `named` holds the weights of the stack as `"<stack>/<layer>/<weight>"`, in order.
    """
    values = [value for path, value in named.items() if f"/{stack}/" in path]
    for kernel, gamma, beta, mean, variance in zip(*(values[i::5] for i in range(5)), strict=True):
        x = (convolution(maps, kernel) - mean) / np.sqrt(variance + 1e-5)
        maps = np.maximum(gamma * x + beta, 0)
    return maps


def named_weights(model):
    """`{"<layer>/<part>/<weight>": values}` of all weights, in float64."""
    return {w.path: np.asarray(w, "float64") for w in model.weights}


def scramble(layer, rng, scale=0.5):
    """Random values for all weights of a layer or model; variances stay above zero."""
    layer.set_weights(
        [
            rng.uniform(0.5, 1.5, w.shape)
            if w.path.endswith("variance")
            else scale * rng.normal(size=w.shape)
            for w in layer.weights
        ]
    )
    return layer
