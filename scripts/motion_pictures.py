"""Picture what moves: a frame, its flow, its flow without the camera's motion, its trajectories.

    python scripts/motion_pictures.py docs/pictures/motion.png            # a synthetic scene
    python scripts/motion_pictures.py motion.png --video clip.avi --method tvl1

The synthetic scene is a disc that moves over a texture, filmed by a camera that pans and zooms.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np

from keras_attn.flow import METHODS, estimate
from keras_attn.flow.warped import warped_flow
from keras_attn.trajectories import extract
from keras_attn.utils.files import write_atomic
from keras_attn.visualization import flow_colors
from keras_attn.visualization.trajectory_tracks import draw

TITLE = 24  # pixels above each picture


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="PNG file to write")
    parser.add_argument("--video", type=Path, help="default: a synthetic scene")
    parser.add_argument("--method", choices=METHODS, default="tvl1")
    parser.add_argument("--number", type=int, help="of the frame (default: the one in the middle)")
    options = parser.parse_args()
    frames = read(options.video) if options.video else scene()
    number = len(frames) // 2 if options.number is None else options.number
    if not 0 <= number < len(frames) - 1:
        parser.error(f"--number must be from 0 to {len(frames) - 2}, got {number}")
    pair = frames[number : number + 1], frames[number + 1 : number + 2]
    flow, warped = estimate(*pair, options.method)[0], warped_flow(*pair, options.method)[0]
    longest = max(1.0, float(np.quantile(np.linalg.norm(flow, axis=-1), 0.99)))
    panels = {
        f"frame {number}": frames[number],
        f"flow, strongest at {longest:.1f} px": flow_colors.draw(flow, longest),
        "warped flow, the same scale": flow_colors.draw(warped, longest),
        "trajectories": draw(frames, extract(frames), number),
    }
    write_atomic(options.out, cv2.imencode(".png", sheet(panels)[..., ::-1])[1].tobytes())
    for name, field in (("flow", flow), ("warped flow", warped)):
        print(f"{name}: median {np.median(np.linalg.norm(field, axis=-1)):.2f} px")
    print(options.out)


def read(path):
    from keras_attn.decoding.frames import read_frames

    return read_frames(path)[0]


def scene(frames=24, height=180, width=240):
    """Frames `(T, H, W, 3)`, uint8: a disc moves to the right, the camera up and to the right."""
    random = np.random.default_rng(0)
    world = np.full((2 * height, 2 * width, 3), 128.0)
    for blur in (1.5, 4, 12):
        noise = cv2.GaussianBlur(random.normal(size=world.shape), (0, 0), blur)
        world += 22 * noise / noise.std()
    shots = []
    for number in range(frames):
        picture = world.copy()
        center = (width - 40 + 5 * number, height + 10)
        cv2.circle(picture, center, 26, (235.0, 180.0, 40.0), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(picture, (center[0] - 6, center[1] - 6), 9, (60.0, 60.0, 160.0), cv2.FILLED)
        zoom = 1 + 0.008 * number
        corner = (width / 2 + 2.5 * number - 20, height / 2 - 1.5 * number + 20)
        camera = np.array([[zoom, 0, -zoom * corner[0]], [0, zoom, -zoom * corner[1]]])
        shot = cv2.warpAffine(picture, camera, (width, height))
        shots.append(np.clip(shot + random.normal(0, 2, shot.shape), 0, 255).astype("uint8"))
    return np.stack(shots)


def sheet(panels):
    """Titled pictures, two by two."""
    titled = []
    for title, picture in panels.items():
        picture = cv2.copyMakeBorder(
            picture, TITLE, 4, 4, 4, cv2.BORDER_CONSTANT, value=(255, 255, 255)
        )
        place, font = (6, TITLE - 8), cv2.FONT_HERSHEY_SIMPLEX
        titled.append(cv2.putText(picture, title, place, font, 0.42, (0, 0, 0), 1, cv2.LINE_AA))
    return np.vstack([np.hstack(titled[:2]), np.hstack(titled[2:])])


if __name__ == "__main__":
    main()
