"""Synthetic actions with known truth: one shape moves over clutter, during a known interval.

Each scene (background, resting distractors, the shape and its color) is filmed once per class, and
all four clips pass through the same picture in the middle of the motion: what is seen does not tell
the class. Where it is seen at a known moment does a little, and how that changes does fully.
"""

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from keras_attn.utils.files import staging, write_atomic

MOTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}  # x, y; y points down
SHAPES = ("disc", "square", "ring", "cross")


@dataclasses.dataclass(frozen=True)
class Scene:
    """The content of a synthetic clip; `seed` decides everything but the motion."""

    seed: int
    side: int = 96
    frames: int = 32
    fps: int = 25

    def __post_init__(self):
        if self.frames < 2 or self.side < 16 or self.side % 2:
            raise ValueError(
                "a scene needs at least 2 frames and an even side of at least 16 pixels, got "
                f"frames={self.frames}, side={self.side}"
            )


@dataclasses.dataclass(frozen=True)
class Truth:
    """Where and when the action is: boxes `(T, 4)` as x, y, width, height in pixels; frames
    `start` to `end` (exclusive) are those in which the shape moves."""

    label: str
    start: int
    end: int
    boxes: np.ndarray


def render(scene: Scene, motion: str) -> tuple[np.ndarray, Truth]:
    """Draw one clip: `(T, H, W, 3)` uint8 and its truth."""
    random = np.random.default_rng(scene.seed)
    side = scene.side
    background = _clutter(random, side)
    radius = side * random.uniform(0.13, 0.18)
    shape = SHAPES[random.integers(len(SHAPES))]
    color = _vivid(random)
    start = int(random.integers(0, scene.frames // 4 + 1))
    end = int(scene.frames - random.integers(0, scene.frames // 4 + 1))
    travel = side * random.uniform(0.35, 0.5)
    middle = random.uniform(radius + travel / 2, side - radius - travel / 2, 2)
    progress = np.clip((np.arange(scene.frames) - start) / (end - 1 - start), 0, 1) - 0.5
    centers = middle + np.outer(progress * travel, MOTIONS[motion])
    video = np.repeat(background[None], scene.frames, axis=0)
    for frame, center in zip(video, centers, strict=True):
        frame[_inside(shape, side, center, radius)] = color
    video = np.clip(video + random.normal(0, 4, video.shape), 0, 255).astype(np.uint8)
    boxes = np.concatenate([centers - radius, np.full_like(centers, 2 * radius)], axis=1)
    return video, Truth(motion, start, end, boxes)


def _clutter(random, side):
    """Smooth random colors with dim, resting shapes in front."""
    coarse = random.uniform(60, 150, (6, 6, 3))
    where = np.linspace(0, 5, side)
    # Linear interpolation as a matrix: row y holds the shares of the six coarse values.
    shares = np.maximum(0, 1 - abs(where[:, None] - np.arange(6)))
    picture = np.einsum("yi,xj,ijc->yxc", shares, shares, coarse)
    for _ in range(4):
        center, radius = random.uniform(0, side, 2), side * random.uniform(0.05, 0.12)
        inside = _inside(SHAPES[random.integers(len(SHAPES))], side, center, radius)
        picture[inside] = 0.5 * picture[inside] + 0.5 * random.uniform(30, 180, 3)
    return picture


def _vivid(random):
    """A saturated color: one channel high, one low."""
    ranges = [(225, 255), (0, 30), (0, 255)]
    return random.permutation([random.uniform(*ends) for ends in ranges])


def _inside(shape, side, center, radius):
    rows, columns = np.mgrid[:side, :side]
    x, y = columns - center[0], rows - center[1]
    distance, near, far = np.hypot(x, y), np.minimum(abs(x), abs(y)), np.maximum(abs(x), abs(y))
    return {
        "disc": distance <= radius,
        "ring": (distance <= radius) & (distance >= radius / 2),
        "square": far <= 0.85 * radius,
        "cross": (near <= radius / 3) & (far <= radius),
    }[shape]


def write_video(path, video: np.ndarray, fps: int = 25) -> None:
    """Encode `(T, H, W, 3)` uint8 as H.264 in an MP4 file, whole or not at all."""
    with staging(path) as temporary, av.open(str(temporary), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": "18"})
        stream.height, stream.width, stream.pix_fmt = *video.shape[1:3], "yuv420p"
        for picture in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def write_dataset(root, scenes: int = 60, seed: int = 0, **settings) -> Path:
    """Write `scenes` x 4 clips as `root/<class>/v_<class>_g<scene>_c01.mp4` with `root.json`.

    The JSON file next to the folder holds the truth of each clip. Returns its path.
    """
    root = Path(root)
    truths = {}
    for number in range(scenes):
        scene = Scene(seed=seed * 10_000 + number, **settings)
        for motion in MOTIONS:
            video, truth = render(scene, motion)
            name = f"{motion}/v_{motion}_g{number:02d}_c01.mp4"
            write_video(root / name, video, scene.fps)
            truths[name] = dataclasses.asdict(truth) | {"boxes": truth.boxes.round(2).tolist()}
    truth_path = root.with_name(f"{root.name}.json")
    write_atomic(truth_path, json.dumps(truths))
    return truth_path
