"""HOG, HOF and MBH around tracked points: orientation histograms of 2x2 cells in each frame.

Wang & Schmid, ICCV 2013, with the normalization of its released code: in each frame 0.05 is added
to every bin, the histograms of the four cells are divided by their common sum, and the square root
is taken. The mean over five frames is one temporal cell, so that a descriptor has 2 x 2 x 3 cells.
Letters: `N` points, `h, w` pixels of a frame.
"""

import numpy as np

from keras_attn.errors import require

PATCH = 32  # side of the square around a point, pixels of its scale
CELL = PATCH // 2
BINS = {"hog": 8, "hof": 9, "mbhx": 8, "mbhy": 8}
FRAME_LENGTHS = {name: 4 * bins for name, bins in BINS.items()}  # of one frame's histograms
STILL = 0.4  # pixels; slower flow counts into the last bin of HOF
EPSILON = 0.05
SETTINGS = {"patch": PATCH, "bins": BINS, "still": STILL, "epsilon": EPSILON}

_CHANNELS = sum(BINS.values())


def cell_sums(gray, flow) -> np.ndarray:
    """Histograms of every cell of 16 x 16 pixels: entry (y, x) is of the cell that begins there.

    Shapes: `(h, w)` uint8, `(h, w, 2)` float32 pixels -> `(h, w, 33)` float32, the bins of HOG,
    HOF, MBHx and MBHy side by side. Those of cells that do not fit into the frame mean nothing.
    """
    cv2 = require("cv2", "trajectories")
    bins = np.zeros((*gray.shape, _CHANNELS), "float32")
    first = 0
    fields = (_gradient(cv2, gray), np.moveaxis(flow, -1, 0))
    fields += tuple(_gradient(cv2, np.ascontiguousarray(flow[..., axis])) for axis in (0, 1))
    for (name, count), field in zip(BINS.items(), fields, strict=True):
        _vote(bins, first, *field, still=STILL if name == "hof" else None)
        first += count
    return cv2.boxFilter(bins, -1, (CELL, CELL), anchor=(0, 0), normalize=False)


def _gradient(cv2, picture):
    return [cv2.Sobel(picture, cv2.CV_32F, *axis, ksize=1) for axis in ((1, 0), (0, 1))]


def _vote(bins, first, x, y, still):
    """Add each vector's length to the two of eight orientations nearest to its own, from channel
    `first`; with `still`, a vector up to that length counts 1 in the bin after them instead."""
    length = np.sqrt(x * x + y * y)
    angle = np.arctan2(y, x) * np.float32(4 / np.pi)
    lower = np.floor(angle)
    upper_share = (angle - lower) * length
    lower_share = length - upper_share
    place = first + bins.shape[-1] * np.arange(length.size).reshape(length.shape)
    lower = lower.astype("int64") & 7  # modulo 8, also of what is negative
    flat = bins.reshape(-1)
    if still is not None:
        slow = length <= still
        lower_share[slow] = upper_share[slow] = 0
        flat[place + 8] = slow
    flat[place + lower] = lower_share
    flat[place + ((lower + 1) & 7)] = upper_share


def describe(sums, points) -> np.ndarray:
    """Normalized histograms of one frame around some points.

    Shapes: `(h, w, 33)` of `cell_sums`, `(N, 2)` x and y -> `(N, 132)` float32: HOG, HOF, MBHx,
    MBHy, each by row of cells, column of cells, bin. A patch that would reach out of the frame is
    shifted back into it.
    """
    height, width = sums.shape[:2]
    corners = np.rint(points).astype("int64") - CELL
    corners = np.clip(corners, 0, (width - PATCH, height - PATCH))
    where = corners[:, 1] * width + corners[:, 0]
    cells = where[:, None] + [0, CELL, CELL * width, CELL * width + CELL]
    histograms = np.maximum(sums.reshape(-1, _CHANNELS)[cells], 0) + np.float32(EPSILON)
    parts = np.split(histograms, np.cumsum(list(BINS.values()))[:-1], axis=-1)
    parts = [part / part.sum((1, 2), keepdims=True) for part in parts]
    flat = [part.reshape(len(points), 4 * part.shape[2]) for part in parts]
    return np.sqrt(np.concatenate(flat, axis=1))
