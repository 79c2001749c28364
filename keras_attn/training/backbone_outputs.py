"""A backbone over chosen positions of videos, in full batches."""

import contextlib
import itertools

import numpy as np
import tensorflow as tf

from keras_attn.data import batches, sampling


def computed(model, videos, positions, size, stream, batch_size):
    """The outputs of a model at `positions[i]`, int32, of `videos[i]`: yields `(i, outputs)`.

    The outputs, an array for each of the model's, belong to the next positions of video i, at most
    `batch_size`. Batches go from one video into the next; the last is filled up, because a model is
    compiled again for each size of a batch.
    """
    for numbers, pictures in _pictures(videos, positions, size, stream, batch_size):
        outputs = model.predict_on_batch(_filled(pictures, batch_size))
        outputs = outputs if isinstance(outputs, list) else [outputs]
        begin = 0
        for number, some in itertools.groupby(numbers.tolist()):
            end = begin + len(list(some))
            yield number, [output[begin:end] for output in outputs]
            begin = end


def store_outputs(row, outputs, positions, lacking):
    """Write the maps of a video at rising `positions`, each to its store if that lacks it.

    `lacking` has, for each output of the model, its store, shape and missing positions.
    """
    begin = 0
    with contextlib.ExitStack() as files:
        takers = [
            (index, some, files.enter_context(store.adding(row, some, shape)))
            for index, (store, shape, some) in enumerate(lacking)
            if len(some)
        ]
        for maps in outputs:
            present = positions[begin:][: len(maps[0])]
            for index, some, add in takers:
                add(maps[index][np.isin(present, some)])
            begin += len(present)


def _pictures(videos, positions, size, stream, batch_size):
    """Batches of pictures, each with the number of its video."""

    def pieces():
        for number, (video, wanted) in enumerate(zip(videos, positions, strict=True)):
            for begin in range(0, len(wanted), batch_size):
                yield number, video.path, video.flow, video.length, wanted[begin:][:batch_size]

    def numbers(example):
        return sampling.snippets(example["positions"], example["length"], stream.snippet)

    read = batches.read_record(numbers, size, stream=stream)

    def pixels(number, path, flow, length, wanted):
        example = {"path": path, "flow": flow, "length": length, "positions": wanted}
        return tf.fill(tf.shape(wanted), number), read(example)["video"]

    kinds = (tf.int32, tf.string, tf.string, tf.int32)
    specs = [*(tf.TensorSpec([], kind) for kind in kinds), tf.TensorSpec([None], tf.int32)]
    dataset = tf.data.Dataset.from_generator(pieces, output_signature=tuple(specs))
    dataset = dataset.map(pixels, tf.data.AUTOTUNE, deterministic=True).rebatch(batch_size)
    return dataset.prefetch(2).as_numpy_iterator()


def _filled(pictures, batch_size):
    lacking = batch_size - len(pictures)
    return np.concatenate([pictures, pictures[-1:].repeat(lacking, 0)]) if lacking else pictures
