"""Penalties that keep a saliency mask smooth and decided, and temporal weights unimodal.

All are scalars, means over the batch, in float32 at least. Meng et al. 2019. A mask is zero in
padded frames, which so add nothing.
"""

from keras import ops

from keras_attn.losses.checks import bounded_root, checked
from keras_attn.utils.checks import check_option
from keras_attn.utils.masks import frame_counts

UNIMODALITY_REDUCTIONS = ("sum", "sqrt_mean")  # the first is the default


def total_variation(mask):
    """Sum of the absolute differences between neighboring cells, down and to the right.

    Shapes: `(B, T, h, w) -> ()`: the sum over cells and frames, the mean over the batch. Meng et
    al. 2019, eq. (8); their code sums over the batch too, so multiply its lambda by its batch size.
    Zero for a constant mask, the length of the boundary for a binary one.

    Args:
        mask: A mask over the cells of each frame.

    Raises:
        ValueError: For another rank.
    """
    mask = checked("mask", mask, "(B, T, h, w)")
    down = ops.abs(mask[:, :, 1:] - mask[:, :, :-1])
    right = ops.abs(mask[:, :, :, 1:] - mask[:, :, :, :-1])
    return ops.mean(ops.sum(down, axis=(1, 2, 3)) + ops.sum(right, axis=(1, 2, 3)))


def contrast(mask):
    """Pushes the cells of a mask away from a half: `-mask / 2` above it, `mask / 2` elsewhere.

    Shapes: `(B, T, h, w) -> ()`: the sum over cells and frames, the mean over the batch. Meng et
    al. 2019, eq. (9); the choice of the side has no gradient. Between -1/2 and 1/4 per cell.

    Args:
        mask: A mask over the cells of each frame, between 0 and 1.

    Raises:
        ValueError: For another rank.
    """
    mask = checked("mask", mask, "(B, T, h, w)")
    return ops.mean(ops.sum(ops.where(mask > 0.5, -mask, mask) / 2, axis=(1, 2, 3)))


def unimodality(weights, reduction="sum", mask=None):
    """Penalizes temporal weights that are not log-concave: `left * right` above `middle ** 2`.

    Shapes: `(B, T) -> ()`, or `(B, I, T) -> ()` for the weights of I iterations. Meng et al. 2019,
    eq. (10).

    Positive weights without penalty have a single peak. The converse does not hold: (.6, .1, .09)
    falls and is penalized; nor does it hold with zeros: (.5, 0, 0, .5) has two peaks and is not.

    Args:
        weights: Weights of the frames, which sum to one over the last axis.
        reduction: "sum" is the printed one: the sum over neighboring triples and iterations, the
            mean over the batch. "sqrt_mean" is that of their code: the mean over triples,
            iterations and the batch of the root of each.
        mask: Booleans (B, T), False for frames of padding, which are passed over, as are iterations
            whose weights are all zero; None for none.

    Raises:
        ValueError: For another rank, fewer than 3 frames, or an unknown reduction.
    """
    check_option("reduction", reduction, UNIMODALITY_REDUCTIONS)
    weights = checked("weights", weights, "(B, T)", "(B, I, T)")
    frames = weights.shape[-1]
    if frames is not None and frames < 3:
        raise ValueError(f"weights must be of at least 3 frames, got {frames}")
    if mask is not None:
        mask = ops.convert_to_tensor(mask)
        weights = _frames_first(weights, mask)
    left, middle, right = weights[..., :-2], weights[..., 1:-1], weights[..., 2:]
    excess = ops.relu(left * right - ops.square(middle))
    if reduction == "sum":
        return ops.mean(ops.sum(excess, axis=tuple(range(1, len(excess.shape)))))
    if mask is None:
        return ops.mean(bounded_root(excess))
    roots = ops.sum(bounded_root(excess), axis=-1)
    if len(roots.shape) == 2:
        runs = ops.cast(ops.sum(weights, axis=-1) > 0, roots.dtype)
        roots = ops.sum(roots, axis=1) / ops.maximum(ops.sum(runs, axis=1), 1)
    return ops.mean(roots / ops.maximum(frame_counts(mask, roots.dtype) - 2, 1))


def _frames_first(weights, mask):
    """The weights of frames, in their order, and behind them those of padding."""
    frames = ops.shape(mask)[1]
    order = ops.arange(frames, dtype="int32") + ops.where(mask, 0, frames)
    order = ops.argsort(order, axis=1)
    order = order if len(weights.shape) == 2 else order[:, None]
    return ops.take_along_axis(weights, order, axis=-1)
