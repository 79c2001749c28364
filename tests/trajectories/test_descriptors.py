"""HOG, HOF and MBH of a trajectory against the same with loops, pixel after pixel."""

import math

import numpy as np
from moving import texture

from keras_attn.trajectories.descriptors import BINS, FRAME_LENGTHS, cell_sums, describe
from keras_attn.trajectories.tracking import Tracks, new_points

HEIGHT, WIDTH = 44, 53


def gradient(picture, y, x):
    """Differences of the neighbors; mirrored at the border, so 0 across it."""
    height, width = picture.shape
    across = float(picture[y, x + 1]) - float(picture[y, x - 1]) if 0 < x < width - 1 else 0.0
    down = float(picture[y + 1, x]) - float(picture[y - 1, x]) if 0 < y < height - 1 else 0.0
    return across, down


def vote(histogram, x, y, still):
    length = math.hypot(x, y)
    if still and length <= 0.4:
        histogram[8] += 1
        return
    place = math.atan2(y, x) % (2 * math.pi) / (2 * math.pi) * 8
    lower = int(place)
    histogram[lower % 8] += length * (1 - (place - lower))
    histogram[(lower + 1) % 8] += length * (place - lower)


def one_frame(name, gray, flow, point):
    """The normalized histograms of one frame: `(2, 2, bins)`."""
    left = min(max(round(float(point[0])) - 16, 0), WIDTH - 32)
    top = min(max(round(float(point[1])) - 16, 0), HEIGHT - 32)
    cells = np.full((2, 2, BINS[name]), 0.05)
    for row, column, y, x in np.ndindex(2, 2, 16, 16):
        y, x = top + 16 * row + y, left + 16 * column + x
        vector = {
            "hog": lambda y, x: gradient(gray, y, x),
            "hof": lambda y, x: flow[y, x],
            "mbhx": lambda y, x: gradient(flow[..., 0], y, x),
            "mbhy": lambda y, x: gradient(flow[..., 1], y, x),
        }[name](y, x)
        vote(cells[row, column], *map(float, vector), name == "hof")
    return np.sqrt(cells / cells.sum())


def smooth_flow(seed):
    x, y = (texture(seed + part, HEIGHT, WIDTH) for part in (0, 50))
    return np.stack([x / 60 - 1, y / 90 - 1.5], -1).astype("float32")


def test_a_trajectory_is_described_as_with_loops():
    grays = [texture(seed, HEIGHT, WIDTH).astype("uint8") for seed in range(16)]
    flows = [smooth_flow(100 + number) for number in range(15)]
    stabilised = [smooth_flow(200 + number) for number in range(15)]
    assert min(np.linalg.norm(flow, axis=-1).min() for flow in stabilised) < 0.4
    tracks = Tracks(1.0)
    tracks.start(grays[0])
    for gray, flow, steady in zip(grays, flows, stabilised, strict=False):
        tracks.step(flow, steady, cell_sums(gray, steady))
    found = tracks.take_complete()
    assert len(found["positions"]) > 5
    for row in (0, len(found["positions"]) // 2):
        positions = found["positions"][row]
        start = 0
        for name, length in FRAME_LENGTHS.items():
            mine = found["histograms"][row][:, start : start + length]
            start += length
            frames = [one_frame(name, grays[t], stabilised[t], positions[t]) for t in range(15)]
            expected = np.reshape(frames, (3, 5, 2, 2, BINS[name])).mean(1)
            np.testing.assert_allclose(mine, expected.reshape(3, -1), atol=2e-4)
        for t in range(15):
            x, y = np.rint(positions[t]).astype(int)
            np.testing.assert_allclose(positions[t + 1] - positions[t], flows[t][y, x], atol=1e-5)
            np.testing.assert_array_equal(found["moves"][row, t], stabilised[t][y, x])


def test_the_squares_of_each_descriptor_sum_to_one_in_a_frame():
    gray = texture(1, HEIGHT, WIDTH).astype("uint8")
    points = new_points(gray, np.zeros((0, 2)))
    found = describe(cell_sums(gray, smooth_flow(3)), points)
    assert found.shape == (len(points), 132) and (found > 0).all()
    for part in np.split(found, np.cumsum(list(FRAME_LENGTHS.values()))[:-1], axis=1):
        np.testing.assert_allclose((part**2).sum(1), 1, rtol=1e-5)


def test_nothing_to_see_and_no_motion():
    flow = np.zeros((HEIGHT, WIDTH, 2), "float32")
    found = describe(cell_sums(np.full((HEIGHT, WIDTH), 9, "uint8"), flow), [[20.0, 20.0]])[0]
    hog, hof, mbhx, _ = np.split(found, np.cumsum(list(FRAME_LENGTHS.values()))[:-1])
    np.testing.assert_allclose(hog, 32**-0.5, rtol=1e-6)
    np.testing.assert_allclose(mbhx, 32**-0.5, rtol=1e-6)
    total = 4 * (256.05 + 8 * 0.05)
    np.testing.assert_allclose(hof.reshape(4, 9)[:, 8], (256.05 / total) ** 0.5, rtol=1e-6)
    np.testing.assert_allclose(hof.reshape(4, 9)[:, :8], (0.05 / total) ** 0.5, rtol=1e-6)


def test_patches_beyond_the_border_are_shifted_into_the_frame():
    gray = texture(1, HEIGHT, WIDTH).astype("uint8")
    sums = cell_sums(gray, smooth_flow(3))
    outside = describe(sums, [[-3.0, 2.0], [60.0, 50.0], [20.5, 21.5]])
    inside = describe(sums, [[16.0, 16.0], [WIDTH - 16, HEIGHT - 16], [20.0, 22.0]])
    np.testing.assert_array_equal(outside, inside)
