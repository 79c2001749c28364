"""Videos of textures whose motion is known."""

import cv2
import numpy as np


def texture(seed, height, width):
    """`(height, width)` smooth random gray from 20 to 235, as float32."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype("float32")
    picture = sum(
        layer / layer.std() for layer in (cv2.GaussianBlur(noise, (0, 0), blur) for blur in (2, 5))
    )
    return cv2.normalize(picture, None, 20, 235, cv2.NORM_MINMAX)


def moved(picture, shift, height, width):
    """A window of `picture` from 20 pixels right and below of its corner, moved by `shift`."""
    matrix = np.array([[1, 0, 20 + shift[0]], [0, 1, 20 + shift[1]]], "float64")
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, matrix, (width, height), flags=flags)


def video(length, height, width, camera=(0.0, 0.0), thing=None, velocity=(0.0, 0.0)):
    """`(length, height, width, 3)` uint8: a background that a camera pans over, and in front, if
    `thing` is a box (x, y, width, height) in the first frame, a texture moving at `velocity`."""
    back = texture(1, height + 120, width + 120)
    front = texture(2, height + 120, width + 120)
    frames = np.empty((length, height, width, 3), "uint8")
    for number in range(length):
        frame = moved(back, np.multiply(camera, number), height, width)
        if thing:
            x, y, across, down = thing
            left, top = np.add((x, y), np.multiply(velocity, number))
            inside = moved(front, (-left, -top), height, width)
            rows, columns = np.mgrid[:height, :width]
            where = (abs(columns - left - across / 2) < across / 2) & (
                abs(rows - top - down / 2) < down / 2
            )
            frame[where] = inside[where]
        frames[number] = np.clip(np.rint(frame), 0, 255)[..., None]
    return frames


def in_box(trajectories, thing, velocity, margin):
    """`(N, 16)`: whether a trajectory's point lies in the moving box, give or take `margin`."""
    number = trajectories.first[:, None] + np.arange(trajectories.positions.shape[1])
    apart = trajectories.positions - thing[:2] - number[..., None] * np.array(velocity)
    return ((apart > -margin) & (apart < np.add(thing[2:], margin))).all(2)
