"""Terms of pyramid attention: interaction of the columns of weights, difference of the levels.

All are scalars, means over the batch, in float32 at least. Hu et al.
"""

from keras import ops

from keras_attn.losses.checks import TINY, bounded_root, check_axis, checked
from keras_attn.utils.checks import check_option

INTERACTION_REDUCTIONS = ("relative", "sum", "mean")  # the first of each is the default
PYRAMID_FORMS = ("safe", "printed")


def interaction(features, weights, reduction="relative"):
    """Rewards columns of weights that catch the variance of the features and do not overlap.

    Shapes: `(B, n, C), (B, n, m) -> ()`: minus the squared norm of the weighted features, plus the
    squared products of each two different columns; the mean over the batch. Hu et al., eq. (8).

    Args:
        features: Features at n positions.
        weights: One column of weights for each of m outputs, of l2 norm one.
        reduction: "sum" is the printed one. Its first term has no lower bound: 1e2 to 1e4 for the
            activations of a backbone, which learns to grow them where it is trained. "mean" divides
            the terms by their numbers m * C and m * (m - 1). "relative" (ours) divides the first
            term by the squared norm of the features, to which it sends no gradient: it then lies
            between -m and 0, at or above -1 when the columns are orthonormal. The second lies
            between 0 and m * (m - 1).

    Raises:
        ValueError: For another rank, different n, or an unknown reduction.
    """
    features = checked("features", features, "(B, n, C)")
    weights = checked("weights", weights, "(B, n, m)")
    check_axis("features", "n", features.shape[1], weights.shape[1])
    check_option("reduction", reduction, INTERACTION_REDUCTIONS)
    if reduction == "relative":
        features = ops.stop_gradient(features)
    # sum diag(A' X' X A) = ||X A||^2: the n x n matrix X' X is never built.
    variance = ops.sum(ops.square(ops.einsum("bnc,bnm->bcm", features, weights)), axis=(1, 2))
    products = ops.einsum("bnm,bnk->bmk", weights, weights)
    columns = weights.shape[2]
    overlap = ops.square(products) * (1 - ops.eye(columns, dtype=products.dtype))
    overlap = ops.sum(overlap, axis=(1, 2))
    if reduction == "relative":
        total = ops.sum(ops.square(features), axis=(1, 2))
        variance = variance / ops.where(total > TINY, total, 1.0)
    if reduction == "mean":
        variance = variance / (columns * features.shape[2])
        overlap = overlap / max(columns * (columns - 1), 1)
    return ops.mean(overlap - variance)


def pyramid(level_weights, weights, frames=1, form="safe", mask=None):
    """Rewards levels of a pyramid that look elsewhere than all of them together.

    Shapes: `(B, N, n, m), (B, n, m) -> ()`: the root of the sum of 1 - distance^2 over levels,
    outputs and frames; the mean over the batch. Hu et al., eq. (9)-(10), (14)-(15).

    Args:
        level_weights: For each of m outputs the weights of N levels over n positions, which sum to
            one over n.
        weights: Those of the levels' fusion, likewise.
        frames: Number of frames whose cells, one frame after the other, are the n positions.
        form: "printed" measures the distance to the fused weights divided by their l2 norm. As
            distance^2 reaches 2, the number under the root can be negative and the root NaN. "safe"
            (ours) compares weights that both sum to one and takes 1 - distance^2 / 2, which is
            never negative. With one level it is constant.
        mask: Booleans (B, frames), False for frames of padding, which do not count; None for none.

    Raises:
        ValueError: For another rank, different n or m, an n that is no multiple of `frames`, or an
            unknown form.
    """
    level_weights = checked("level_weights", level_weights, "(B, N, n, m)")
    weights = checked("weights", weights, "(B, n, m)")
    positions, outputs = weights.shape[1:]
    check_axis("level_weights", "n", level_weights.shape[2], positions)
    check_axis("level_weights", "m", level_weights.shape[3], outputs)
    check_option("form", form, PYRAMID_FORMS)
    if isinstance(positions, int) and isinstance(frames, int):
        _check_frames(frames, positions)
    if form == "printed":
        norm = ops.sqrt(ops.sum(ops.square(weights), axis=1, keepdims=True))
        weights = weights / norm
    differences = level_weights - weights[:, None]
    levels = differences.shape[1]
    cells = ops.shape(differences)[2] // frames
    differences = ops.reshape(differences, (-1, levels, frames, cells, outputs))
    distances = ops.sum(ops.square(differences), axis=3)
    likeness = 1 - (distances if form == "printed" else distances / 2)
    if mask is not None:
        likeness = ops.where(ops.convert_to_tensor(mask)[:, None, :, None], likeness, 0)
    likeness = ops.sum(likeness, axis=(1, 2, 3))
    return ops.mean(ops.sqrt(likeness) if form == "printed" else bounded_root(likeness))


def _check_frames(frames, positions):
    if frames < 1 or positions % frames:
        raise ValueError(f"frames must divide the n={positions} positions, got frames={frames}")
