"""Two frames and the flow between them: of a folder with true flow, or of the videos' own records.

    (number, seed) -> frames and flow as they are stored -> stretched to a square, side by side
    -> batch -> prefetch

Flow is in pixels per frame: stretched with the frames it has other values too.
"""

import dataclasses
import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_attn.data import flow_records, sampling, transforms
from keras_attn.data.batches import decoded_frames, decoded_planes
from keras_attn.data.record_format import encoded_frames, encoded_planes
from keras_attn.data.video import Video
from keras_attn.errors import DataError
from keras_attn.flow import codec

# First frame, second frame and flow of a pair: FlyingChairs, and the samples of FlowNet's release.
SUFFIXES = (
    ("_img1.ppm", "_img2.ppm", "_flow.flo"),
    ("-img0.ppm", "-img1.ppm", "-gt.flo"),
)
_APART = rb"(?:\s|#[^\n]*\n)+"
_NUMBER = rb"([1-9][0-9]{0,4})"
_PPM = re.compile(rb"P6" + (_APART + _NUMBER) * 3 + rb"\s")
_FLO_HEADER = 12  # bytes
_MAXIMUM_KNOWN = 1e9  # pixels; what is above says "unknown" in the format of Middlebury
_FLOW = (None, None, 2)


@dataclasses.dataclass(frozen=True)
class TruePairs:
    """Pairs of a folder with true flow: the paths of both frames and of the flow."""

    files: tuple[tuple[str, str, str], ...]

    def __len__(self):
        return len(self.files)

    def reader(self):
        """From a number, and a seed or None, to frames `(2, H, W, 3)` and flow `(H, W, 2)`."""
        paths = tf.constant(self.files)

        def decoded(trio):
            return read_truth(*(path.decode() for path in trio))

        def read(number, seed):
            kinds = (tf.uint8, tf.float32)
            frames, flow = tf.numpy_function(decoded, [paths[number]], kinds, stateful=False)
            return tf.ensure_shape(frames, (2, None, None, 3)), tf.ensure_shape(flow, _FLOW)

        return read


@dataclasses.dataclass(frozen=True)
class ClipPairs:
    """Pairs of the videos' own frames, `each` per video, with the flow that was estimated for them.

    A video is divided into `each` equal parts, and a part gives one pair: a random one with a seed,
    else the middle one.
    """

    videos: tuple[Video, ...]
    each: int

    def __len__(self):
        return len(self.videos) * self.each

    def reader(self):
        """As that of `TruePairs`, where frames and flow may differ in size."""
        frames = tf.constant([video.path for video in self.videos])
        flows = tf.constant([video.flow for video in self.videos])
        planes = tf.constant([video.length - 1 for video in self.videos])
        segments = sampling.Segments(self.each)

        def read(number, seed):
            video, part = number // self.each, number % self.each
            first = segments.positions(tf.zeros([1], tf.int32), planes[video], seed)[0, part]
            pair = encoded_frames(frames[video], tf.stack([first, first + 1]))
            plane = encoded_planes(flows[video], first[None])
            pair = tf.ensure_shape(decoded_frames(pair), (2, None, None, 3))
            return pair, codec.from_bytes(decoded_planes(plane)[0])

        return read


def with_flow(data, videos: list[Video], name: str, rows=None, **checking) -> list[Video]:
    """The videos, each with the path of its planes in `DATA/flow/NAME`.

    `rows` are those of the usable videos of `data`, if they were read before; `checking` is
    `full` and `progress`, as of `DerivedStore.check_contents`. Raises `DataError` when the planes
    are missing, damaged, or made of other videos.
    """
    records = {record.id: record for record in flow_records.read_flow_index(data, name, rows)}
    wanted = [records[video.id] for video in videos]
    flow_records.check_flow_contents(data, name, wanted, **checking)
    return [dataclasses.replace(video, flow=records[video.id].path) for video in videos]


