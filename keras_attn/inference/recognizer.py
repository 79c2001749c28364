"""From frames to answers: the one graph that evaluation, prediction, explanation and export share.

    frames uint8 (B, T, H, W, 3) -> clips: W times n positions -> stretched to a square -> the model
    -> clip probabilities (B, W, K) -> their mean over the clips (Quan et al. 2020, eq. 13) and
    votes (eq. 14-15)

A backbone that sees single positions sees each once, however many clips hold it, and none that no
clip holds:

    frames -> stretched -> backbone -> features (B, N, ...) -> clips -> the rest of the model

A model of optical flow has its positions between two frames, and its flow computed before:

    frames -> stretched to the size of its flow -> TV-L1 -> planes uint8 (B, T - 1, h, w, 2)

T is any length from 1 on; frames and clips pass in pieces, on which the answer does not depend, so
that besides the request only the features of its frames (InceptionV3: 512 KiB each) and its planes
(170 KiB) are held.
"""

import functools

import tensorflow as tf

from keras_attn.data import batches, sampling, transforms
from keras_attn.data.streams import in_graph
from keras_attn.flow import codec, tvl1
from keras_attn.inference.pieces import TIMELINE, in_pieces
from keras_attn.models import swap_input

FRAMES_AT_ONCE = 32
CLIPS_AT_ONCE = 8
PAIRS_AT_ONCE = 4


