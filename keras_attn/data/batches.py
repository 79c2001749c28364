"""The one place that orders tf.data calls: from an index of clips to batches.

    index (example, start, seed) -> order -> skip -> read: decode the frames of the clip, transform
    -> batch -> prefetch

Integers are ordered before anything is read, so that skipping to a position costs nothing and is
exact; order and augmentation are functions of (seed, epoch, example), so that two runs see the same
batches whatever the number of threads.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_attn.data import sampling, transforms
from keras_attn.data.features import FeatureReader
from keras_attn.data.record_format import encoded_frames, encoded_planes
from keras_attn.data.streams import RGB
from keras_attn.data.video import Video

_KINDS = ("video", "planes")


@dataclasses.dataclass(frozen=True)
class ClipIndex:
    """Every clip of some videos: the number of its video and its first frame, both int32.

    A million clips are common, so data of a video is kept once per video, not per clip.
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


def clip_index(videos: list[Video], sampler) -> ClipIndex:
    """List the clips of each video, in the order given; `sampler` is one of `sampling`."""
    by_length = {length: sampler.starts(length).numpy() for length in {v.length for v in videos}}
    starts = [by_length[video.length] for video in videos]
    numbers = np.repeat(np.arange(len(videos), dtype="int32"), [len(some) for some in starts])
    return ClipIndex(tuple(videos), numbers, np.concatenate(starts).astype("int32"))


def batches(index, read, batch_size, *, seed=None, epoch=0, skip=0):
    """Batches `(inputs, labels)` of one epoch.

    `read` turns an example (`path`, `flow`, `start`, `length`, `label`, `seed`) into one that also
    holds `video` or `features`. Without a `seed` the clips come in the order of the index. `skip`
    batches are left out without being read.
    """
    count = len(index)
    order = np.arange(count) if seed is None else sampling.epoch_order(count, seed, epoch)
    order = order[skip * batch_size :]
    seeds = sampling.example_seeds(count, seed or 0, epoch)
    dataset = tf.data.Dataset.from_tensor_slices(
        (index.numbers[order], index.starts[order], seeds[order])
    )
    paths = tf.constant([video.path for video in index.videos])
    flows = tf.constant([video.flow for video in index.videos])
    lengths = tf.constant([video.length for video in index.videos])
    labels = tf.constant([video.label for video in index.videos])

    def example(number, start, seed):
        return {
            "path": paths[number],
            "flow": flows[number],
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


def frame_numbers(sampler, snippet: int = 1, random: bool = False):
    """From an example to the numbers of its frames `(n, snippet)`; `random` is for training."""

    def numbers(example):
        seed = example["seed"] + 2 if random else None
        length = example["length"]
        positions = sampler.positions(example["start"][None], length, seed)[0]
        return sampling.snippets(positions, length, snippet)

    return numbers


def read_record(numbers, size: int, augment=(), stream=RGB):
    """A reader of records: decode only what the clip shows, augment, stretch to `size`.

    `numbers` is what `frame_numbers` made. Gives `video (n, size, size, channels of the stream)`:
    what belongs to one position lies side by side in the channels.
    """

    def read(example):
        chosen = numbers(example)
        example = {**example, **_pictures(example, chosen, stream)}
        for transform in augment:
            example = transform(example)
        parts = {
            key: transforms.resize_stretched(example[key], size) for key in _KINDS if key in example
        }
        video = transforms.side_by_side(parts, stream)
        shape = (chosen.shape[0], size, size, stream.channels)
        return {**example, "video": tf.ensure_shape(video, shape)}

    return read


def _pictures(example, chosen, stream):
    """Pictures at positions `chosen (n, L)`: `video (N, H, W, 3)`, `planes (N, h, w, 2)`, uint8."""
    found = {}
    if stream.reads_frames:
        wanted, places = tf.unique(tf.reshape(chosen[:, : stream.frames], [-1]))
        encoded = encoded_frames(example["path"], wanted)
        found["video"] = tf.gather(decoded_frames(encoded), places)
    if stream.reads_flow:
        wanted, places = tf.unique(tf.reshape(chosen, [-1]))
        encoded = encoded_planes(example["flow"], wanted)
        found["planes"] = tf.gather(decoded_planes(encoded), places)
    return found


def decoded_frames(jpegs):
    """`(n,)` JPEG strings of one size -> `(n, H, W, 3)` uint8."""
    return _decoded(jpegs, 3)


def decoded_planes(jpegs):
    """The JPEG strings of x and of y, `(n,)` each -> `(n, h, w, 2)` uint8."""
    x, y = (_decoded(some, 1)[..., 0] for some in jpegs)
    return tf.transpose(tf.stack([x, y]), (1, 2, 3, 0))  # a fourth of the time of `tf.concat`


def _decoded(jpegs, channels):
    def decode(jpeg):
        return tf.io.decode_jpeg(jpeg, channels)

    return tf.map_fn(decode, jpegs, fn_output_signature=tf.uint8)


def picture(jpeg, height: int, width: int):
    """One frame of a record, stretched: a JPEG string -> `(height, width, 3)`, 0..255 float32."""
    return transforms.resize_stretched(tf.io.decode_jpeg(jpeg, channels=3)[None], (height, width))[
        0
    ]


def read_features(numbers, features: FeatureReader):
    """A reader of cached features: only those of the frames asked for.

    `numbers` is what `frame_numbers` made, with snippets of one frame.
    """

    def rows(path, chosen, length):
        return features.read(path.decode(), chosen, length)

    def read(example):
        chosen = numbers(example)[:, 0]
        arguments = [example["path"], chosen, example["length"]]
        found = tf.numpy_function(rows, arguments, tf.float16, stateful=False)
        shape = (*chosen.shape, *features.shape)
        return {**example, "features": tf.ensure_shape(found, shape)}

    return read
