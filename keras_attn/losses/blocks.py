"""Penalties over blocks of attention: windows of `block` x `block` cells, `stride` cells apart.

All are scalars, means over the batch, in float32 at least. Quan et al. 2020.
"""

import math

from keras import ops

from keras_attn.losses.checks import TINY, checked


def block_starts(cells, block, stride=None):
    """Return the first cells of the blocks along one side of a map.

    Args:
        cells: Cells along the side.
        block: Cells along a side of a block.
        stride: Cells from one block to the next; None for blocks side by side.

    Raises:
        ValueError: When no block fits, or for a `block` or `stride` below 1.
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
    """Count the `height * width` cells that lie in no block, which no penalty sees.

    Args:
        height, width: Size of the map, in cells.
        block, stride: As for `block_starts`.
    """
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


def block_sparsity(weights, block=2, stride=None):
    """l2,1 norm over blocks: the l2 norm inside each block, summed over the blocks of a frame.

    Shapes: `(B, T, h, w) -> ()`: the sum over blocks and time, the mean over the batch. Quan et al.
    2020, eq. (10) and the last sum of eq. (11), without lambda.

    On weights that sum to one it lies between `1 / block` and 1 (blocks side by side that cover
    the map). Every mask that is constant inside each block has the minimum value, the uniform mask
    included: it smooths within blocks and cannot by itself select few of them.
    The gradient at a block of zeros is zero.

    Args:
        weights: Attention over the cells of each frame.
        block, stride: As for `block_starts`.

    Raises:
        ValueError: For another rank, `block < 1`, `stride < 1`, or a block larger than the map.
    """
    weights = checked("weights", weights, "(B, T, h, w)")
    squares = _block_sums(ops.square(weights), block, stride)
    positive = squares > TINY
    norms = ops.where(positive, ops.sqrt(ops.where(positive, squares, 1.0)), 0.0)
    return ops.mean(ops.sum(norms, axis=(1, 2, 3)))


def block_entropy(weights, block=2, stride=None):
    """Entropy, in nats, of the attention of each frame over its blocks.

    Shapes: `(B, T, h, w) -> ()`: the sum over time, the mean over the batch. Ours, not a paper's:
    it does what the name "structure" promises and `block_sparsity` cannot, few active blocks. The
    masses of a frame's blocks are divided by their sum, since overlapping blocks count a cell more
    than once. It is zero if and only if one block holds all the mass, and the logarithm of the
    number of blocks for a uniform mask. Shares of zero have zero gradient; a frame of zeros has the
    value zero.

    Args:
        weights: Attention over the cells of each frame.
        block, stride: As for `block_starts`.

    Raises:
        ValueError: As `block_sparsity`.
    """
    masses = _block_sums(checked("weights", weights, "(B, T, h, w)"), block, stride)
    total = ops.sum(masses, axis=(2, 3), keepdims=True)
    # The derivative of a quotient divides by the square of the total.
    shares = masses / ops.where(ops.square(total) > TINY, total, 1.0)
    positive = shares > TINY
    entropies = -ops.where(positive, shares * ops.log(ops.where(positive, shares, 1.0)), 0.0)
    return ops.mean(ops.sum(entropies, axis=(1, 2, 3)))
