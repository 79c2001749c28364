"""Warped flow: the motion that is left when the camera's own is taken away by a homography.

    first, second -> flow -> matches: SIFT in both frames, corners of the first moved by the flow
    -> RANSAC -> homography -> second, as if the camera stood still -> flow again

Wang and Schmid, "Action Recognition with Improved Trajectories", ICCV 2013, and the warped flow of
Wang et al., "Temporal Segment Networks", ECCV 2016, which does the same.
Differs from their code: SIFT stands for SURF, which OpenCV's wheels do not have, on frames of half
the size, which SIFT doubles again for its first octave; no person is masked out; and where no
homography is accepted, the border of the second frame is kept: it would be an edge if the light
changed.
"""

import numpy as np

from keras_attn.errors import require
from keras_attn.flow import estimate, gray_bytes

# Pixels where it says nothing else. Of the reference code, all but those of SIFT.
SETTINGS = {
    "window": 25,
    "corners": 1000,
    "corner_quality": 0.001,
    "corner_distance": 3,
    "matches_above": 50,
    "inliers_above": 25,
    "inlier_distance": 1.0,
    "border": 5,
    # Half OpenCV's own threshold, since video blurred by compression has few strong points.
    "sift": {"nfeatures": 500, "contrastThreshold": 0.02, "enable_precise_upscale": True},
    "sift_frames": 0.5,  # of the frame's size
}
_PURPOSE = "compensating camera motion"


def camera_motion(first, second, flow) -> np.ndarray:
    """Return the homography that moves points of `first` as the camera's motion does.

    The identity where there are too few matches, or too few that agree. The same arguments give the
    same answer.

    Args:
        first, second: Two frames `(H, W)` or `(H, W, 3)`, 0 to 255, RGB.
        flow: Their flow `(H, W, 2)`, in pixels.

    Returns:
        Array (3, 3), float64.

    Raises:
        ValueError: For shapes that do not fit.
        UserError: Without OpenCV.
    """
    first, second, flow = np.asarray(first), np.asarray(second), np.asarray(flow)
    return camera_motions(first[None], second[None], flow[None])[0]


def camera_motions(first, second, flow) -> np.ndarray:
    """Return the `camera_motion` of each pair, `(B, 3, 3)`.

    Faster where each frame of `second` is the next one of `first`, as in a video: the features of a
    frame are then found once.

    Args:
        first, second: Frames `(B, H, W)` or `(B, H, W, 3)`.
        flow: Their flow `(B, H, W, 2)`.
    """
    first, second, flow = gray_bytes(first), gray_bytes(second), np.asarray(flow)
    if first.shape != second.shape or flow.shape != (*first.shape, 2):
        raise ValueError(
            "first, second and flow must be (B, H, W[, 3]) twice and (B, H, W, 2), got gray "
            f"frames {first.shape} and {second.shape}, and flow {flow.shape}"
        )
    if not np.isfinite(flow).all():
        raise ValueError("flow must be finite, got NaN or infinite values")
    homographies = np.empty((len(first), 3, 3))
    after = None
    for number, (before, next_frame) in enumerate(zip(first, second, strict=True)):
        follows = number and np.array_equal(before, second[number - 1])
        features = after if follows else _features(before)
        after = _features(next_frame)
        pairs = [_matches(features, after), _moved_corners(before, flow[number])]
        start, end = (np.concatenate(points) for points in zip(*pairs, strict=True))
        homographies[number] = _homography(start, end)
    return homographies


