"""Trajectories follow what moves, and nothing else: known motions, and each rejection rule."""

import numpy as np
import pytest
from moving import in_box, texture, video

from keras_attn.trajectories import LENGTHS, SETTINGS, descriptors, extract, pyramid, tracking
from keras_attn.trajectories.tracking import Tracks, are_trajectories, new_points

THING = (30, 34, 56, 44)
VELOCITY = (2.5, -1.25)


@pytest.fixture(scope="module")
def static_camera():
    return extract(video(18, 120, 160, thing=THING, velocity=VELOCITY))


def test_a_moving_pattern_has_trajectories_of_its_motion(static_camera):
    found = static_camera
    inside = in_box(found, THING, VELOCITY, -8).all(1)
    assert inside.sum() > 20
    steps = np.diff(found.positions[inside], axis=1)
    np.testing.assert_allclose(np.median(steps, axis=(0, 1)), VELOCITY, atol=0.1)
    shape = found.descriptors["trajectory"][inside].reshape(-1, 15, 2)
    expected = np.array(VELOCITY) / np.linalg.norm(VELOCITY) / 15
    np.testing.assert_allclose(np.median(shape, axis=(0, 1)), expected, atol=0.004)
    np.testing.assert_allclose(np.linalg.norm(shape, axis=2).sum(1), 1, rtol=1e-5)


def test_a_static_camera_gives_none_from_the_background(static_camera):
    """But for points that the object passes over, or uncovers."""
    assert in_box(static_camera, THING, VELOCITY, 8).any(1).mean() > 0.98
    assert not len(extract(video(16, 120, 160)))


@pytest.mark.parametrize("camera", [(2.0, 0.75), (-1.5, -2.0)])
def test_a_panning_camera_gives_trajectories_of_the_object_alone(camera):
    found = extract(video(17, 120, 160, camera, THING, VELOCITY))
    assert in_box(found, THING, VELOCITY, 8).any(1).mean() > 0.98
    assert in_box(found, THING, VELOCITY, -4).all(1).sum() > 20
    assert not len(extract(video(17, 120, 160, camera)))


def test_what_is_returned(static_camera):
    found = static_camera
    count = len(found)
    assert found.positions.shape == (count, 16, 2) and found.positions.dtype == np.float32
    assert (found.positions > 0).all() and (found.positions < (160, 120)).all()
    assert set(found.first) <= {0, 1, 2} and len(set(found.first)) > 1
    factors = [2 ** (level / 2) for level in range(4)]
    assert all(np.isclose(factors, scale).any() for scale in found.scales)
    assert len(set(found.scales)) > 1
    expected = {"trajectory": 30, "hog": 96, "hof": 108, "mbhx": 96, "mbhy": 96}
    assert expected == LENGTHS
    assert {name: d.shape[1] for name, d in found.descriptors.items()} == LENGTHS
    joined = found.joined()
    assert joined.shape == (count, 426)
    np.testing.assert_array_equal(joined[:, 126:234], found.descriptors["hof"])


def test_one_frame_after_the_other_gives_the_same():
    frames = video(16, 40, 56, thing=(10, 8, 30, 24), velocity=(1.5, 0))
    whole, streamed = extract(frames), extract(iter(frames))
    assert len(whole) > 3 and set(whole.first) == {0}
    np.testing.assert_array_equal(whole.joined(), streamed.joined())


@pytest.mark.parametrize("frames", [np.zeros((0, 40, 40, 3), "uint8"), video(15, 40, 48, (2, 0))])
def test_a_short_video_has_none(frames):
    found = extract(frames)
    assert len(found) == 0 and found.joined().shape == (0, 426)


def test_constant_frames_have_none():
    assert len(extract(np.full((17, 40, 48, 3), 130, "uint8"))) == 0


def test_bad_frames_are_refused():
    good = np.zeros((40, 48, 3), "uint8")
    for frame, message in (
        (good[..., 0], r"frame 1 must be \(H, W, 3\) of uint8, got \(40, 48\) of uint8"),
        (good.astype("float32"), "got .* of float32"),
        (good[:, :40], "frame 1 must be 40 x 48 pixels .* got 40 x 40"),
        (good[:31], "at least 32 x 32 pixels.*got 31 x 48"),
    ):
        with pytest.raises(ValueError, match=message):
            extract([good, frame])


