"""From frames to answers: the one graph that evaluation, prediction, explanation and export share.

    frames uint8 (B, T, H, W, 3) -> squeeze to a square -> backbone -> features (B, T, h, w, C)
    -> windows (B, W, n, h, w, C) -> the model -> clip probabilities (B, W, K)
    -> mean over the clips (Quan et al. 2020, eq. 13) and votes (eq. 14-15)

A backbone sees each frame once, however many windows hold it. T is any length from 1 on; frames and
windows pass in pieces, on which the answer does not depend, so that besides the request only the
features of its frames are held (InceptionV3: 512 KiB a frame).
"""

import warnings
import zipfile

import keras
import tensorflow as tf

from keras_attn import runs
from keras_attn.data import pipeline, transforms
from keras_attn.errors import UserError
from keras_attn.models import swap_input

FRAMES_AT_ONCE = 32
CLIPS_AT_ONCE = 8


class Recognizer:
    """A trained model as functions of whole videos.

    `model` takes `video`; `frames`, `stride` and `size` are those of its recipe's clips. Every
    answer is a dict of float32 tensors:

    - `probabilities (B, K)`: mean over the clips of a video; `logits (B, K)`: their logarithm;
    - `votes (B, K)`: share of the clips that answer each class;
    - `clip_probabilities (B, W, K)`;
    - `where (B, T, h, w)`: attention, summing to one over the cells of a frame;
    - `when (B, T)`: summing to one over the frames;
    - `step_probabilities (B, T, K)`: the decision at each frame.

    Frames that several windows hold get the mean of what each window says. The `answer_` functions
    are the `from_` functions as compiled graphs.
    """

    def __init__(self, model, frames: int, stride: int, size: int):
        self.frames, self.stride, self.size = frames, stride, size
        self.backbone = model.get_layer("backbone").layer
        self.feature_shape = tuple(self.backbone.output_shape[1:])
        self.head = swap_input(model, None, (frames, *self.feature_shape))
        specs = {
            "frames": tf.TensorSpec((None, None, None, None, 3), tf.uint8, "frames"),
            "jpegs": tf.TensorSpec((None, None), tf.string, "jpeg_frames"),
            "features": tf.TensorSpec((None, None, *self.feature_shape), tf.float32, "features"),
        }
        self.answer_frames = tf.function(self.from_frames, [specs["frames"]])
        self.answer_jpegs = tf.function(self.from_jpegs, [specs["jpegs"]])
        self.answer_features = tf.function(self.from_features, [specs["features"]])

    def from_frames(self, frames) -> dict:
        """Answer for `frames (B, T, H, W, 3)`, uint8, any T, H and W from 1 on."""
        shape = tf.shape(frames)
        images = tf.reshape(frames, (-1, shape[2], shape[3], 3))
        return self._from_images(lambda some: transforms.squeeze(some, self.size), images, shape)

    def from_jpegs(self, jpegs) -> dict:
        """Answer for `jpegs (B, T)`: each string is one frame as a JPEG file, of any size."""
        picture = tf.TensorSpec((self.size, self.size, 3), tf.float32)

        def squeezed(some):
            return tf.map_fn(self._picture, some, fn_output_signature=picture)

        return self._from_images(squeezed, tf.reshape(jpegs, (-1,)), tf.shape(jpegs))

    def from_features(self, features) -> dict:
        """Answer for `features (B, T, h, w, C)` of this model's backbone."""
        batch, length = tf.unstack(tf.shape(features)[:2])
        windows = self._windows(length)  # (W, n)

        def answer(some):  # (V, n) -> clips of all videos for V windows
            clips = tf.gather(features, some, axis=1)
            shape = tf.concat([[-1], tf.shape(clips)[2:]], 0)
            outputs = self.head({"features": tf.reshape(clips, shape)}, training=False)
            return self._canonical(outputs, batch)

        cells = self.feature_shape[:2]
        classes = self.head.output["logits"].shape[-1]
        shapes = [(classes,), (self.frames, *cells), (self.frames,), (self.frames, classes)]
        clip, where, when, steps = in_pieces(
            answer,
            windows,
            tf.maximum(CLIPS_AT_ONCE // batch, 1),
            [(None, *shape) for shape in shapes],
        )  # each (W, B, ...)
        return self._video(clip) | self._timeline(where, when, steps, windows, length)

    def _from_images(self, squeezed, images, shape):
        """Answer for all frames in one row; `squeezed` makes pixels `(N, size, size, 3)` of N."""

        def maps(some):
            return tf.cast(self.backbone(squeezed(some), training=False), tf.float32)

        features = in_pieces(maps, images, FRAMES_AT_ONCE, self.feature_shape)
        return self.from_features(tf.reshape(features, (shape[0], shape[1], *self.feature_shape)))

    def _picture(self, jpeg):
        return pipeline.picture(jpeg, self.size)

    def _windows(self, length):
        """`sampling.window_starts` and `window_indices` as tensors."""
        last = tf.maximum(length - self.frames, 0)
        starts = tf.minimum(tf.range(-(-last // self.stride) + 1) * self.stride, last)
        return tf.minimum(starts[:, None] + tf.range(self.frames), length - 1)

    def _canonical(self, outputs, batch):
        """What the clips say, with the windows first: `(B * V, ...)` -> `(V, B, ...)`."""
        maps = self.head.explain(outputs)
        answers = (
            tf.nn.softmax(outputs["logits"]),
            maps["where"],
            maps["when"],
            tf.nn.softmax(outputs["step_logits"]),
        )

        def windows_first(answer):
            answer = tf.cast(answer, tf.float32)
            shape = tf.concat([[batch, -1], tf.shape(answer)[1:]], 0)
            answer = tf.reshape(answer, shape)
            return tf.einsum("bv...->vb...", answer)

        return tuple(windows_first(answer) for answer in answers)

    def _video(self, clip):
        probabilities = tf.reduce_mean(clip, axis=0)
        ballots = tf.one_hot(tf.argmax(clip, axis=-1), clip.shape[-1])
        return {
            "probabilities": probabilities,
            "logits": tf.math.log(tf.maximum(probabilities, 1e-30)),
            "votes": tf.reduce_mean(ballots, axis=0),
            "clip_probabilities": tf.einsum("vbk->bvk", clip),
        }

    def _timeline(self, where, when, steps, windows, length):
        """Means over the windows that hold a frame: `(W, B, n, ...)` -> `(B, T, ...)`."""
        frame = tf.reshape(windows, (-1,))
        held = tf.math.unsorted_segment_sum(tf.ones_like(frame, tf.float32), frame, length)

        def mean(values):
            values = tf.einsum("vbn...->vnb...", values)
            values = tf.reshape(values, tf.concat([[-1], tf.shape(values)[2:]], 0))
            total = tf.math.unsorted_segment_sum(values, frame, length)  # (T, B, ...)
            weights = tf.reshape(held, tf.concat([[-1], tf.ones(tf.rank(total) - 1, tf.int32)], 0))
            return tf.einsum("tb...->bt...", total / weights)

        when = mean(when)
        return {
            "where": mean(where),
            "when": when / tf.reduce_sum(when, axis=1, keepdims=True),
            "step_probabilities": mean(steps),
        }


def load_recognizer(path) -> Recognizer:
    """The recognizer of a finished run; `UserError` when its model is not there or is damaged."""
    run = runs.open_run(path)
    if not run.finished():
        raise UserError(
            f"{run.path}: the run is not finished; go on with: keras-attn train --resume"
        )
    model = _load_model(run.model)
    clips = run.recipe.clips
    return Recognizer(model, clips.frames, clips.stride, clips.size)


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
