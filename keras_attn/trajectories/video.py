"""The improved dense trajectories of one video, with their descriptors.

    frames -> gray pyramid -> flow -> points tracked for 15 frames at each scale ----+
                 |              +- homography -> second frame as if the camera ------+-> rejected or
                 |                 stood still -> flow without the camera's motion --+   described

Wang & Schmid, Action recognition with improved trajectories, ICCV 2013. Differs from the released
code: the camera's motion is that of `keras_attn.flow.warped` (SIFT in place of SURF), and OpenCV's
Farnebäck flow stands for the code's own version of it, on frames that are resized only.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from keras_attn.errors import require
from keras_attn.flow import warped
from keras_attn.trajectories import descriptors, pyramid, tracking

# The entries of a trajectory's descriptors, in the order in which they are joined.
LENGTHS = {"trajectory": 2 * tracking.LENGTH} | {
    name: tracking.TEMPORAL_CELLS * length for name, length in descriptors.FRAME_LENGTHS.items()
}

# Every constant that the trajectories of a video depend on, as plain values.
SETTINGS = {
    **pyramid.SETTINGS,
    **tracking.SETTINGS,
    **descriptors.SETTINGS,
    "camera_motion": warped.SETTINGS,
}


@dataclass(frozen=True)
class Trajectories:
    """The trajectories of a video, `N` of them.

    `positions (N, 16, 2)` are x and y in pixels of the frames given, `scales (N,)` how many times
    smaller the frames were in which a point was tracked, `first (N,)` the number of the frame of
    its first position. `descriptors` holds `(N, d)` for each name of `LENGTHS`: the 15
    displacements without the camera's motion over their total length, and the histograms by
    temporal cell, row, column, bin.
    """

    positions: np.ndarray
    scales: np.ndarray
    first: np.ndarray
    descriptors: dict[str, np.ndarray]

    def __len__(self):
        return len(self.positions)

    def joined(self) -> np.ndarray:
        """All descriptors side by side, `(N, 426)`, in the order of `LENGTHS`."""
        return np.concatenate([self.descriptors[name] for name in LENGTHS], axis=1)


def extract(frames: Iterable[np.ndarray]) -> Trajectories:
    """Track points through a video: `(T, H, W, 3)` uint8 RGB, or its frames one after the other.

    A video of fewer than 16 frames has no trajectories, nor has one of constant frames. Raises
    `ValueError` for frames of another kind, of several sizes or below 32 pixels, `UserError`
    without OpenCV.
    """
    scales, before, found = [], None, []
    for number, frame in enumerate(frames):
        levels = pyramid.pyramid(_gray(frame, number))
        if before is None:
            scales = [tracking.Tracks(pyramid.factor(level)) for level in range(len(levels))]
        else:
            _check_size(levels[0], before[0], number)
            _advance(scales, before, levels)
            first = number - tracking.LENGTH
            found += [(tracks.factor, first, tracks.take_complete()) for tracks in scales]
        for tracks, level in zip(scales, levels, strict=True):
            tracks.start(level)
        before = levels
    return _gather(found)


def _advance(scales, before, after):
    """Follow the points of each scale from one pyramid to the next."""
    flows = pyramid.flows(before, after)
    homography = warped.camera_motion(before[0], after[0], flows[0])
    stabilised = flows
    if not np.array_equal(homography, np.eye(3)):
        still = warped.compensate(before[0], after[0], homography)
        stabilised = pyramid.flows(before, pyramid.pyramid(still))
    for tracks, level, flow, steady in zip(scales, before, flows, stabilised, strict=True):
        tracks.step(flow, steady, descriptors.cell_sums(level, steady))


def _gray(frame, number):
    frame = np.asarray(frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(
            f"frame {number} must be (H, W, 3) of uint8, got {frame.shape} of {frame.dtype}"
        )
    cv2 = require("cv2", "trajectories")
    pyramid.sizes(*frame.shape[:2])
    return cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)


def _check_size(level, before, number):
    if level.shape != before.shape:
        raise ValueError(
            f"frame {number} must be {before.shape[0]} x {before.shape[1]} pixels as the frames "
            f"before it, got {level.shape[0]} x {level.shape[1]}"
        )


def _gather(found):
    """The pieces `(factor, first frame, arrays)` as one `Trajectories`."""
    counts = [len(piece["positions"]) for _, _, piece in found]
    pieces = [tracking.Tracks(1.0).take_complete(), *(piece for _, _, piece in found)]
    positions, moves, histograms = (
        np.concatenate([piece[name] for piece in pieces])
        for name in ("positions", "moves", "histograms")
    )
    lengths = np.linalg.norm(moves, axis=2).sum(1)[:, None]
    described = {"trajectory": moves.reshape(len(moves), LENGTHS["trajectory"]) / lengths}
    ends = np.cumsum(list(descriptors.FRAME_LENGTHS.values()))[:-1]
    parts = np.split(histograms, ends, axis=2)
    for name, part in zip(descriptors.FRAME_LENGTHS, parts, strict=True):
        described[name] = part.reshape(len(part), LENGTHS[name])
    return Trajectories(
        positions,
        np.repeat(np.array([factor for factor, _, _ in found], "float32"), counts),
        np.repeat(np.array([first for _, first, _ in found], "int32"), counts),
        described,
    )
