"""Parts of Hu et al. in NumPy, for attention over the frames of one stream or of two."""

import math

import numpy as np


def _softmax(x):
    x = np.exp(x - x.max(0))
    return x / x.sum(0)


def _fused(fusion, scores):
    fused = np.zeros_like(scores[0])
    for index in np.ndindex(fused.shape):
        values = [level[index] for level in scores]
        fused[index] = {"product": np.prod, "sum": np.sum, "max": np.max}[fusion](values)
    return fused


def _interaction(reduction, rows, columns):  # eq. (8), with the matrix that is never built
    variance = np.trace(columns.T @ (rows @ rows.T) @ columns)
    products = columns.T @ columns
    overlap = sum(products[i, k] ** 2 for i, k in np.ndindex(products.shape) if i != k)
    count = len(products)
    if reduction == "mean":
        return overlap / (count * (count - 1)) - variance / (count * rows.shape[1])
    return overlap - variance / np.sum(rows**2)


def _pyramid(form, frames, scores, weights, columns):  # eq. (14) and (15)
    total = 0
    for level in scores:
        for m in range(weights.shape[1]):
            distances = _softmax(level[:, m]) - (columns if form == "printed" else weights)[:, m]
            for frame in np.split(distances, frames):
                total += 1 - np.sum(frame**2) / (1 if form == "printed" else 2)
    return np.sqrt(total)


def _vector(cells):
    """The rest of "tiny" behind a map (h, w, C)."""
    height, width, _ = cells.shape
    cells = np.maximum(cells, 0)
    rows, columns = np.linspace(-1, 1, height)[:, None, None], np.linspace(-1, 1, width)[:, None]
    return np.concatenate([cells, cells * rows, cells * columns], axis=-1).mean((0, 1))


def outputs(model, shape, scores, top):
    """The answer of a model with the backbone "tiny" for one video.

    `shape` is (T, h, w) with the frames of all streams, `scores` those of each level (n, m), `top`
    the last level (n, C).
    """
    config, (time, height, width) = model.config, shape
    kernel, bias = model.get_layer("classifier").get_weights()
    if config["mode"] == "none":
        frames = top.reshape(*shape, -1)
        logits = np.mean([_vector(frame) @ kernel + bias for frame in frames], axis=0)
        return {"logits": logits, "spatial_attention": np.full(shape, 1 / math.prod(shape))}
    weights = _softmax(_fused(config["fusion"], scores))  # eq. (3)
    columns = weights / np.linalg.norm(weights, axis=0)
    factors = columns if config["aggregate_norm"] == "l2" else weights
    cells = np.zeros((height * width, top.shape[1]))
    for n, m in np.ndindex(len(top), len(cells)):  # eq. (4)
        if config["mode"] != "shared":
            cells[m] += factors[n, m] * top[n]
        elif n % len(cells) == m:
            cells[m] += factors[n, 0] * top[n]
    found = {
        "logits": _vector(cells.reshape(height, width, -1)) @ kernel + bias,
        "spatial_attention": weights.mean(1).reshape(shape),
    }
    if config["mode"] == "uniform":
        return found
    return found | {
        "interaction": _interaction(config["interaction_reduction"], top, columns),
        "pyramid": _pyramid(config["pyramid_form"], time, scores, weights, columns),
    }
