"""Terms of the papers' objectives, as pure functions of what a model gives.

All are scalars, means over the batch, in float32 at least. `block_sparsity` and `block_entropy`
look at blocks: windows of `block` x `block` cells, `stride` cells apart, inside the map.
"""

import math

import keras
from keras import ops

from keras_attn.arguments import check_at_least, check_option
from keras_attn.precision import precise

# Below this a squared norm or a share counts as zero. Roots and logarithms have no finite gradient
# at zero, and XLA flushes denormal float32 numbers (below 1.2e-38) to zero.
_TINY = 1e-36

# Inside a root whose argument falls to zero while the argument's own slope does not. Ours: the
# root is off by at most 1e-5 and its slope at most 50000.
_ROOT_EPSILON = 1e-10

# The forms of some terms; the first of each is the default.
UNIMODALITY_REDUCTIONS = ("sum", "sqrt_mean")
INTERACTION_REDUCTIONS = ("relative", "sum", "mean")
PYRAMID_FORMS = ("safe", "printed")

FLOW_RELAXATION = math.exp(-2)  # "e^-2" below eq. (4) of Yang et al. 2020; .01 is the other reading


def block_starts(cells, block, stride=None):
    """First cells of the blocks along one side of a map of `cells` cells.

    `stride=None` means blocks side by side. Raises `ValueError` when no block fits.
    """
    stride = block if stride is None else stride
    if block < 1:
        raise ValueError(f"block must be at least 1 cell, got {block}")
    if stride < 1:
        raise ValueError(f"stride must be at least 1 cell, got {stride}")
    if block > cells:
        raise ValueError(f"block must fit into the map of {cells} cells a side, got block={block}")
    return range(0, cells - block + 1, stride)


def uncovered_cells(height, width, block, stride=None):
    """How many of the `height * width` cells lie in no block, so that no penalty sees them."""
    covered = (
        len({start + i for start in block_starts(cells, block, stride) for i in range(block)})
        for cells in (height, width)
    )
    return height * width - math.prod(covered)


def _block_sums(cells, block, stride):
    # A sum of strided slices, rows first: unlike pooling it takes any float type, batch and time
    # need not be folded, and it compiles everywhere.
    rows = block_starts(cells.shape[2], block, stride)
    columns = block_starts(cells.shape[3], block, stride)
    sums = sum(cells[:, :, i : i + rows[-1] + 1 : rows.step] for i in range(block))
    return sum(sums[:, :, :, i : i + columns[-1] + 1 : columns.step] for i in range(block))


def _checked(name, tensor, *layouts):
    """The tensor in float32 at least; `ValueError` unless it has as many axes as a layout."""
    tensor = ops.convert_to_tensor(tensor)
    if len(tensor.shape) not in [layout.count(",") + 1 for layout in layouts]:
        shapes = " or ".join(layouts)
        raise ValueError(f"{name} must have the shape {shapes}, got {tuple(tensor.shape)}")
    return precise(tensor)


def _check_axis(name, axis, found, expected):
    if None not in (found, expected) and found != expected:
        raise ValueError(f"{name} must have {axis}={expected} as weights have, got {found}")


def _check_frames(frames, positions):
    if frames < 1 or positions % frames:
        raise ValueError(f"frames must divide the n={positions} positions, got frames={frames}")


def _root(x):
    """Square root of max(x, 0), zero at zero, with a bounded slope."""
    return ops.sqrt(ops.relu(x) + _ROOT_EPSILON) - math.sqrt(_ROOT_EPSILON)


def block_sparsity(weights, block=2, stride=None):
    """l2,1 norm over blocks: the l2 norm inside each block, summed over the blocks of a frame.

    Shapes: `(B, T, h, w) -> ()`: the sum over blocks and time, the mean over the batch; in
    float32 at least. Quan et al. 2020, eq. (10) and the last sum of eq. (11), without lambda.

    On weights that sum to one it lies between `1 / block` and 1 (blocks side by side that cover
    the map). Every mask that is constant inside each block has the least value, the uniform mask
    included: it smooths within blocks and cannot by itself select few of them.
    The gradient at a block of zeros is zero.

    Raises `ValueError` for another rank, `block < 1`, `stride < 1`, or a block larger than the map.
    """
    weights = _checked("weights", weights, "(B, T, h, w)")
    squares = _block_sums(ops.square(weights), block, stride)
    positive = squares > _TINY
    norms = ops.where(positive, ops.sqrt(ops.where(positive, squares, 1.0)), 0.0)
    return ops.mean(ops.sum(norms, axis=(1, 2, 3)))


