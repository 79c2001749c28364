"""The one place that orders tf.data calls: from an index of clips to batches.

    index (example, start, seed) -> order -> skip -> read: decode the frames of the clip, transform
    -> batch -> prefetch

Integers are ordered before anything is read, so that skipping to a position costs nothing and is
exact; order and augmentation are functions of (seed, epoch, example), so that two runs see the same
batches whatever the number of threads.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from keras_attn.data import sampling, transforms

SEQUENCE_FEATURES = {"image/encoded": tf.io.FixedLenSequenceFeature([], tf.string)}


@dataclasses.dataclass(frozen=True)
class Video:
    """A video that is ready to be read: a record, or an array of features."""

    id: str
    path: str
    frames: int
    label: int


@dataclasses.dataclass(frozen=True)
class ClipIndex:
    """Every clip of some videos: the number of its video and its first frame, both int32.

    A million clips are common, so that what belongs to a video is kept once a video.
    """

    videos: tuple[Video, ...]
    numbers: np.ndarray
    starts: np.ndarray

    def __len__(self):
        return len(self.starts)

    @property
    def paths(self) -> np.ndarray:
        """The path of each clip's video."""
        return np.array([video.path for video in self.videos], object)[self.numbers]


def clip_index(videos: list[Video], frames: int, stride: int) -> ClipIndex:
    """List the windows of each video (see `sampling.window_starts`), in the order given."""
    starts = [sampling.window_starts(video.frames, frames, stride) for video in videos]
    numbers = np.repeat(np.arange(len(videos), dtype="int32"), [len(some) for some in starts])
    return ClipIndex(tuple(videos), numbers, np.concatenate(starts).astype("int32"))


def batches(index, read, batch_size, *, seed=None, epoch=0, skip=0):
    """Batches `(inputs, labels)` of one epoch.

    `read` turns an example (`path`, `start`, `length`, `label`, `seed`) into one that also holds
    `video` or `features`. Without a `seed` the clips come in the order of the index. `skip` batches
    are left out without being read.
    """
    count = len(index)
    order = np.arange(count) if seed is None else sampling.epoch_order(count, seed, epoch)
    order = order[skip * batch_size :]
    seeds = sampling.example_seeds(count, seed or 0, epoch)
    dataset = tf.data.Dataset.from_tensor_slices(
        (index.numbers[order], index.starts[order], seeds[order])
    )
    paths = tf.constant([video.path for video in index.videos])
    lengths = tf.constant([video.frames for video in index.videos])
    labels = tf.constant([video.label for video in index.videos])

    def example(number, start, seed):
        return {
            "path": paths[number],
            "start": start,
            "length": lengths[number],
            "label": labels[number],
            "seed": seed,
        }

    dataset = dataset.map(
        lambda *clip: _inputs_and_label(read(example(*clip))),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return dataset.batch(batch_size).prefetch(2)


def _inputs_and_label(example):
    inputs = {key: example[key] for key in ("video", "features") if key in example}
    return inputs, example["label"]


def read_record(frames: int, size: int, augment=()):
    """A reader of records: decode only the frames of the clip, augment, squeeze to `size`."""

    def read(example):
        encoded = encoded_frames(tf.io.read_file(example["path"]), example["path"])
        chosen = tf.gather(encoded, _window(example, frames))
        video = tf.map_fn(_decode, chosen, fn_output_signature=tf.uint8)
        example = {**example, "video": video}
        for transform in augment:
            example = transform(example)
        video = transforms.squeeze(example["video"], size)
        return {**example, "video": tf.ensure_shape(video, (frames, size, size, 3))}

    return read


def encoded_frames(serialized, path=""):
    """The JPEG strings `(n,)` of a serialised record; the error for a damaged one holds `path`."""
    _, sequences = tf.io.parse_single_sequence_example(
        serialized, sequence_features=SEQUENCE_FEATURES, example_name=path
    )
    return sequences["image/encoded"]


def _decode(encoded):
    return tf.io.decode_jpeg(encoded, channels=3)


def picture(jpeg, size: int):
    """One frame of a record, squeezed: a JPEG string -> `(size, size, 3)` float32 in 0..255."""
    return transforms.squeeze(_decode(jpeg)[None], size)[0]


def _window(example, frames):
    return tf.minimum(example["start"] + tf.range(frames), example["length"] - 1)


def read_features(frames: int, shape: tuple[int, ...]):
    """A reader of feature files: only the window, of a `(n, *shape)` float16 array in a .npy file.

    The place of the window is computed: `numpy.load` parses the header as Python, which CPython
    3.11 cannot do in several threads (gh-106905), and a memory map kills a process whose file
    becomes shorter.
    """
    cells = math.prod(shape)

    def window(path, start, length):
        count = min(frames, length - start)
        with open(path, "rb") as file:
            file.seek(8)  # after the magic string and version: the length of the header
            header = 10 + int.from_bytes(file.read(2), "little")
            file.seek(header + int(start) * cells * 2)
            part = np.fromfile(file, "<f2", count * cells)
        if len(part) != count * cells:
            raise OSError(f"{path.decode()}: became shorter while it was read")
        chosen = sampling.window_indices(start, length, frames) - start
        return part.reshape(count, *shape)[chosen]

    def read(example):
        arguments = [example[key] for key in ("path", "start", "length")]
        features = tf.numpy_function(window, arguments, tf.float16, stateful=False)
        return {**example, "features": tf.ensure_shape(features, (frames, *shape))}

    return read
