"""Checks of the losses' arguments, and a square root with a bounded slope."""

import math

from keras import ops

from keras_attn.utils.numerics import precise

# Below this a squared norm or a share counts as zero. Roots and logarithms have no finite gradient
# at zero, and XLA flushes denormal float32 numbers (below 1.2e-38) to zero.
TINY = 1e-36

# Inside a root whose argument falls to zero while the argument's own slope does not. Ours: the
# root is off by at most 1e-5 and its slope at most 50000.
_ROOT_EPSILON = 1e-10


def checked(name, tensor, *layouts):
    """Return the tensor in float32 at least; raise unless it has as many axes as a layout."""
    tensor = ops.convert_to_tensor(tensor)
    if len(tensor.shape) not in [layout.count(",") + 1 for layout in layouts]:
        shapes = " or ".join(layouts)
        raise ValueError(f"{name} must have the shape {shapes}, got {tuple(tensor.shape)}")
    return precise(tensor)


def check_axis(name, axis, found, expected):
    """Raise unless two sizes of an axis, if both are known, agree."""
    if None not in (found, expected) and found != expected:
        raise ValueError(f"{name} must have {axis}={expected} as weights have, got {found}")


def bounded_root(x):
    """Return the square root of max(x, 0), zero at zero, with a bounded slope."""
    return ops.sqrt(ops.relu(x) + _ROOT_EPSILON) - math.sqrt(_ROOT_EPSILON)
