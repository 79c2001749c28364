"""Trajectories over a frame: tails where points were, heads where they are."""

import numpy as np
import pytest

from keras_attn.trajectories import Trajectories
from keras_attn.visualization.trajectory_tracks import busiest_frame, draw


@pytest.fixture
def trajectories():
    """Two that move right from frame 0, at rows 10 and 20, and one from frame 3, at row 30."""
    x = 4.0 + 2 * np.arange(16)
    positions = np.stack([np.stack([x, np.full(16, row)], 1) for row in (10.0, 20.0, 30.0)])
    first = np.array([0, 0, 3], "int32")
    return Trajectories(positions.astype("float32"), np.ones(3, "float32"), first, {})


def colored(picture, channel):
    """Rows and columns where a channel is above the other two."""
    others = np.delete(picture, channel, axis=2).max(2)
    return {tuple(place) for place in np.argwhere(picture[..., channel] > others.astype(int) + 99)}


def test_tails_are_green_and_heads_are_red(trajectories):
    frames = np.full((19, 40, 50, 3), 60, "uint8")
    picture = draw(frames, trajectories, 6)
    assert picture.shape == (40, 50, 3) and picture.dtype == np.uint8
    red, green = colored(picture, 0), colored(picture, 1)
    assert {(10, 16), (20, 16), (30, 10)} <= red
    assert {row for row, _ in red} <= set(range(9, 12)) | set(range(19, 22)) | set(range(29, 32))
    assert {(10, x) for x in range(5, 14)} | {(30, 5), (30, 7)} <= green
    assert max(x for row, x in green if row == 10) < 18
    assert (frames == 60).all()


def test_a_trajectory_is_drawn_from_its_second_to_its_last_frame(trajectories):
    frames = np.full((20, 40, 50, 3), 60, "uint8")
    assert (draw(frames, trajectories, 0) == 60).all()
    last = draw(frames, trajectories, 15)
    assert {row for row, _ in colored(last, 1)} >= {10, 20, 30}
    rows = {row for row, _ in colored(draw(frames, trajectories, 16), 1)}
    assert rows <= {29, 30, 31} and rows


def test_the_frame_is_the_busiest_by_default(trajectories):
    frames = np.arange(19, dtype="uint8")[:, None, None, None] + np.zeros((40, 50, 3), "uint8")
    assert busiest_frame(trajectories, 19) == 4
    assert draw(frames, trajectories)[0, 0, 0] == 4


def test_a_video_without_trajectories_is_shown_as_it_is():
    nothing = Trajectories(np.zeros((0, 16, 2)), np.zeros(0), np.zeros(0, "int32"), {})
    frames = np.full((3, 40, 50, 3), 60, "uint8")
    assert (draw(frames, nothing) == 60).all()
    with pytest.raises(ValueError, match="number must be from 0 to 2, got 3"):
        draw(frames, nothing, 3)
