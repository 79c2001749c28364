"""Frames and flow for tests, written as files: true pairs, and planes beside records."""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_attn.data.record_format import PLANES, record_bytes
from keras_attn.flow.codec import write_flo


def write_ppm(path, pixels, comment=b""):
    height, width, _ = pixels.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"P6\n%s%d %d\n255\n" % (comment, width, height) + pixels.tobytes())


def translated(rng, x, y, height=64, width=64):
    """Two frames of a smooth texture that moves by (x, y) whole pixels, and its flow."""
    coarse = 255 * rng.random((height // 6, width // 6, 3), dtype="float32")
    texture = tf.image.resize(coarse, (height + 16, width + 16), "bicubic")
    texture = np.clip(np.round(texture), 0, 255).astype("uint8")
    first = texture[8 : 8 + height, 8 : 8 + width]
    second = texture[8 - y : 8 - y + height, 8 - x : 8 - x + width]
    flow = np.broadcast_to(np.array([x, y], "float32"), (height, width, 2))
    return first, second, flow


def write_truth(folder, rng, count, x=3, y=-2, height=64, width=64):
    """`count` pairs as FlyingChairs has them; returns the folder.

    One texture moves by (x, y) in the first pair, back in the second, and so on, so that an answer
    that does not look at the frames errs by no less than that of no motion.
    """
    seed = rng.integers(2**31)
    for i in range(1, count + 1):
        sign = 1 if i % 2 else -1
        own = np.random.default_rng(seed)
        first, second, flow = translated(own, sign * x, sign * y, height, width)
        write_ppm(folder / f"{i:05}_img1.ppm", first)
        write_ppm(folder / f"{i:05}_img2.ppm", second)
        write_flo(folder / f"{i:05}_flow.flo", flow)
    return folder


@dataclasses.dataclass(frozen=True)
class FlowRecord:
    id: str
    path: str


def write_planes(folder, video, x, y):
    """A record of flow for `video`; `x` and `y (n - 1, h, w)` are bytes."""
    path = folder / f"{video.id.replace('/', '_')}.record"
    path.parent.mkdir(parents=True, exist_ok=True)
    planes = np.stack([x, y], axis=1).reshape(-1, *x.shape[1:])  # x, y of the first, of the second
    jpegs = [tf.io.encode_jpeg(plane[..., None], quality=95).numpy() for plane in planes]
    path.write_bytes(b"".join(record_bytes(jpegs, PLANES, {})))
    return FlowRecord(video.id, str(path))
