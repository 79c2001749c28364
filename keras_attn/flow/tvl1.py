"""TV-L1 optical flow in `keras.ops`: any backend, any device, inside a model or a SavedModel.

    first, second (B, H, W[, 3]) -> gray -> pyramid, coarse to fine; at every scale, five times:
        second and its slopes, warped by u -> 30 rounds of u and its dual p -> median of 5 x 5

minimizes, over the flow u (x, then y),

    sum over pixels  |grad u_x| + |grad u_y| + lambda |second(x + u(x)) - first(x)|

by splitting off a copy v that is `theta` close to u. Zach, Pock, Bischof: A Duality Based Approach
for Realtime TV-L1 Optical Flow, DAGM 2007; Sánchez, Meinhardt-Llopis, Facciolo: TV-L1 Optical Flow
Estimation, IPOL 2013. The values are those of OpenCV's `DualTVL1OpticalFlow`, which the TSN tools
use. It differs from OpenCV's:

  * a fixed number of rounds a warp, since graphs are static; OpenCV's goes on, up to 300, until u
    changes little;
  * the median is taken after the rounds of a warp, not before;
  * slopes come from five pixels, (-1, 8, 0, -8, 1) / 12 (Wedel et al. 2009), and are warped, as
    second is, bilinearly; OpenCV's come from three and are warped bicubically;
  * where a pixel's way leaves the frame only its neighbors decide; OpenCV compares with black.
"""

import functools
import warnings

import keras
import numpy as np
from keras import ops

from keras_attn.flow import GRAY
from keras_attn.flow.bilinear import resized, sampler
from keras_attn.flow.median import median
from keras_attn.utils.checks import check_at_least

SETTINGS = {
    "tau": 0.25,
    "lambda_": 0.15,
    "theta": 0.3,
    "scales": 5,
    "scale_step": 0.8,
    "warps": 5,
    "iterations": 30,
}

_MINIMUM_SIDE = 16  # no scale but the first has a shorter side, as in OpenCV
_PIXELS_AT_ONCE = 2**23
_FLAT = 1.2e-7  # squared slopes up to here say nothing of motion, as in OpenCV


def tvl1(
    first,
    second,
    tau=0.25,
    lambda_=0.15,
    theta=0.3,
    scales=5,
    scale_step=0.8,
    warps=5,
    iterations=30,
):
    """Estimate flow from `first` to `second`, in pixels: x to the right, then y down.

    Shapes: `(B, H, W), (B, H, W) -> (B, H, W, 2)`, float32, or from RGB `(B, H, W, 3), (B, H, W, 3)
    -> (B, H, W, 2)`; `B` may be unknown, `H` and `W` may not. Constant frames have zero flow. So
    has a pair with a pixel that is not finite, since a graph cannot raise; `flow.estimate` does.

    Args:
        first: Frames from 0 to 255, of any type.
        second: The frame that follows each of `first`.
        tau: Step of the dual variable.
        lambda_: Weight of the difference in brightness against the smoothness of the flow.
        theta: Closeness of the flow and its copy; smaller is closer.
        scales: Sizes of the pyramid, the frame's own included; reduced until no side is below 16.
        scale_step: Size of each scale over that of the one before.
        warps: Times per scale that `second` is warped by the flow.
        iterations: Rounds per warp.

    Raises:
        ValueError: For frames of two sizes or of unknown size, and for arguments out of range.
    """
    _check_settings(tau, lambda_, theta, scales, scale_step, warps, iterations)
    first, second = (_precise(x) for x in (first, second))
    _check_sizes(first.shape, second.shape)
    usable = _usable(first, second)
    first, second = (_gray(ops.where(usable, x, 0.0)) for x in (first, second))

    pyramid = [(first, second)]
    for size in _sizes(first.shape[1:], scales, scale_step)[1:]:
        pyramid.append(tuple(resized(x, size) for x in pyramid[-1]))
    flow = ops.stack([ops.zeros_like(first[:, :1, :1])] * 2)
    for first, second in reversed(pyramid):
        flow = _enlarged(flow, first.shape[1:])
        flow = _refined(first, second, flow, tau / theta, lambda_ * theta, theta, warps, iterations)
    usable = ops.reshape(usable, (-1, 1, 1))
    return ops.stack([ops.where(usable, flow[0], 0.0), ops.where(usable, flow[1], 0.0)], axis=-1)