def block_entropy(weights, block=2, stride=None):
    """Entropy, in nats, of how each frame's attention is spread over the blocks.

    Shapes: `(B, T, h, w) -> ()`: the sum over time, the mean over the batch; in float32 at
    least. Ours, not a paper's: it does what the name "structure" promises and `block_sparsity`
    cannot, few active blocks. The masses of a frame's blocks are divided by their sum,
    since overlapping blocks count a cell more than once. It is zero if and only if one block holds
    all the mass, and the logarithm of the number of blocks for a uniform mask.
    Shares of zero have zero gradient; a frame of zeros has the value zero.

    Raises `ValueError` as `block_sparsity` does.
    """
    masses = _block_sums(_checked("weights", weights, "(B, T, h, w)"), block, stride)
    total = ops.sum(masses, axis=(2, 3), keepdims=True)
    # The derivative of a quotient divides by the square of the total.
    shares = masses / ops.where(ops.square(total) > _TINY, total, 1.0)
    positive = shares > _TINY
    entropies = -ops.where(positive, shares * ops.log(ops.where(positive, shares, 1.0)), 0.0)
    return ops.mean(ops.sum(entropies, axis=(1, 2, 3)))


def total_variation(mask):
    """Sum of the absolute differences between neighbouring cells, down and to the right.

    Shapes: `(B, T, h, w) -> ()`: the sum over cells and frames, the mean over the batch. Meng et
    al. 2019, eq. (8); their code sums over the batch too, so its lambda is to be multiplied by its
    batch size. Zero for a constant mask, the length of the boundary for a binary one.

    Raises `ValueError` for another rank.
    """
    mask = _checked("mask", mask, "(B, T, h, w)")
    down = ops.abs(mask[:, :, 1:] - mask[:, :, :-1])
    right = ops.abs(mask[:, :, :, 1:] - mask[:, :, :, :-1])
    return ops.mean(ops.sum(down, axis=(1, 2, 3)) + ops.sum(right, axis=(1, 2, 3)))


def contrast(mask):
    """Pushes the cells of a mask away from a half: `-mask / 2` above it, `mask / 2` elsewhere.

    Shapes: `(B, T, h, w) -> ()`: the sum over cells and frames, the mean over the batch. Meng et
    al. 2019, eq. (9); the choice of the side has no gradient. Between -1/2 and 1/4 a cell.

    Raises `ValueError` for another rank.
    """
    mask = _checked("mask", mask, "(B, T, h, w)")
    return ops.mean(ops.sum(ops.where(mask > 0.5, -mask, mask) / 2, axis=(1, 2, 3)))


def unimodality(weights, reduction="sum"):
    """Penalises temporal weights that are not log-concave: `left * right` above `middle ** 2`.

    Shapes: `(B, T) -> ()`, or `(B, I, T) -> ()` for the weights of I iterations. Meng et al. 2019,
    eq. (10). `reduction="sum"` is the printed one: the sum over neighbouring triples and
    iterations, the mean over the batch. `"sqrt_mean"` is that of their code: the mean over triples,
    iterations and the batch of the root of each.

    Positive weights without penalty have a single peak. The converse does not hold: (.6, .1, .09)
    falls and is penalised; nor does it hold with zeros: (.5, 0, 0, .5) has two peaks and is not.

    Raises `ValueError` for another rank, fewer than 3 frames, or an unknown reduction.
    """
    check_option("reduction", reduction, UNIMODALITY_REDUCTIONS)
    weights = _checked("weights", weights, "(B, T)", "(B, I, T)")
    frames = weights.shape[-1]
    if frames is not None and frames < 3:
        raise ValueError(f"weights must be of at least 3 frames, got {frames}")
    left, middle, right = weights[..., :-2], weights[..., 1:-1], weights[..., 2:]
    excess = ops.relu(left * right - ops.square(middle))
    if reduction == "sum":
        return ops.mean(ops.sum(excess, axis=tuple(range(1, len(excess.shape)))))
    return ops.mean(_root(excess))