class Recognizer:
    """A trained model as functions of whole videos.

    `model` takes `video`, by `recipe`; `flow` is how its flow was made (`data.flow_records`), if it
    sees any. Every answer is a dict of float32 tensors:

    - `probabilities (B, K)`: mean over the clips of a video; `logits (B, K)`: their logarithm;
    - `votes (B, K)`: share of the clips that answer each class;
    - `clip_probabilities (B, W, K)`;
    - `where (B, T, h, w)`: attention, summing to one over the cells of a frame;
    - `when (B, T)`: summing to one over the frames;
    - `step_probabilities (B, T, K)`: the decision at each frame.

    Frames that several clips hold get the mean of what each clip says, and frames that none holds
    what the nearest one got that is held. The `answer_` functions are the `from_` functions as
    compiled graphs; `answer_features` is there if the backbone sees single positions (`per_frame`).
    Flow that only OpenCV can make (`flow_in_graph` is False) must be given: `answer_planes`.
    """

    def __init__(self, model, recipe, flow=None):
        clips, self.stream, self.flow = recipe.clips, recipe.stream, flow
        self.sampler = sampling.sampler(clips, training=False)
        self.size, self.frames = clips.size, clips.inference_frames
        self.flow_in_graph = in_graph(flow)
        self.per_frame = model.per_frame
        backbone = model.get_config()["backbone"]
        shape = (self.size, self.size, self.stream.channels)
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
        if self.stream.reads_flow:
            # One graph of it for all that call it.
            settings = flow["settings"] if self.flow_in_graph else {}
            self._tvl1 = tf.function(functools.partial(tvl1.tvl1, **settings))
            planes = tf.TensorSpec((None, None, *self.flow_size, 2), tf.uint8, "planes")
            self.answer_planes = tf.function(self.from_planes, [frames, planes])

    @property
    def models(self):
        """All that has weights: what an export must track."""
        return [self.model, self.backbone] if self.per_frame else [self.model]

    @property
    def flow_size(self):
        """Height and width of the planes."""
        return self.flow["height"], self.flow["width"]

    def from_frames(self, frames) -> dict:
        """Answer for `frames (B, T, H, W, 3)`, uint8, any T, H and W from 1 on."""
        return self._answer(frames, transforms.resize_stretched)

    def from_jpegs(self, jpegs) -> dict:
        """Answer for `jpegs (B, T)`: each string is one frame as a JPEG file, of any size."""
        return self._answer(jpegs, _stretched_jpegs)

    def from_planes(self, frames, planes) -> dict:
        """Answer for `frames` and their flow, `planes (B, T - 1, h, w, 2)` of `flow_size`.

        For one frame, which does not move, there is one plane.
        """
        return self._answer(frames, transforms.resize_stretched, planes)

    def from_features(self, features) -> dict:
        """Answer for `features (B, N, ...)` of this model's backbone, at N positions of a video.

        They are its frames, or for flow its pairs of frames: T is N + 1.
        """
        length = tf.shape(features)[1]
        answer = self._from_features(features, tf.range(length))
        return self._with_last_frame(answer, length + 1) if self.stream.reads_flow else answer

    def _from_features(self, features, places):
        """Answer for `features (B, N, ...)`, where frame t has those at `places[t]`."""

        def inputs(positions):  # (V, n) -> the clips of all videos
            clips = tf.gather(features, tf.gather(places, positions), axis=1)
            return {"features": _first_two_joined(clips)}

        return self._from_clips(inputs, tf.shape(features)[0], tf.size(places))

    def _answer(self, images, stretched, planes=None):
        """Answer for `images (B, T, ...)`; `stretched(some, size)` makes pixels of N of them."""
        batch, frames = tf.unstack(tf.shape(images)[:2])
        rows = _first_two_joined(images)
        length = frames
        if self.stream.reads_flow:
            length = tf.maximum(frames - 1, 1)
            if planes is None:
                if not self.flow_in_graph:
                    raise ValueError("this model's flow needs OpenCV: give it to answer_planes")
                planes = self._planes(rows, batch, frames, stretched)
            planes = _first_two_joined(planes)

        def pixels(items):  # the positions of all videos are numbered on
            starts, position = items // length, items % length
            parts = {}
            for key, source, count, stretch, step in (
                ("video", rows, self.stream.frames, stretched, frames),
                ("planes", planes, self.stream.planes, transforms.resize_stretched, length),
            ):
                if count:
                    numbers = starts[:, None] * step + sampling.snippets(position, length, count)
                    some = tf.gather(source, tf.reshape(numbers, [-1]))
                    parts[key] = stretch(some, (self.size, self.size))
            return transforms.side_by_side(parts, self.stream)

        answer = self._from_pixels(pixels, batch, length)
        return self._with_last_frame(answer, frames) if self.stream.reads_flow else answer

    def _planes(self, rows, batch, frames, stretched):
        """The flow of all videos, `(B, T - 1, h, w, 2)` uint8; one frame alone does not move."""
        length = tf.maximum(frames - 1, 1)

        def planes(items):
            start, number = items // length * frames, items % length
            first, second = (
                stretched(tf.gather(rows, start + at), self.flow_size)
                for at in (number, tf.minimum(number + 1, frames - 1))
            )
            return codec.to_bytes(self._tvl1(first, second))

        shape = (*self.flow_size, 2)
        made = in_pieces(planes, tf.range(batch * length), PAIRS_AT_ONCE, shape, tf.uint8)
        return tf.reshape(made, (batch, length, *shape))

    def _from_pixels(self, pixels, batch, length):
        """Answer for what `pixels` makes, `(N, size, size, C)`, of positions b * length + t."""
        videos = tf.range(batch)[:, None] * length
        if self.per_frame:
            held = _times_held(self._positions(length), length) > 0
            numbers = tf.cast(tf.where(held)[:, 0], tf.int32)
            features = in_pieces(
                lambda some: self._features(pixels(some)),
                tf.reshape(videos + numbers, [-1]),
                FRAMES_AT_ONCE,
                self.feature_shape,
            )
            features = tf.reshape(features, (batch, tf.size(numbers), *self.feature_shape))
            return self._from_features(features, tf.cumsum(tf.cast(held, tf.int32)) - 1)

        def inputs(positions):  # (V, n) -> the clips of all videos
            items = tf.reshape(videos[:, :, None] + positions, [-1])
            some = pixels(items)
            return {"video": tf.reshape(some, (-1, self.frames, *some.shape[1:]))}

        return self._from_clips(inputs, batch, length)

    @staticmethod
    def _with_last_frame(answer, frames):
        """The answer with one more frame: the last, which no flow follows, has what the one before
        has."""
        numbers = tf.minimum(tf.range(frames), tf.maximum(frames - 2, 0))
        timeline = {key: tf.gather(answer[key], numbers, axis=1) for key in TIMELINE}
        total = tf.reduce_sum(timeline["when"], axis=1, keepdims=True)
        return answer | timeline | {"when": timeline["when"] / total}

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


def _stretched_jpegs(jpegs, size):
    picture = tf.TensorSpec((*size, 3), tf.float32)
    return tf.map_fn(lambda jpeg: batches.picture(jpeg, *size), jpegs, fn_output_signature=picture)


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