def test_scales_shrink_by_the_root_of_two_down_to_32_pixels():
    assert pyramid.sizes(240, 320) == [
        (240, 320),
        (170, 226),
        (120, 160),
        (85, 113),
        (60, 80),
        (42, 57),
    ]
    assert pyramid.sizes(32, 90) == [(32, 90)]
    assert pyramid.sizes(46, 46) == [(46, 46), (33, 33)]
    assert pyramid.sizes(64, 64) == [(64, 64), (45, 45), (32, 32)]
    assert pyramid.sizes(128, 128) == [(128, 128), (91, 91), (64, 64), (45, 45), (32, 32)]
    assert len(pyramid.sizes(1080, 1920)) == 8
    gray = texture(3, 60, 90).astype("uint8")
    assert [level.shape for level in pyramid.pyramid(gray)] == [(60, 90), (42, 64)]


def test_the_settings_hold_every_constant():
    derived = {"SETTINGS", "CELL", "FRAME_LENGTHS"}
    for module in (pyramid, tracking, descriptors):
        assert module.SETTINGS.items() <= SETTINGS.items()
        known = [*module.SETTINGS.values(), *module.SETTINGS.get("jump", ())]
        for name, value in vars(module).items():
            constant = name.isupper() and name[0] != "_" and name not in derived
            assert not constant or value in known, name


def test_new_points_are_where_there_is_structure_and_no_point():
    gray = np.full((43, 58), 90, "uint8")
    gray[:, 20:] = texture(4, 43, 38).astype("uint8")
    found = {tuple(point) for point in new_points(gray, np.zeros((0, 2), "float32"))}
    assert found == {(x + 2, y + 2) for x in range(20, 55, 5) for y in range(0, 40, 5)} | {
        point for point in found if point[0] == 17
    }  # the cells beside the edge may count
    taken = np.array([[20.0, 4.99], [34.9, 5.0], [57.5, 42.5]], "float32")
    gone = found - {tuple(point) for point in new_points(gray, taken)}
    assert gone == {(22, 2), (32, 7)}


def path(steps, start=(40.0, 40.0)):
    return np.concatenate([[start], start + np.cumsum(steps, 0)])[None].astype("float32")


STEADY = np.tile([1.5, -0.5], (15, 1))


@pytest.mark.parametrize(
    ("steps", "good"),
    [
        (STEADY, True),
        (np.tile([0.37, 0.0], (15, 1)), False),  # deviation 1.71 < sqrt(3)
        (np.tile([0.38, 0.0], (15, 1)), True),  # 1.75
        (np.tile([10.8, 0.0], (15, 1)), True),  # 49.8
        (np.tile([0.0, 10.9], (15, 1)), False),  # 50.2 > 50
        (np.array([[20.5, 0.0]] + 14 * [[0.6, 0.0]]), False),  # 20.5 of 28.9: 71 %
        (np.array([[20.5, 0.0]] + 14 * [[0.65, 0.0]]), True),  # 20.5 of 29.6: 69 %
        (np.array([[19.9, 0.0]] + 14 * [[0.1, 0.0]]), True),  # 93 %, but not 20 pixels
    ],
)
def test_paths_that_rest_or_err_or_jump_are_no_trajectories(steps, good):
    moves = np.tile([1.1, 0.0], (15, 1))[None]
    assert are_trajectories(path(steps), moves).tolist() == [good]


def test_paths_that_the_camera_explains_are_no_trajectories():
    moves = np.zeros((3, 15, 2), "float32")
    moves[0] = (0.6, 0.8)
    moves[1] = (0.1, 0.1)
    moves[1, 7] = (0.7, -0.8)
    assert are_trajectories(np.repeat(path(STEADY), 3, 0), moves).tolist() == [False, True, False]


def test_points_that_leave_the_frame_are_dropped_and_lengths_are_of_the_full_size():
    gray = texture(5, 40, 50).astype("uint8")
    tracks = Tracks(3.0)
    tracks.start(gray)
    flow = np.zeros((40, 50, 2), "float32") + np.float32([1.75, 0.25])
    stabilised = flow + np.float32([0.5, 0])
    for _ in range(tracking.LENGTH):
        assert not len(tracks.take_complete()["positions"])
        tracks.step(flow, stabilised, np.ones((40, 50, 33), "float32"))
    found = tracks.take_complete()
    starts = found["positions"][:, 0] / 3
    expected = new_points(gray, np.zeros((0, 2)))
    expected = expected[(expected + 15 * np.array([1.75, 0.25]) < (50, 40)).all(1)]
    np.testing.assert_array_equal(starts, expected)
    np.testing.assert_allclose(np.diff(found["positions"], axis=1)[1], 15 * [[5.25, 0.75]])
    np.testing.assert_allclose(found["moves"][2], 15 * [[6.75, 0.75]])
    assert not len(tracks.take_complete()["positions"])