def interaction(features, weights, reduction="relative"):
    """Rewards columns of weights that catch the variance of the features and do not overlap.

    Shapes: `(B, n, C), (B, n, m) -> ()`: features at n positions, and one column of weights for
    each of m outputs, of l2 norm one. Hu et al., eq. (8): minus the squared norm of the weighted
    features, plus the squared products of each two different columns; the mean over the batch.

    `reduction="sum"` is the printed one. Its first term has no lower bound: 1e2 to 1e4 for the
    activations of a backbone, which learns to grow them where it is trained. `"mean"` divides the
    terms by their numbers m * C and m * (m - 1). `"relative"` (ours) divides the first term by the
    squared norm of the features, to which it sends no gradient: it then lies between -m and 0, at
    least -1 when the columns are orthonormal. The second lies between 0 and m * (m - 1).

    Raises `ValueError` for another rank, different n, or an unknown reduction.
    """
    features = _checked("features", features, "(B, n, C)")
    weights = _checked("weights", weights, "(B, n, m)")
    _check_axis("features", "n", features.shape[1], weights.shape[1])
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
        variance = variance / ops.where(total > _TINY, total, 1.0)
    if reduction == "mean":
        variance = variance / (columns * features.shape[2])
        overlap = overlap / max(columns * (columns - 1), 1)
    return ops.mean(overlap - variance)


def pyramid(level_weights, weights, frames=1, form="safe"):
    """Rewards levels of a pyramid that look elsewhere than all of them together.

    Shapes: `(B, N, n, m), (B, n, m) -> ()`: for each of m outputs the weights over n positions, of
    N levels and of their fusion, all summing to one over n. The positions are those of `frames`
    frames, one frame after the other. Hu et al., eq. (9)-(10), (14)-(15): the root of the sum of
    1 - distance^2 over levels, outputs and frames; the mean over the batch.

    `form="printed"` measures the distance to the fused weights divided by their l2 norm. As
    distance^2 reaches 2, what is under the root can be negative and the root not a number.
    `"safe"` (ours) compares weights that both sum to one and takes 1 - distance^2 / 2, which is
    never negative. With one level it is constant.

    Raises `ValueError` for another rank, different n or m, an n that is no multiple of `frames`,
    or an unknown form.
    """
    level_weights = _checked("level_weights", level_weights, "(B, N, n, m)")
    weights = _checked("weights", weights, "(B, n, m)")
    positions, outputs = weights.shape[1:]
    _check_axis("level_weights", "n", level_weights.shape[2], positions)
    _check_axis("level_weights", "m", level_weights.shape[3], outputs)
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
    if form == "printed":
        return ops.mean(ops.sqrt(ops.sum(1 - distances, axis=(1, 2, 3))))
    return ops.mean(_root(ops.sum(1 - distances / 2, axis=(1, 2, 3))))


def relaxed_flow_error(flow, predicted, relaxation=FLOW_RELAXATION):
    """Squared error of predicted optical flow beyond a share of the flow itself.

    Shapes: `(..., 2), (..., 2) -> ()`: the sum over the two components, the mean over pixels and
    batch; unit: that of the flow, squared. Yang et al. 2020, eq. (4), with the threshold
    `relaxation * |flow|`: the printed `relaxation * flow` would enlarge the error of negative flow.

    Raises `ValueError` for other shapes, or `relaxation < 0`.
    """
    flow, predicted = (ops.convert_to_tensor(x) for x in (flow, predicted))
    if flow.shape[-1] != 2 or tuple(flow.shape) != tuple(predicted.shape):
        raise ValueError(
            "flow and predicted must have the same shape (..., 2), got "
            f"{tuple(flow.shape)} and {tuple(predicted.shape)}"
        )
    check_at_least(0, relaxation=relaxation)
    dtype = keras.backend.result_type(flow.dtype, predicted.dtype, "float32")
    flow, predicted = ops.cast(flow, dtype), ops.cast(predicted, dtype)
    excess = ops.relu(ops.abs(predicted - flow) - relaxation * ops.abs(flow))
    return ops.mean(ops.sum(ops.square(excess), axis=-1))
