"""Synthetic clips: the motion tells the class, the truth fits, the same seed gives the same."""

import json

import av
import numpy as np
import pytest

from keras_attn.datasets.synthetic import MOTIONS, Scene, render, write_dataset, write_video

SCENES = pytest.mark.parametrize("seed", range(6))


def scene(seed, frames=17, side=48):
    return Scene(seed, side, frames)


@SCENES
@pytest.mark.parametrize("motion", MOTIONS)
def test_boxes_move_only_in_the_interval_and_only_in_the_direction(seed, motion):
    some = scene(seed)
    video, truth = render(some, motion)
    assert video.shape == (17, 48, 48, 3) and video.dtype == np.uint8
    assert truth.label == motion and truth.boxes.shape == (17, 4)
    assert 0 <= truth.start < truth.end <= 17 and truth.end - truth.start >= 8
    steps = np.diff(truth.boxes, axis=0)
    moving = slice(truth.start, truth.end - 1)
    along = steps[:, :2] @ MOTIONS[motion]
    assert np.all(along[moving] > 0.1)
    np.testing.assert_allclose(steps[moving, :2], np.outer(along[moving], MOTIONS[motion]))
    assert not steps[: truth.start].any() and not steps[truth.end - 1 :].any()
    assert not steps[:, 2:].any()
    corners = np.concatenate([truth.boxes[:, :2], truth.boxes[:, :2] + truth.boxes[:, 2:]])
    assert corners.min() >= -1e-9 and corners.max() <= 48 + 1e-9


@SCENES
def test_pixels_change_inside_the_boxes_only(seed):
    """The box holds the shape: outside of all boxes only the noise changes."""
    video, truth = render(scene(seed), "down")
    x, y, width, height = truth.boxes.T
    outside = np.ones((48, 48), bool)
    low, high = np.floor([y.min(), x.min()]).astype(int), np.ceil([y + height, x + width])
    high = high.max(axis=1).astype(int) + 1
    outside[low[0] : high[0], low[1] : high[1]] = False
    change = abs(video.astype(int) - video[0]).max(axis=(0, 3))
    assert change[outside].max() < 45  # six standard deviations of the noise, and more
    assert change[~outside].max() > 60


@SCENES
def test_no_single_picture_tells_the_class(seed):
    """All four clips show the same things: in mid-motion they are the same picture."""
    clips = {motion: render(scene(seed), motion) for motion in MOTIONS}
    (first, truth), *others = clips.values()
    for video, other in others:
        assert (other.start, other.end) == (truth.start, truth.end)
        for frame, reference in zip(video, first, strict=True):  # the same pixels, elsewhere
            close = np.sort(frame.ravel()).astype(int) - np.sort(reference.ravel())
            assert abs(close).mean() < 3
    if (truth.end - 1 - truth.start) % 2 == 0:
        middle = (truth.start + truth.end - 1) // 2
        for video, _ in others:
            np.testing.assert_array_equal(video[middle], first[middle])
    else:
        assert not np.array_equal(first[truth.start], others[0][0][truth.start])


def test_some_scene_has_a_picture_in_mid_motion():
    truths = [render(scene(seed), "up")[1] for seed in range(6)]
    assert any((truth.end - 1 - truth.start) % 2 == 0 for truth in truths)


def test_seeds_decide():
    video, _ = render(scene(4), "left")
    np.testing.assert_array_equal(video, render(scene(4), "left")[0])
    for other in (render(scene(5), "left"), render(scene(4), "right")):
        assert not np.array_equal(video, other[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"frames": 1}, "frames=1"), ({"side": 33}, "side=33"), ({"side": 8}, "side=8")],
)
def test_scenes_that_cannot_be_filmed(settings, message):
    with pytest.raises(ValueError, match=message):
        Scene(seed=0, **settings)


def test_the_shortest_scene_moves():
    _, truth = render(Scene(0, frames=2, side=16), "right")
    assert truth.boxes[1, 0] > truth.boxes[0, 0]


def test_files_hold_the_frames_and_the_truth(tmp_path):
    truth_path = write_dataset(tmp_path / "videos", scenes=2, seed=4, side=32, frames=5, fps=12)
    assert truth_path == tmp_path / "videos.json"
    truths = json.loads(truth_path.read_text())
    found = {p.relative_to(tmp_path / "videos").as_posix() for p in tmp_path.rglob("*.mp4")}
    assert set(truths) == found and len(found) == 8
    for name, truth in truths.items():
        motion = name.split("/")[0]
        assert truth["label"] == motion and len(truth["boxes"]) == 5
        number = int(name[-10:-8])
        expected, same = render(Scene(40_000 + number, 32, 5), motion)
        np.testing.assert_allclose(truth["boxes"], same.boxes, atol=0.01)
        with av.open(str(tmp_path / "videos" / name)) as container:
            decoded = container.decode(video=0)
            frames = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])
        assert frames.shape == expected.shape
        assert abs(frames.astype(int) - expected).mean() < 12


def test_a_video_is_whole_or_absent(tmp_path):
    with pytest.raises((ValueError, TypeError)):
        write_video(tmp_path / "a.mp4", np.zeros((3, 16, 16, 2), "uint8"))
    assert list(tmp_path.iterdir()) == []
