"""From frames to answers: the one graph that evaluation, prediction, explanation and export share.

    frames uint8 (B, T, H, W, 3) -> clips: W times n positions -> squeezed to a square -> the model
    -> clip probabilities (B, W, K) -> their mean over the clips (Quan et al. 2020, eq. 13) and
    votes (eq. 14-15)

A backbone that sees single frames sees each frame once, however many clips hold it, and none that
no clip holds:

    frames -> squeezed -> backbone -> features (B, N, ...) -> clips -> the rest of the model

T is any length from 1 on; frames and clips pass in pieces, on which the answer does not depend, so
that besides the request only the features of its frames are held (InceptionV3: 512 KiB a frame).
"""

import warnings
import zipfile

import keras
import tensorflow as tf

from keras_attn import runs
from keras_attn.data import pipeline, sampling, transforms
from keras_attn.errors import UserError
from keras_attn.models import swap_input

FRAMES_AT_ONCE = 32
CLIPS_AT_ONCE = 8


class Recognizer:
    """A trained model as functions of whole videos.

    `model` takes `video`, by `recipe`. Every answer is a dict of float32
    tensors:

    - `probabilities (B, K)`: mean over the clips of a video; `logits (B, K)`: their logarithm;
    - `votes (B, K)`: share of the clips that answer each class;
    - `clip_probabilities (B, W, K)`;
    - `where (B, T, h, w)`: attention, summing to one over the cells of a frame;
    - `when (B, T)`: summing to one over the frames;
    - `step_probabilities (B, T, K)`: the decision at each frame.

    Frames that several clips hold get the mean of what each clip says, and frames that none holds
    what the nearest one got that is held. The `answer_` functions are the `from_` functions as
    compiled graphs; `answer_features` is there if the backbone sees single frames (`per_frame`).
    """

    def __init__(self, model, recipe):
        clips = recipe.clips
        self.sampler = sampling.sampler(clips, training=False)
        self.size, self.snippet, self.frames = clips.size, clips.snippet, clips.in_use
        self.per_frame = model.per_frame
        backbone = model.get_config()["backbone"]
        shape = (self.size, self.size, recipe.channels)
        if self.per_frame:
            self.backbone = model.image_network
            shape = self.feature_shape = tuple(self.backbone.output_shape[1:])
            features = tf.TensorSpec((None, None, *shape), tf.float32, "features")
            self.answer_features = tf.function(self.from_features, [features])
        self.model = swap_input(model, backbone, (self.frames, *shape), cached=self.per_frame)
        frames = tf.TensorSpec((None, None, None, None, 3), tf.uint8, "frames")
        jpegs = tf.TensorSpec((None, None), tf.string, "jpeg_frames")
        self.answer_frames = tf.function(self.from_frames, [frames])
        self.answer_jpegs = tf.function(self.from_jpegs, [jpegs])

    def from_frames(self, frames) -> dict:
        """Answer for `frames (B, T, H, W, 3)`, uint8, any T, H and W from 1 on."""
        return self._answer(frames, lambda some: transforms.squeeze(some, self.size))

    def from_jpegs(self, jpegs) -> dict:
        """Answer for `jpegs (B, T)`: each string is one frame as a JPEG file, of any size."""
        picture = tf.TensorSpec((self.size, self.size, 3), tf.float32)

        def squeezed(some):
            return tf.map_fn(self._picture, some, fn_output_signature=picture)

        return self._answer(jpegs, squeezed)

    def from_features(self, features) -> dict:
        """Answer for `features (B, T, ...)` of this model's backbone."""
        return self._from_features(features, tf.range(tf.shape(features)[1]))

    def _from_features(self, features, places):
        """Answer for `features (B, N, ...)`, where frame t has those at `places[t]`."""

        def inputs(positions):  # (V, n) -> the clips of all videos
            clips = tf.gather(features, tf.gather(places, positions), axis=1)
            return {"features": _first_two_joined(clips)}

        return self._from_clips(inputs, tf.shape(features)[0], tf.size(places))

    def _answer(self, images, squeezed):
        """Answer for `images (B, T, ...)`; `squeezed` makes pixels `(N, size, size, 3)` of N."""
        batch, length = tf.unstack(tf.shape(images)[:2])
        if self.per_frame:
            row = _first_two_joined(images)
            held = _times_held(self._positions(length), length) > 0
            numbers = tf.cast(tf.where(held)[:, 0], tf.int32)
            features = in_pieces(
                lambda some: self._features(squeezed(tf.gather(row, some))),
                tf.reshape(tf.range(batch)[:, None] * length + numbers, [-1]),
                FRAMES_AT_ONCE,
                self.feature_shape,
            )
            features = tf.reshape(features, (batch, tf.size(numbers), *self.feature_shape))
            return self._from_features(features, tf.cumsum(tf.cast(held, tf.int32)) - 1)

        def inputs(positions):  # (V, n) -> the clips of all videos
            numbers = sampling.snippets(positions, length, self.snippet)
            clips = tf.gather(images, tf.reshape(numbers, [-1]), axis=1)
            pixels = transforms.stack_snippets(squeezed(_first_two_joined(clips)), self.snippet)
            return {"video": tf.reshape(pixels, (-1, self.frames, *pixels.shape[1:]))}

        return self._from_clips(inputs, batch, length)

    def _picture(self, jpeg):
        return pipeline.picture(jpeg, self.size)

    def _features(self, pictures):
        return tf.cast(self.backbone(pictures, training=False), tf.float32)

    def _positions(self, length):
        """Frame numbers of the clips of a video: `(W, n)`."""
        return self.sampler.positions(self.sampler.starts(length), length)

    def _from_clips(self, inputs, batch, length):
        """Run the model over the clips; `inputs` are those of some clips of all `batch` videos."""
        positions = self._positions(length)

        def answer(some):
            outputs = self.model(inputs(some), training=False)
            return self._canonical(outputs, batch)

        classes = self.model.output["logits"].shape[-1]
        shapes = [
            (classes,),
            (self.frames, None, None),
            (self.frames,),
            (self.frames, classes),
        ]
        clip, where, when, steps = in_pieces(
            answer,
            positions,
            tf.maximum(CLIPS_AT_ONCE // batch, 1),
            [(None, *shape) for shape in shapes],
        )  # each (W, B, ...)
        return self._video(clip) | self._timeline(where, when, steps, positions, length)

    def _canonical(self, outputs, batch):
        """What the clips say, with the clips first: `(B * V, ...)` -> `(V, B, ...)`."""
        maps = self.model.explain(outputs)
        answers = (
            tf.nn.softmax(outputs["logits"]),
            maps["where"],
            maps["when"],
            self.model.step_probabilities(outputs),
        )

        def clips_first(answer):
            answer = tf.cast(answer, tf.float32)
            shape = tf.concat([[batch, -1], tf.shape(answer)[1:]], 0)
            return tf.einsum("bv...->vb...", tf.reshape(answer, shape))

        return tuple(clips_first(answer) for answer in answers)

    def _video(self, clip):
        probabilities = tf.reduce_mean(clip, axis=0)
        ballots = tf.one_hot(tf.argmax(clip, axis=-1), clip.shape[-1])
        return {
            "probabilities": probabilities,
            "logits": tf.math.log(tf.maximum(probabilities, 1e-30)),
            "votes": tf.reduce_mean(ballots, axis=0),
            "clip_probabilities": tf.einsum("vbk->bvk", clip),
        }

    def _timeline(self, where, when, steps, positions, length):
        """What the clips say of each frame: `(W, B, n, ...)` -> `(B, T, ...)`."""
        frame = tf.reshape(positions, (-1,))
        times = _times_held(positions, length)
        nearest = _nearest(tf.cast(tf.where(times > 0)[:, 0], tf.int32), length)

        def mean(values):
            values = tf.einsum("vbn...->vnb...", values)
            values = tf.reshape(values, tf.concat([[-1], tf.shape(values)[2:]], 0))
            total = tf.math.unsorted_segment_sum(values, frame, length)  # (T, B, ...)
            weights = tf.reshape(times, tf.concat([[-1], tf.ones(tf.rank(total) - 1, tf.int32)], 0))
            return tf.einsum("tb...->bt...", tf.gather(total / tf.maximum(weights, 1), nearest))

        when = mean(when)
        return {
            "where": mean(where),
            "when": when / tf.reduce_sum(when, axis=1, keepdims=True),
            "step_probabilities": mean(steps),
        }


def _first_two_joined(tensor):
    return tf.reshape(tensor, tf.concat([[-1], tf.shape(tensor)[2:]], 0))


def _times_held(positions, length):
    """How many times the clips hold each of `length` frames: float32 `(T,)`."""
    frame = tf.reshape(positions, (-1,))
    return tf.math.unsorted_segment_sum(tf.ones_like(frame, tf.float32), frame, length)


def _nearest(held, length):
    """For each of `length` frames the nearest number among `held` (rising), the earlier of two."""
    frames = tf.range(length)
    after = tf.minimum(tf.searchsorted(held, frames), tf.size(held) - 1)
    left, right = tf.gather(held, tf.maximum(after - 1, 0)), tf.gather(held, after)
    return tf.where(tf.abs(frames - left) <= tf.abs(right - frames), left, right)


def load_recognizer(path) -> Recognizer:
    """The recognizer of a finished run; `UserError` when its model is not there or is damaged."""
    run = runs.open_run(path)
    if not run.finished():
        raise UserError(
            f"{run.path}: the run is not finished; go on with: keras-attn train --resume"
        )
    model = _load_model(run.model)
    return Recognizer(model, run.recipe)


def _load_model(path):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its arguments, which were told when it was trained
            # Keras only warns when it leaves layers with random weights.
            warnings.filterwarnings("error", ".*freshly-initialized", UserWarning)
            return keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError, TypeError, UserWarning, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: cannot be loaded ({str(error).splitlines()[0]}). It is damaged, or of "
            "another version of keras_attn. Remove it and write it again with: "
            "keras-attn train --resume"
        ) from error


def in_pieces(function, inputs, size: int, shapes):
    """`function(inputs)`, computed for at most `size` rows of axis 0 at a time.

    `shapes` is the shape of one row of what it returns, or a list of them for a tuple of tensors.
    The pieces are equally long, and the last one repeats the last row where it is short.
    """
    count = tf.shape(inputs)[0]
    pieces = -(-count // size)
    size = -(-count // pieces)
    rows = tf.reshape(tf.minimum(tf.range(pieces * size), count - 1), (pieces, size))
    several = isinstance(shapes, list)
    specs = tuple(tf.TensorSpec((None, *s), tf.float32) for s in (shapes if several else [shapes]))
    outputs = tf.map_fn(
        lambda some: function(tf.gather(inputs, some)),
        rows,
        fn_output_signature=specs if several else specs[0],
        parallel_iterations=1,  # one after the other: that is what bounds the memory
    )

    def joined(output):
        return tf.reshape(output, tf.concat([[-1], tf.shape(output)[2:]], 0))[:count]

    return tuple(joined(output) for output in outputs) if several else joined(outputs)
