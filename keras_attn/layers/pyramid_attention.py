"""Attention over the cells of all frames at once, from several levels of a network (Hu et al.)."""

import functools
import math

import keras
from keras import layers, ops, tree

from keras_attn import losses
from keras_attn.layers.base import AttentionLayer, SavableLayer
from keras_attn.utils.checks import check_at_least, check_option
from keras_attn.utils.masks import cleared, frame_mask
from keras_attn.utils.numerics import precise, softmax

# How the scores of the levels become one, U in eq. (3).
FUSIONS = {"product": ops.multiply, "sum": ops.add, "max": ops.maximum}
MODES = ("interaction", "shared", "uniform")
NORMS = ("l2", "l1")


def unit_columns(weights):
    """Divide weights by their l2 norm over axis 1.

    They sum to one, so the norm is at least one over the root of their number: never zero, except
    where all is padding.
    """
    squares = ops.sum(ops.square(weights), axis=1, keepdims=True)
    return weights / ops.sqrt(ops.where(squares > 0, squares, 1))


@keras.saving.register_keras_serializable("keras_attn")
class PyramidAttention(AttentionLayer):
    """One map from the maps of all frames: each of its cells is a weighted sum of theirs.

    Shapes: `[(B, T, h, w, D), (B, T, h, w, C)] -> (B, h, w, C), (B, T, h, w, h*w), (B, 2, T, h, w,
    h*w)` for two levels. The inputs are the levels of a pyramid, pooled to one size; the last is
    the one that is summed. The second output holds the weights of the cells of all frames for each
    of the h * w cells of the new map, which sum to one over T, h and w; the third those of each
    level alone. T may be unknown and differ from call to call; h, w and the channels may not. The
    order of the frames plays no part. Padded frames (`mask (B, T)` False) have no weight. Hu et al.

    Each level scores each of its cells for each cell of the new map by a kernel `(C_j, h * w)` and
    a bias, eq. (2) and (13); `fusion` joins the levels, and a softmax gives the weights, eq. (3),
    which then sum the features, eq. (4).

    A bias shifts all scores of a softmax by the same: with one level or the sum it has no effect.
    With the product of levels, kernels and biases of zero would stay so, as all gradients are zero.

    Args:
        fusion: How the scores of the levels are joined: "product", "sum" or "max".
        mode: "interaction", or "shared", the comparison of table 5: one score per cell (the last
            axis of the weights has size 1), and each cell of the new map is the weighted sum of
            that cell over the frames; or "uniform" (ours), the control of "interaction": the same
            without scores, so that all weights are equal.
        aggregate_norm: "l2" divides the weights by their l2 norm before the sum, so that r copies
            of every frame multiply the map by the root of r; "l1" does not, and the map is a mean
            that copies do not change.
        streams: Number of streams, as RGB and flow, whose frames follow one another along T, a
            multiple of it; each is scored by kernels and biases of its own, and a bias can move
            attention from one to another.
        attention_regularizer: As for `keras.regularizers.get`: a penalty on the attention weights.

    Raises:
        ValueError: For an unknown option or `streams` below 1; when built, for levels that are no
            list of maps of one size.
    """

    def __init__(
        self,
        fusion="product",
        mode="interaction",
        aggregate_norm="l2",
        streams=1,
        attention_regularizer=None,
        **kwargs,
    ):
        super().__init__(attention_regularizer, **kwargs)
        check_option("fusion", fusion, FUSIONS)
        check_option("mode", mode, MODES)
        check_option("aggregate_norm", aggregate_norm, NORMS)
        check_at_least(1, streams=streams)
        self.fusion, self.mode, self.aggregate_norm = fusion, mode, aggregate_norm
        self.streams = streams

    def build(self, level_shapes):
        _check_shapes(level_shapes, self.streams)
        self.scores = []
        if self.mode == "uniform":
            return
        self.scores = [
            layers.Dense(
                self._columns(level_shapes), dtype=self.dtype_policy, name=f"scores_{number}"
            )
            for number in range(1, len(level_shapes) * self.streams + 1)
        ]
        for number, scores in enumerate(self.scores):  # all streams of a level, then the next level
            scores.build(level_shapes[number // self.streams])

    def _columns(self, level_shapes):
        return 1 if self.mode == "shared" else math.prod(level_shapes[-1][2:4])

    def call(self, levels, mask=None):
        mask = _common_mask(mask)
        levels = [cleared(level, mask) for level in levels]
        features = levels[-1]
        _, *cells, _ = ops.shape(features)  # T, h, w
        # Products lose too much in half precision, too.
        scores = [precise(_rows(scores, cells)) for scores in self._scores(levels)]
        seen = mask  # as rows: (B, n, 1)
        if mask is not None:
            seen = ops.repeat(mask, math.prod(features.shape[2:4]), axis=1)[:, :, None]
        level_seen = None if mask is None else seen[:, None]
        level_weights = softmax(ops.stack(scores, axis=1), axis=2, mask=level_seen)
        joined = functools.reduce(FUSIONS[self.fusion], scores)
        weights = softmax(joined, axis=1, mask=seen)  # eq. (3)
        factors = unit_columns(weights) if self.aggregate_norm == "l2" else weights
        aggregated = self._aggregate(features, ops.cast(factors, features.dtype), cells)
        return (
            aggregated,
            self.regularized(ops.reshape(weights, (-1, *cells, weights.shape[-1]))),
            ops.reshape(level_weights, (-1, len(levels), *cells, weights.shape[-1])),
        )

    def _scores(self, levels):
        """Eq. (2), or (13): `(B, T, h, w, m)` of each level."""
        if self.mode == "uniform":
            columns = self._columns([level.shape for level in levels])
            return [ops.repeat(ops.zeros_like(x[..., :1]), columns, axis=-1) for x in levels]
        frames = [part for level in levels for part in ops.split(level, self.streams, axis=1)]
        scores = [score(part) for score, part in zip(self.scores, frames, strict=True)]
        starts = range(0, len(scores), self.streams)
        return [ops.concatenate(scores[i : i + self.streams], axis=1) for i in starts]

    def _aggregate(self, features, factors, cells):
        if self.mode == "shared":
            return ops.sum(features * ops.reshape(factors, (-1, *cells, 1)), axis=1)
        columns = ops.einsum("bnc,bnm->bmc", _rows(features, cells), factors)  # eq. (4)
        return ops.reshape(columns, (-1, *features.shape[2:]))

    def compute_mask(self, levels, mask):
        return None, _common_mask(mask), None

    def compute_output_shape(self, level_shapes):
        batch, *cells, channels = level_shapes[-1]
        columns = self._columns(level_shapes)
        return (
            (batch, *cells[1:], channels),
            (batch, *cells, columns),
            (batch, len(level_shapes), *cells, columns),
        )


@keras.saving.register_keras_serializable("keras_attn")
class AttentionPenalties(SavableLayer):
    """The two losses of Hu et al. for each video by itself.

    Shapes: `(B, T, h, w, C), (B, T, h, w, m), (B, N, T, h, w, m) -> (B,), (B,)`:
    `losses.interaction` and `losses.pyramid` of the features that `PyramidAttention` summed and of
    the weights that it returned; padded frames (the mask of the features False) do not count. A
    model has these two numbers as outputs in place of those weights, 15 MB for 25 frames.

    Args:
        interaction_reduction: `reduction` of `losses.interaction`.
        pyramid_form: `form` of `losses.pyramid`.

    Raises:
        ValueError: For an unknown option.
    """

    def __init__(self, interaction_reduction="relative", pyramid_form="safe", **kwargs):
        super().__init__(**kwargs)
        check_option("interaction_reduction", interaction_reduction, losses.INTERACTION_REDUCTIONS)
        check_option("pyramid_form", pyramid_form, losses.PYRAMID_FORMS)
        self.interaction_reduction, self.pyramid_form = interaction_reduction, pyramid_form

    def call(self, features, weights, level_weights, features_mask=None):
        mask = frame_mask(features_mask)
        features = cleared(features, mask)
        _, *cells, _ = ops.shape(features)  # T, h, w

        def rows(maps):
            return ops.reshape(maps, (-1, *maps.shape[1:-4], math.prod(cells), maps.shape[-1]))

        def penalties(video):
            # Of a batch of one, since the losses are means over a batch.
            features, weights, level_weights, *mask = (x[None] for x in video)
            return (
                losses.interaction(features, unit_columns(weights), self.interaction_reduction),
                losses.pyramid(level_weights, weights, cells[0], self.pyramid_form, *mask),
            )

        videos = (rows(features), rows(weights), rows(level_weights))
        videos += () if mask is None else (mask,)
        return ops.vectorized_map(penalties, videos)

    def compute_mask(self, features, mask):
        return None, None

    def compute_output_shape(self, features_shape, weights_shape, level_weights_shape):
        return features_shape[:1], features_shape[:1]


def _common_mask(masks):
    """The mask `(B, T)` of the frames that any level has, or None."""
    masks = [frame_mask(mask) for mask in tree.flatten(masks) if mask is not None]
    return functools.reduce(ops.logical_or, masks) if masks else None


def _rows(maps, cells):
    """The cells of all frames in one axis: `(B, T, h, w, C) -> (B, n, C)`."""
    return ops.reshape(maps, (-1, math.prod(cells), maps.shape[-1]))


def _check_shapes(shapes, streams):
    if not isinstance(shapes, list) or any(len(shape) != 5 for shape in shapes):
        raise ValueError(f"levels must be a list of maps (B, T, h, w, C), got shapes {shapes}")
    if len({tuple(shape[1:4]) for shape in shapes}) > 1:
        raise ValueError(
            "levels must have the same T, h and w (larger maps are to be pooled to the size of the "
            f"last), got shapes {shapes}"
        )
    if any(None in shape[2:] or 0 in shape[1:] for shape in shapes):
        raise ValueError(f"levels must have h, w and C known and T at least 1, got shapes {shapes}")
    if (shapes[0][1] or 0) % streams:
        raise ValueError(f"T must be a multiple of streams={streams}, got shapes {shapes}")