def _precise(frames):
    frames = ops.convert_to_tensor(frames)
    return frames if frames.dtype == "float32" else ops.cast(frames, "float32")


def _check_settings(tau, lambda_, theta, scales, scale_step, warps, iterations):
    check_at_least(1, scales=scales, warps=warps, iterations=iterations)
    for name, value in (("tau", tau), ("lambda_", lambda_), ("theta", theta)):
        if not value > 0:
            raise ValueError(f"{name} must be above 0, got {value}")
    if not 0 < scale_step < 1:
        raise ValueError(f"scale_step must be above 0 and below 1, got {scale_step}")


def _check_sizes(first, second):
    for name, shape in (("first", first), ("second", second)):
        gray = len(shape) == 3
        if not (gray or (len(shape) == 4 and shape[-1] == 3)):
            raise ValueError(f"{name} must be (B, H, W) or (B, H, W, 3), got {tuple(shape)}")
        if not (shape[1] and shape[2]):
            raise ValueError(f"{name} must have a known height and width, got {tuple(shape)}")
    batches = {first[0], second[0]} - {None}
    if tuple(first[1:]) != tuple(second[1:]) or len(batches) > 1:
        raise ValueError(
            f"first and second must have one shape, got {tuple(first)} and {tuple(second)}"
        )


def _usable(first, second):
    """Which pairs are finite and not constant: `(B, 1, ...)`."""
    axes = tuple(range(1, len(first.shape)))
    finite = ops.logical_and(ops.isfinite(first), ops.isfinite(second))
    corner = (slice(None), slice(0, 1), slice(0, 1))
    varies = ops.logical_or(first != first[corner], second != second[corner])
    return ops.logical_and(
        ops.all(finite, axis=axes, keepdims=True), ops.any(varies, axis=axes, keepdims=True)
    )


def _gray(frames):
    if len(frames.shape) == 3:
        return frames
    return sum(weight * frames[..., i] for i, weight in enumerate(GRAY))


def _sizes(size, scales, step):
    """Heights and widths of the pyramid, the largest first."""
    sizes = [tuple(size)]
    while len(sizes) < scales:
        smaller = tuple(round(side * step) for side in sizes[-1])
        if min(smaller) < _MINIMUM_SIDE:
            break
        sizes.append(smaller)
    return sizes


def _enlarged(flow, size):
    """Flow for the next scale: `(2, B, h, w) -> (2, B, H, W)`, in its pixels."""
    # Both sides grow by factors of their own, since sizes are whole numbers.
    factors = (size[1] / flow.shape[3], size[0] / flow.shape[2])
    return ops.stack([resized(flow[i], size) * factor for i, factor in enumerate(factors)])


def _refined(first, second, flow, step, reach, theta, warps, iterations):
    """Flow at one scale: `(2, B, H, W)`. `step` is tau / theta, `reach` lambda * theta."""
    height, width = first.shape[1:]
    sample = sampler(second)
    # Row after row in one line: a neighbor is a fixed number of places away. No difference is
    # taken across the right or the lower border, so p stays zero there and nothing leaks between
    # the end of a row and the start of the next.
    first = ops.reshape(first, (-1, height * width))
    step_x = _steps(step, (height, width - 1), ((0, 0), (0, 1)))
    step_y = _steps(step, (height - 1, width), ((0, 1), (0, 0)))

    def warp(_, state):
        u, px, py = state
        warped, slope_x, slope_y = sample(u)
        squares = slope_x * slope_x + slope_y * slope_y
        inverse = ops.where(squares > _FLAT, 1 / ops.maximum(squares, _FLAT), 0.0)
        rest = warped - slope_x * u[0] - slope_y * u[1] - first
        slopes = ops.stack([slope_x, slope_y])

        def descend(_, state):
            u, px, py = state
            rho = rest + slope_x * u[0] + slope_y * u[1]
            v = u + ops.clip(-rho * inverse, -reach, reach) * slopes
            u = v + theta * (px - _shifted(px, -1) + py - _shifted(py, -width))
            dx = (_shifted(u, 1) - u) * step_x
            dy = (_shifted(u, width) - u) * step_y
            shrink = 1 / (1 + ops.sqrt(dx * dx + dy * dy))
            return u, (px + dx) * shrink, (py + dy) * shrink

        u, px, py = ops.fori_loop(0, iterations, descend, (u, px, py))
        return median(u, height, width), px, py

    u = ops.reshape(flow, (2, -1, height * width))
    zeros = ops.zeros_like(u)
    u, _, _ = ops.fori_loop(0, warps, warp, (u, zeros, zeros))
    return ops.reshape(u, (2, -1, height, width))


