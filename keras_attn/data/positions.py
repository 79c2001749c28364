"""Which positions of its videos a recipe reads; features of the others are not needed."""

import numpy as np
import tensorflow as tf

from keras_attn.data import batches, sampling
from keras_attn.data.video import Video


def fixed_positions(videos: list[Video], clips, training: bool) -> dict[str, np.ndarray]:
    """Positions, by video id, that are read without chance: in validation and test.

    `training` is False for the clips of a trained model, which may have other numbers of frames.
    """
    sampler = sampling.sampler(clips, training)
    lengths = {video.length for video in videos}
    read = {n: np.unique(sampler.positions(sampler.starts(n), n)) for n in lengths}
    return {video.id: read[video.length] for video in videos}


def drawn_positions(videos: list[Video], clips, seed: int, epochs: int) -> dict[str, np.ndarray]:
    """Positions, by video id, that a training on `videos`, in this order, reads in its epochs.

    They are computed as the training computes them: from the seed, the epoch and the example.
    """
    if not videos:
        return {}
    sampler = sampling.sampler(clips, training=True)
    if isinstance(sampler, sampling.Windows):
        return fixed_positions(videos, clips, training=True)
    index = batches.clip_index(videos, sampler)
    numbers = batches.frame_numbers(sampler, clips.snippet, random=True)
    seeds = [sampling.example_seeds(len(index), seed, epoch) for epoch in range(epochs)]
    lengths = np.array([video.length for video in videos], "int32")
    examples = {
        "video": np.tile(index.numbers, epochs),
        "start": np.tile(index.starts, epochs),
        "length": np.tile(lengths[index.numbers], epochs),
        "seed": np.concatenate(seeds),
    }
    dataset = tf.data.Dataset.from_tensor_slices(examples).map(
        lambda example: (example["video"], numbers(example)[:, 0]), tf.data.AUTOTUNE
    )
    ends = np.cumsum(lengths, dtype="int64")
    read = np.zeros(ends[-1], bool)
    for number, positions in dataset.batch(4096).as_numpy_iterator():
        read[(ends - lengths)[number][:, None] + positions] = True
    parts = np.split(read, ends[:-1])
    return {video.id: np.flatnonzero(some) for video, some in zip(videos, parts, strict=True)}