def true_pairs(folder) -> list[tuple[str, str, str]]:
    """The pairs of a folder with true flow, by name: the paths of both frames and of the flow.

    Files are called NAME_img1.ppm, NAME_img2.ppm and NAME_flow.flo (FlyingChairs), or
    NAME-img0.ppm, NAME-img1.ppm and NAME-gt.flo. Raises `DataError` when there are none, when one
    of the three is missing, or when their sizes differ.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give one with true flow, as FlyingChairs' data")
    names = sorted(path.name for path in folder.iterdir())
    for suffixes in SUFFIXES:
        stems = [name.removesuffix(end) for end in suffixes for name in names if name.endswith(end)]
        if stems:
            trios = [tuple(f"{stem}{end}" for end in suffixes) for stem in dict.fromkeys(stems)]
            _check_complete(folder, trios, set(names))
            return [_checked_trio([folder / name for name in trio]) for trio in sorted(trios)]
    wanted = " or ".join(", ".join(f"NAME{end}" for end in suffixes) for suffixes in SUFFIXES)
    raise DataError(f"{folder}: holds no pairs with true flow; expected files called {wanted}")


def _check_complete(folder, trios, names):
    missing = [name for trio in trios for name in trio if name not in names]
    if missing:
        raise DataError(
            f"{folder}: lacks {len(missing)} files of {len(trios)} pairs, as {missing[0]}; copy "
            "them too, or remove the rest of their pairs"
        )


def _checked_trio(paths):
    """The paths as text, if both frames and the flow have one size; without reading the pixels."""
    first, second, flow = paths
    _, *size = _ppm_header(first)
    _, *other = _ppm_header(second)
    if size != other:
        raise DataError(
            f"{second}: has {other[0]} x {other[1]} pixels, expected those of {first.name}, "
            f"{size[0]} x {size[1]}: frames of one pair have one size; copy or make it again"
        )
    expected, found = _FLO_HEADER + 8 * size[0] * size[1], flow.stat().st_size
    if found != expected:
        raise DataError(
            f"{flow}: has {found} bytes, expected {expected} for flow of {size[0]} x {size[1]} "
            f"pixels, the size of {first.name}; copy or make it again"
        )
    return tuple(map(str, paths))


def _ppm_header(path):
    """Offset of the pixels of a binary PPM, its width and its height."""
    with open(path, "rb") as file:
        found = _PPM.match(file.read(1024))
    if not found or found[3] != b"255":
        raise DataError(f"{path}: is no binary PPM (P6) with 8 bits a color")
    begin, width, height = found.end(), int(found[1]), int(found[2])
    expected = begin + 3 * width * height
    if path.stat().st_size != expected:
        raise DataError(
            f"{path}: has {path.stat().st_size} bytes, expected {expected} for {width} x {height} "
            "pixels; it is cut short or damaged: copy or make it again"
        )
    return begin, width, height


def read_ppm(path) -> np.ndarray:
    """The pixels `(H, W, 3)`, uint8, of a binary PPM; `DataError` for any other file."""
    path = Path(path)
    begin, width, height = _ppm_header(path)
    pixels = np.fromfile(path, "uint8", 3 * width * height, offset=begin)
    return pixels.reshape(height, width, 3)


def read_truth(first, second, flow) -> tuple[np.ndarray, np.ndarray]:
    """A pair of three paths: frames `(2, H, W, 3)`, uint8, and flow `(H, W, 2)`, float32.

    Raises `DataError` for a damaged file, and for flow that is not known everywhere.
    """
    frames, motion = np.stack([read_ppm(first), read_ppm(second)]), codec.read_flo(flow)
    if motion.shape[:2] != frames.shape[1:3]:
        raise DataError(f"{flow}: is of another size than {first}; copy or make it again")
    unknown = np.count_nonzero(~(np.abs(motion) <= _MAXIMUM_KNOWN).all(-1))
    if unknown:
        raise DataError(
            f"{flow}: the flow of {unknown} of {motion[..., 0].size} pixels is unknown (NaN or "
            f"above {_MAXIMUM_KNOWN:.0e}), expected that of all; leave the pair out"
        )
    return frames, motion


def held_out(items) -> tuple[list, list]:
    """Hold out every fifth item, at least one; returns the others and those held out.

    Raises `DataError` for fewer than two.
    """
    if len(items) < 2:
        raise DataError(
            f"flow cannot be learned from {len(items)} pairs or groups of videos: one is held out, "
            "so there must be two or more; add some"
        )
    held = range(4, len(items), 5) if len(items) > 4 else [len(items) - 1]
    return [item for i, item in enumerate(items) if i not in held], [items[i] for i in held]


def batches(pairs, size: int, batch_size: int, *, seed=None, epoch: int = 0, skip: int = 0):
    """Batches of `frames (B, size, size, 6)`, 0..255, and `flow (B, size, size, 2)` of one epoch.

    Without a `seed` the pairs come in their order, and from the middle of each part of a video.
    `skip` batches are left out without being read.
    """
    count = len(pairs)
    order = np.arange(count) if seed is None else sampling.epoch_order(count, seed, epoch)
    order = order[skip * batch_size :]
    seeds = sampling.example_seeds(count, seed or 0, epoch)
    read = pairs.reader()
    dataset = tf.data.Dataset.from_tensor_slices((order.astype("int32"), seeds[order]))
    dataset = dataset.map(
        lambda number, own: stretched(*read(number, None if seed is None else own), size),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return dataset.batch(batch_size).prefetch(2)


def stretched(frames, flow, size: int):
    """Both frames and their flow stretched to a square, and the flow's values with it.

    Shapes: `(2, H, W, 3)` and `(h, w, 2)` in pixels of h x w, to `(size, size, 6)` and
    `(size, size, 2)` in pixels of size x size.
    """
    extent = tf.cast(tf.shape(flow)[1::-1], tf.float32)  # width, height as x, y
    flow = tf.image.resize(flow, (size, size), antialias=True) * (size / extent)
    first, second = tf.unstack(transforms.resize_stretched(frames, size))
    return tf.concat([first, second], -1), tf.ensure_shape(flow, (size, size, 2))
