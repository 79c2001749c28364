"""Warped flow: the camera's motion goes, what moves in front of it stays."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from keras_attn.flow import estimate, warped
from keras_attn.flow.warped import camera_motion, camera_motions, compensate, warped_flow

HEIGHT, WIDTH = 144, 176
MIDDLE = np.array([WIDTH / 2, HEIGHT / 2])
OBJECT = (slice(60, 96), slice(70, 114))  # where it is in the first frame
NOTHING = np.zeros((0, 2), "float32"), np.zeros((0, 128), "float32")  # no feature
STEP = np.array([4.0, -3.0])  # the object's own motion, x then y


def about_the_middle(scale, angle, shift=(0, 0)):
    """A homography of a camera that zooms, turns and pans."""
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    homography = np.eye(3)
    homography[:2, :2] = turn
    homography[:2, 2] = MIDDLE + shift - turn @ MIDDLE
    return homography


CAMERAS = {
    "pan": about_the_middle(1, 0, (6.5, -4.25)),
    "zoom": about_the_middle(1.06, 0),
    "rotation": about_the_middle(1, 0.06),
}


def texture(rng, height, width):
    """Smooth random gray: blobs of several sizes, so that every place is different."""
    picture = np.zeros((height, width), "float32")
    for blur in (1.5, 4, 9):
        layer = cv2.GaussianBlur(rng.normal(size=(height, width)).astype("float32"), (0, 0), blur)
        picture += layer / layer.std()
    return 128 + 35 * picture / picture.std()


def scene(rng, camera, step=STEP):
    """Two frames, uint8: the object moves by `step` and then the camera by `camera`."""
    margin = 40
    world = texture(rng, HEIGHT + 2 * margin, WIDTH + 2 * margin)
    rows, columns = OBJECT
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    patch = texture(rng, *shape)
    frames = []
    for move, homography in ((np.zeros(2), np.eye(3)), (step, camera)):
        picture = world.copy()
        x, y = (np.array([columns.start, rows.start]) + move + margin).astype(int)
        picture[y : y + shape[0], x : x + shape[1]] = patch
        outward = np.array([[1, 0, -margin], [0, 1, -margin], [0, 0, 1.0]])
        frames.append(cv2.warpPerspective(picture, homography @ outward, (WIDTH, HEIGHT)))
    noisy = np.stack(frames) + rng.normal(0, 1, (2, HEIGHT, WIDTH))
    return np.clip(np.rint(noisy), 0, 255).astype("uint8")


def background():
    """Where neither the object nor the flow beside it can be."""
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[OBJECT[0].start - 16 : OBJECT[0].stop + 16, OBJECT[1].start - 16 : OBJECT[1].stop + 16] = 0
    return mask


def magnitude(flow):
    return np.hypot(flow[..., 0], flow[..., 1])


@pytest.mark.parametrize("method", ["dis", "farneback"])
@pytest.mark.parametrize("camera", CAMERAS)
def test_the_camera_goes_and_the_object_stays(rng, camera, method):
    first, second = scene(rng, CAMERAS[camera])
    flow = estimate(first[None], second[None], method)[0]
    left = warped_flow(first[None], second[None], method)[0]
    before, after = (magnitude(one)[background()].mean() for one in (flow, left))
    assert before > 1.5
    assert after < 0.1 * before
    core = left[66:90, 78:106]
    assert magnitude(np.median(core, axis=(0, 1)) - STEP) < 0.2 * magnitude(STEP)


def moved(homography, height=HEIGHT, width=WIDTH):
    """The flow `(H, W, 2)` that a homography makes of every pixel, one by one."""
    flow = np.zeros((height, width, 2), "float32")
    for y, x in np.ndindex(height, width):
        place = homography @ (x, y, 1)
        flow[y, x] = place[:2] / place[2] - (x, y)
    return flow


def error(found, homography):
    """The largest distance, in pixels of the frame, between what two homographies do."""
    return magnitude(moved(found) - moved(homography)).max()


@pytest.mark.parametrize("camera", CAMERAS)
def test_the_homography_is_found_by_features_and_corners_and_by_features_alone(
    rng, camera, monkeypatch
):
    first, second = scene(rng, CAMERAS[camera])
    flow = estimate(first[None], second[None], "dis")[0]
    assert error(camera_motion(first, second, flow), CAMERAS[camera]) < 0.4
    monkeypatch.setattr(warped, "_moved_corners", lambda frame, flow: (NOTHING[0], NOTHING[0]))
    assert error(camera_motion(first, second, flow), CAMERAS[camera]) < 1


def test_corners_move_with_the_flow_at_their_row_and_column(rng, monkeypatch):
    monkeypatch.setattr(warped, "_features", lambda frame: NOTHING)
    homography = about_the_middle(1.05, -0.08, (3, 5)) + [[0, 0, 0], [0, 0, 0], [1e-4, -2e-4, 0]]
    first, second = scene(rng, np.eye(3))
    found = camera_motion(first, second, moved(homography))
    np.testing.assert_allclose(found, homography, atol=1e-4)


def test_features_match_only_where_they_are_near(rng, monkeypatch):
    monkeypatch.setattr(warped, "_moved_corners", lambda frame, flow: (NOTHING[0], NOTHING[0]))
    nothing = np.zeros((HEIGHT, WIDTH, 2))
    for step, found in ((20, True), (30, False)):
        pan = about_the_middle(1, 0, (step, 0))
        motion = camera_motion(*scene(rng, pan), nothing)
        assert error(motion, pan if found else np.eye(3)) < 1


def test_a_static_camera_is_the_identity_and_the_object_still_moves(rng):
    first, second = scene(rng, np.eye(3))
    flow = estimate(first[None], second[None], "dis")
    homography = camera_motion(first, second, flow[0])
    assert homography.shape == (3, 3) and homography.dtype == np.float64
    assert error(homography, np.eye(3)) < 0.1
    left = warped_flow(first[None], second[None], "dis")
    assert left.shape == flow.shape and left.dtype == np.float32
    assert magnitude(left[0])[background()].mean() < 0.1
    np.testing.assert_allclose(np.median(left[0, 66:90, 78:106], (0, 1)), STEP, atol=0.5)


@pytest.mark.parametrize("shape", [(2, 40, 52), (2, 40, 52, 3), (1, 7, 9), (0, 40, 52)])
def test_constant_frames_have_the_identity_and_no_flow(shape):
    first, second = np.full(shape, 90, "uint8"), np.full(shape, 140, "uint8")
    nothing = np.zeros((*shape[:3], 2))
    homographies = camera_motions(first, second, nothing)
    np.testing.assert_array_equal(homographies, np.broadcast_to(np.eye(3), (shape[0], 3, 3)))
    np.testing.assert_array_equal(warped_flow(first, second, "dis"), nothing)


def test_too_few_matches_are_the_identity(rng):
    first = np.full((HEIGHT, WIDTH), 60, "uint8")
    first[40:60, 50:70] = 200
    first[90:110, 100:130] = 150  # eight corners
    second = np.roll(first, 4, axis=1)
    flow = np.full((HEIGHT, WIDTH, 2), (4, 0), "float32")
    np.testing.assert_array_equal(camera_motion(first, second, flow), np.eye(3))


def test_matches_that_do_not_agree_are_the_identity(rng):
    first, second = rng.integers(0, 256, (2, 60, 80), "uint8")
    flow = rng.uniform(-20, 20, (60, 80, 2))
    assert len(cv2.goodFeaturesToTrack(first, 1000, 0.001, 3)) > 50
    np.testing.assert_array_equal(camera_motion(first, second, flow), np.eye(3))


def test_the_same_answer_in_every_run_and_thread_and_for_a_sequence(rng):
    camera = CAMERAS["rotation"]
    frames = [*scene(rng, camera), *scene(rng, CAMERAS["zoom"])]
    first, second = np.stack(frames[:-1]), np.stack(frames[1:])
    flow = estimate(first, second, "dis")
    together = camera_motions(first, second, flow)
    cv2.setRNGSeed(5)
    with ThreadPoolExecutor(3) as pool:
        pairs = [(first[k], second[k], flow[k]) for k in (2, 0, 1, 2, 1, 0)]
        alone = list(pool.map(lambda pair: camera_motion(*pair), pairs))
    for number, k in enumerate((2, 0, 1, 2, 1, 0)):
        np.testing.assert_array_equal(alone[number], together[k])
    # Pairs that do not follow each other: what was found in one must not serve the next.
    apart = camera_motions(first[::2], second[::2], flow[::2])
    np.testing.assert_array_equal(apart, together[::2])


def test_color_is_seen_as_gray(rng):
    first, second = scene(rng, CAMERAS["zoom"])
    flow = estimate(first[None], second[None], "dis")[0]
    color = [np.repeat(one[..., None], 3, axis=-1) for one in (first, second)]
    expected = camera_motion(first, second, flow)
    np.testing.assert_array_equal(camera_motion(*color, flow), expected)
    still = compensate(*color, expected)
    assert still.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(still[..., 1], compensate(first, second, expected))
    left = warped_flow(first[None], second[None], "dis")
    as_floats = (one[None].astype("float32") + 0.2 for one in color)
    np.testing.assert_allclose(warped_flow(*as_floats, "dis"), left, atol=1e-3)


def test_compensation_is_the_bilinear_warp_with_the_first_frame_at_the_border(rng):
    height, width = 23, 31
    first, second = rng.integers(0, 256, (2, height, width), "uint8")
    homography = np.array([[1.02, 0.03, 2.3], [-0.02, 0.97, -1.4], [1e-4, 2e-4, 1]])
    found = compensate(first, second, homography)
    copied = 0
    for y, x in np.ndindex(height, width):
        across, down, scale = homography @ (x, y, 1)
        across, down = across / scale, down / scale
        nearest = (round(across), round(down))
        if not (5 <= nearest[0] < width - 5 and 5 <= nearest[1] < height - 5):
            assert found[y, x] == first[y, x]
            copied += 1
            continue
        column, row = int(across), int(down)
        right, low = across - column, down - row
        corners = second[row : row + 2, column : column + 2].astype(float)
        expected = [1 - low, low] @ corners @ [1 - right, right]
        assert abs(found[y, x] - expected) <= 10  # OpenCV counts in 32nds of a pixel
    assert 0 < copied < height * width
    assert compensate(first, second, np.eye(3)) is second


def test_what_does_not_fit_is_refused(rng):
    frames = rng.integers(0, 256, (2, 20, 30), "uint8")
    flow = np.zeros((20, 30, 2))
    for second, wrong in ((frames[1, :-1], flow), (frames[1], flow[:, :-1]), (frames[1], flow[0])):
        with pytest.raises(ValueError, match="first, second and flow must be"):
            camera_motion(frames[0], second, wrong)
    with pytest.raises(ValueError, match="flow must be finite"):
        camera_motion(*frames, flow + np.nan)
    with pytest.raises(ValueError, match="method must be one of"):
        warped_flow(frames[:1], frames[1:], "sift")