def _steps(step, inner, border):
    # Made in the graph: as constants they would swell a saved model.
    return ops.reshape(ops.pad(ops.full(inner, step, "float32"), border), (-1,))


def _shifted(x, places):
    """The values `places` further along the last axis, zeros beyond its ends."""
    zeros = ops.zeros_like(x[..., : abs(places)])
    if places > 0:
        return ops.concatenate([x[..., places:], zeros], axis=-1)
    return ops.concatenate([zeros, x[..., :places]], axis=-1)


@keras.saving.register_keras_serializable("keras_attn")
class TVL1(keras.layers.Layer):
    """`tvl1` as a layer without weights: `TVL1()(first, second)`.

    Shapes: `(B, H, W), (B, H, W) -> (B, H, W, 2)` in gray, or in color
    `(B, H, W, 3), (B, H, W, 3) -> (B, H, W, 2)`; frames from 0 to 255, flow in pixels, x then y.
    `H` and `W` must be known in a call; float32 under every dtype policy.

    Args:
        tau, lambda_, theta, scales, scale_step, warps, iterations: See `tvl1`.

    Raises:
        ValueError: For an argument out of range, and in a call as `tvl1`.
    """

    def __init__(
        self,
        tau=0.25,
        lambda_=0.15,
        theta=0.3,
        scales=5,
        scale_step=0.8,
        warps=5,
        iterations=30,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        _check_settings(tau, lambda_, theta, scales, scale_step, warps, iterations)
        self.settings = dict(
            tau=tau,
            lambda_=lambda_,
            theta=theta,
            scales=scales,
            scale_step=scale_step,
            warps=warps,
            iterations=iterations,
        )

    def call(self, first, second):
        return tvl1(first, second, **self.settings)

    def compute_output_spec(self, first, second):
        _check_sizes(first.shape, second.shape)
        return keras.KerasTensor((*first.shape[:3], 2), "float32")

    def get_config(self):
        return {**super().get_config(), **self.settings}


def estimate_tvl1(first, second) -> np.ndarray:
    """Apply `tvl1` to NumPy frames, compiled once for each size of frame.

    On a CPU pair after pair, since more at once outgrow its caches; otherwise as many at once as
    have 2 ** 23 pixels, or the next power of two above `B` where that is less.

    Args:
        first, second: As for `tvl1`, of a known `B`.
    """
    count, height, width = first.shape[:3]
    # Each batch size is compiled anew: powers of two keep these few.
    at_once = min(_at_once(height * width), 1 << (count - 1).bit_length())
    model = _model(first.shape[1:])
    flow = np.zeros((count, height, width, 2), "float32")
    for start in range(0, count, at_once):
        pieces = [x[start : start + at_once].astype("float32") for x in (first, second)]
        missing = at_once - len(pieces[0])
        pieces = [np.pad(x, ((0, missing), *((0, 0),) * (x.ndim - 1))) for x in pieces]
        found = model.predict_on_batch(pieces)
        flow[start : start + at_once] = found[: at_once - missing]
    return flow


def _at_once(pixels):
    on_cpu = keras.distribution.list_devices()[0].startswith("cpu")
    return 1 if on_cpu else max(1, _PIXELS_AT_ONCE // pixels)


@functools.lru_cache(maxsize=4)
def _model(shape):
    frames = [keras.Input(shape, name=name) for name in ("first", "second")]
    model = keras.Model(frames, TVL1()(*frames))
    with warnings.catch_warnings():
        # Where ops must be deterministic, as in a process that has trained, Keras goes without XLA.
        warnings.simplefilter("ignore", UserWarning)
        model.compile(jit_compile=True)
    return model