def compensate(first, second, homography) -> np.ndarray:
    """Return `second` as if the camera had not moved since `first`, in the frames' shape.

    A pixel that would come from near or beyond the border of `second` is that of `first`. The
    identity, which means that no motion was found, leaves `second` as it is.

    Args:
        first, second: Two frames `(H, W)` or `(H, W, 3)`, uint8.
        homography: Array (3, 3) of `camera_motion`.
    """
    if np.array_equal(homography, np.eye(3)):
        return second
    cv2 = require("cv2", _PURPOSE)
    height, width = first.shape[:2]
    border = SETTINGS["border"]
    inside = np.zeros((height, width), "uint8")
    inside[border : height - border, border : width - border] = 1

    def still(picture, interpolation):
        flags = interpolation | cv2.WARP_INVERSE_MAP
        return cv2.warpPerspective(picture, homography, (width, height), flags=flags)

    known = still(inside, cv2.INTER_NEAREST).astype(bool)
    known = known.reshape(known.shape + (1,) * (first.ndim - 2))
    return np.where(known, still(second, cv2.INTER_LINEAR), first)


def warped_flow(first, second, method: str = "tvl1") -> np.ndarray:
    """Estimate flow between frames of which the second is freed from the camera's motion.

    Shapes: as `flow.estimate`. Frames of another type than uint8 are rounded.

    Args:
        first, second, method: As for `flow.estimate`.

    Raises:
        ValueError, UserError: As `flow.estimate`.
    """
    flow = estimate(first, second, method)
    first, second = gray_bytes(first), gray_bytes(second)
    still = np.empty_like(second)
    for number, homography in enumerate(camera_motions(first, second, flow)):
        still[number] = compensate(first[number], second[number], homography)
    return estimate(first, still, method)


def _features(frame):
    """Places `(n, 2)`, x then y, and SIFT descriptors `(n, 128)`, of a gray frame."""
    cv2 = require("cv2", _PURPOSE)
    height, width = frame.shape
    smaller = tuple(max(1, int(side * SETTINGS["sift_frames"])) for side in (width, height))
    points, descriptors = cv2.SIFT_create(**SETTINGS["sift"]).detectAndCompute(
        cv2.resize(frame, smaller, interpolation=cv2.INTER_AREA), None
    )
    if descriptors is None:
        return np.zeros((0, 2), "float32"), np.zeros((0, 128), "float32")
    scale = np.array([width / smaller[0], height / smaller[1]])
    places = (cv2.KeyPoint_convert(points) + 0.5) * scale - 0.5  # pixels are counted at the middle
    return places.astype("float32"), descriptors


def _matches(before, after):
    """Each feature after with the most similar one before that is near it: two `(n, 2)`."""
    (start, start_features), (end, end_features) = before, after
    if not len(start) or not len(end):
        return start[:0], end[:0]
    near = (np.abs(end[:, None] - start[None]) < SETTINGS["window"]).all(-1)
    # The squared distance, less what is the same for all of a row.
    distances = np.sum(start_features**2, axis=1) - 2 * end_features @ start_features.T
    best = np.where(near, distances, np.inf).argmin(axis=1)
    found = near.any(axis=1)
    return start[best[found]], end[found]


def _moved_corners(frame, flow):
    """Shi-Tomasi corners of a gray frame and where the flow takes them: two `(n, 2)`."""
    cv2 = require("cv2", _PURPOSE)
    limits = (SETTINGS[key] for key in ("corners", "corner_quality", "corner_distance"))
    corners = cv2.goodFeaturesToTrack(frame, *limits)
    corners = np.zeros((0, 2), "float32") if corners is None else corners.reshape(-1, 2)
    columns, rows = corners.astype(int).T
    return corners, (corners + flow[rows, columns]).astype("float32")


def _homography(start, end):
    """The homography of most matches; OpenCV's RANSAC draws from a generator of a fixed seed."""
    cv2 = require("cv2", _PURPOSE)
    if len(start) <= SETTINGS["matches_above"]:
        return np.eye(3)
    found, agree = cv2.findHomography(start, end, cv2.RANSAC, SETTINGS["inlier_distance"])
    if found is None or not np.isfinite(found).all():
        return np.eye(3)
    return found if np.count_nonzero(agree) > SETTINGS["inliers_above"] else np.eye(3)
