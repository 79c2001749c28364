"""Points that are tracked at one scale, and which of their paths are trajectories.

Wang & Schmid, ICCV 2013. Letters: `N` points or paths, `h, w` pixels of the scale.
"""

import numpy as np

from keras_attn.errors import require
from keras_attn.trajectories.descriptors import FRAME_LENGTHS, describe

GRID = 5  # pixels between new points
LENGTH = 15  # frames that a point is followed
TEMPORAL_CELLS = 3
QUALITY = 0.001  # of the largest of the smaller eigenvalues in the frame
STATIC = 3**0.5  # pixels, standard deviation of both coordinates
RANDOM = 50.0  # pixels, standard deviation of either coordinate
JUMP, JUMP_SHARE = 20.0, 0.7  # pixels, and share of the whole length
CAMERA = 1.0  # pixels, the largest stabilised displacement

SETTINGS = {
    "grid": GRID,
    "length": LENGTH,
    "temporal_cells": TEMPORAL_CELLS,
    "quality": QUALITY,
    "static": STATIC,
    "random": RANDOM,
    "jump": [JUMP, JUMP_SHARE],
    "camera": CAMERA,
}

_FRAMES_OF_CELL = LENGTH // TEMPORAL_CELLS


def new_points(gray, points) -> np.ndarray:
    """Centers of the cells of 5 x 5 pixels that hold none of `points` and have structure.

    Shapes: `(h, w)` uint8, `(N, 2)` x and y -> `(M, 2)` float32.
    """
    cv2 = require("cv2", "trajectories")
    rows, columns = gray.shape[0] // GRID, gray.shape[1] // GRID
    strength = cv2.cornerMinEigenVal(gray, 3, ksize=3)
    centers = strength[GRID // 2 :: GRID, GRID // 2 :: GRID][:rows, :columns]
    free = centers > QUALITY * strength.max()
    cells = np.floor(points).astype("int64") // GRID
    cells = cells[(cells < (columns, rows)).all(1)]
    free[cells[:, 1], cells[:, 0]] = False
    y, x = np.nonzero(free)
    return np.stack([x, y], 1).astype("float32") * GRID + GRID // 2


def are_trajectories(positions, moves) -> np.ndarray:
    """Which paths neither rest, nor err about, nor jump, nor move with the camera alone.

    Shapes: positions `(N, 16, 2)`, stabilised displacements `(N, 15, 2)`, both in pixels of the
    full size -> `(N,)` bool.
    """
    deviations = positions.std(1)
    steps = np.linalg.norm(np.diff(positions, axis=1), axis=2)
    static = (deviations < STATIC).all(1)
    random = (deviations > RANDOM).any(1)
    longest = steps.max(1)
    jumps = (longest > JUMP) & (longest > JUMP_SHARE * steps.sum(1))
    camera = (np.linalg.norm(moves, axis=2) <= CAMERA).all(1)
    return ~(static | random | jumps | camera)


class Tracks:
    """The points followed at one scale, each for 15 frames.

    `factor` is the full size over that of the scale.
    """

    def __init__(self, factor: float):
        self.factor = factor
        self._arrays = {
            "points": np.zeros((0, LENGTH + 1, 2), "float32"),
            "moves": np.zeros((0, LENGTH, 2), "float32"),
            "histograms": np.zeros((0, TEMPORAL_CELLS, sum(FRAME_LENGTHS.values())), "float32"),
            "ages": np.zeros(0, "int64"),
        }

    def start(self, gray) -> None:
        """Begin a path in each cell of `gray` that has structure and no point yet."""
        points = new_points(gray, self._heads())
        fresh = {
            name: np.zeros((len(points), *array.shape[1:]), array.dtype)
            for name, array in self._arrays.items()
        }
        fresh["points"][:, 0] = points
        for name, array in self._arrays.items():
            self._arrays[name] = np.concatenate([array, fresh[name]])

    def step(self, flow, stabilised, sums) -> None:
        """Follow every point by one frame; what leaves the frame is dropped.

        `flow` and `stabilised` (without the camera's motion) are `(h, w, 2)`, `sums` what
        `cell_sums` made of the frame before.
        """
        height, width = flow.shape[:2]
        x, y = np.clip(np.rint(self._heads()).astype("int64"), 0, (width - 1, height - 1)).T
        there = self._heads() + flow[y, x]
        inside = ((there > 0) & (there < (width, height))).all(1)
        self._keep(inside)
        there, x, y = there[inside], x[inside], y[inside]
        tracks, rows = self._arrays, np.arange(len(there))
        ages = tracks["ages"]
        tracks["moves"][rows, ages] = stabilised[y, x]
        tracks["histograms"][rows, ages // _FRAMES_OF_CELL] += describe(sums, self._heads())
        ages += 1
        tracks["points"][rows, ages] = there

    def take_complete(self) -> dict[str, np.ndarray]:
        """Take out the paths of full length, and return those that are trajectories.

        In pixels of the full size: `positions (n, 16, 2)`, `moves (n, 15, 2)` without the camera's
        motion, `histograms (n, 3, 132)`.
        """
        done = self._arrays["ages"] == LENGTH
        positions = self._arrays["points"][done] * np.float32(self.factor)
        moves = self._arrays["moves"][done] * np.float32(self.factor)
        histograms = self._arrays["histograms"][done] / np.float32(_FRAMES_OF_CELL)
        self._keep(~done)
        good = are_trajectories(positions, moves)
        found = {"positions": positions, "moves": moves, "histograms": histograms}
        return {name: array[good] for name, array in found.items()}

    def _heads(self):
        ages = self._arrays["ages"]
        return self._arrays["points"][np.arange(len(ages)), ages]

    def _keep(self, which):
        if not which.all():
            self._arrays = {name: array[which] for name, array in self._arrays.items()}
