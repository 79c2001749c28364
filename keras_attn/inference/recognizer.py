"""From frames to answers: the one graph that evaluation, prediction, explanation and export share.

    frames uint8 (B, T, H, W, 3) -> clips: W times n positions -> stretched to a square -> the model
    -> clip probabilities (B, W, K) -> their mean over the clips, or a vote of the clips

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

import numpy as np
import tensorflow as tf

from keras_attn.data import batches, sampling, transforms
from keras_attn.data.flow_estimation import planes_of
from keras_attn.data.streams import in_graph
from keras_attn.flow import codec, tvl1
from keras_attn.inference.aggregation import video_answers, videos_first
from keras_attn.inference.answers import CLIPS, Answers, graph
from keras_attn.inference.pieces import in_pieces
from keras_attn.inference.timeline import held, places_of_held, timeline, with_last_frame
from keras_attn.models import swap_input
from keras_attn.models.base import takes_frames

FRAMES_AT_ONCE = 32
CLIPS_AT_ONCE = 8
PAIRS_AT_ONCE = 4


class Recognizer(Answers):
    """A trained model as functions of whole videos.

    Every answer is a dict of tensors, float32 where no other type is named:

    - `decision (B, K)`: shares of the classes, whose largest is the answer: `probabilities`, or for
      a model whose clips vote the votes, where a mean probability decides ties only;
    - `probabilities (B, K)`: mean over the clips of a video; `logits (B, K)`: their logarithm;
    - `votes (B, K)`: share of the clips that answer each class;
    - `clip_probabilities (B, W, K)`; `clip_positions (B, W, n)`, int32: the positions of the clips;
    - the outputs of the model that are attention, `(B, W, ...)`, by their names: `(B, W, n, h, w)`
      for `spatial_attention (B, n, h, w)`;
    - `where (B, T, h, w)`: attention, summing to one over the cells of a frame;
    - `when (B, T)`: summing to one over the frames;
    - `step_probabilities (B, T, K)`: the decision at each frame.

    The `answer_` functions are the `from_` functions as compiled graphs, which share one graph of
    the backbone, of the rest of the model and of the flow.

    Args:
        model: A `VideoClassifier` that takes `video`, or features that were made elsewhere.
        recipe: The `Recipe` that it was trained by.
        flow: How its flow was made (`data.flow_records`), if it sees any.
    """

    def __init__(self, model, recipe, flow=None):
        clips, self.stream, self.flow = recipe.clips, recipe.stream, flow
        self.sampler = sampling.sampler(clips, training=False)
        self.size, self.frames = clips.size, clips.inference_frames
        self.flow_in_graph = in_graph(flow)
        self.aggregation = recipe.aggregation
        self.takes_frames = takes_frames(model)
        self.per_frame = not self.takes_frames or model.per_frame
        backbone = model.get_config()["backbone"]
        shape = (self.size, self.size, self.stream.channels)
        if self.per_frame:
            if self.takes_frames:
                self.backbone = model.image_network
                self._features = graph(self._features, tf.TensorSpec((None, *shape)))
                shape = self.backbone.output_shape[1:]
            else:
                shape = model.input["features"].shape[2:]
            shape = self.feature_shape = tuple(shape)
            features = tf.TensorSpec((None, None, *shape), tf.float32, "features")
            length = tf.TensorSpec((), tf.int32, "length")
            self.answer_features = graph(self.from_features, features)
            self.answer_held_features = graph(self.from_held_features, features, length)
        model.check_frames(self.frames)
        self.model = swap_input(model, backbone, (self.frames, *shape), cached=self.per_frame)
        clips = tf.TensorSpec((None, self.frames, *shape))
        self._clip_answers = graph(self._clip_answers, clips)
        if self.takes_frames:
            self._answer_pixels(flow)

    def _answer_pixels(self, flow):
        frames = tf.TensorSpec((None, None, None, None, 3), tf.uint8, "frames")
        jpegs = tf.TensorSpec((None, None), tf.string, "jpeg_frames")
        self.answer_frames = graph(self.from_frames, frames)
        self.answer_jpegs = graph(self.from_jpegs, jpegs)
        if self.stream.reads_flow:
            settings = flow["settings"] if self.flow_in_graph else {}
            self._tvl1 = tf.function(functools.partial(tvl1.tvl1, **settings), autograph=False)
            planes = tf.TensorSpec((None, None, *self.flow_size, 2), tf.uint8, "planes")
            self.answer_planes = graph(self.from_planes, frames, planes)

    @property
    def models(self):
        """All that has weights: what an export must track."""
        cut = self.per_frame and self.takes_frames
        return [self.model, self.backbone] if cut else [self.model]

    @property
    def clip_keys(self):
        return (*CLIPS, *self.model.attention_names)

    @property
    def flow_size(self):
        """Height and width of the planes."""
        return self.flow["height"], self.flow["width"]

    def positions(self, length: int) -> np.ndarray:
        """Sorted frame positions used by the clips of a video of `length` positions."""
        return np.unique(self._positions(length).numpy())

    def answer(self, frames=None, jpegs=None, planes=None, features=None, length=None) -> dict:
        """Answer for videos of which one thing is given:

        - `frames (B, T, H, W, 3)`, uint8, any T, H and W from 1 on;
        - `jpegs (B, T)`, each string a frame as a JPEG file, of any size;
        - `planes (B, T - 1, h, w, 2)` of flow, of `flow_size`, with `frames` if they are seen too;
        - `features (B, N, ...)` of the backbone, at all N positions of a video, or, with the
          number `length` of these, at its `positions` alone.

        Flow that is not given is computed, where it needs OpenCV outside the graph.
        """
        if features is not None and length is not None:
            return self.answer_held_features(features, length)
        if features is not None:
            return self.answer_features(features)
        if jpegs is not None:
            return self.answer_jpegs(jpegs)
        if planes is not None and frames is None:
            batch, pairs = planes.shape[:2]
            frames = tf.zeros((batch, pairs + 1, 1, 1, 3), tf.uint8)  # only their number matters
        elif planes is None and self.flow_in_graph:
            return self.answer_frames(frames)
        elif planes is None:
            planes = np.stack([planes_of(video, self.flow) for video in np.asarray(frames)])
        return self.answer_planes(frames, planes)

    def from_frames(self, frames) -> dict:
        return self._answer(frames, transforms.resize_stretched)

    def from_jpegs(self, jpegs) -> dict:
        return self._answer(jpegs, _stretched_jpegs)

    def from_planes(self, frames, planes) -> dict:
        """Answer for `frames` and their flow; for one frame, which does not move, one plane."""
        return self._answer(frames, transforms.resize_stretched, planes)

    def from_features(self, features) -> dict:
        """Answer for features at each frame, or for flow at each pair of frames: T is N + 1."""
        length = tf.shape(features)[1]
        return self._of_frames(self._from_features(features, tf.range(length)), length + 1)

    def from_held_features(self, features, length) -> dict:
        """Answer for features at those of `length` positions that the clips hold."""
        places = places_of_held(self._positions(length), length)
        return self._of_frames(self._from_features(features, places), length + 1)

    def _of_frames(self, answer, frames):
        """The answer for positions as one for frames: flow has one position fewer."""
        return with_last_frame(answer, frames) if self.stream.reads_flow else answer

    def _from_features(self, features, places):
        """Answer for `features (B, N, ...)`, where position t has those at `places[t]`."""

        def clips(positions):  # (V, n) -> the clips of all videos
            some = tf.gather(features, tf.gather(places, positions), axis=1)
            return _first_two_joined(some)

        return self._from_clips(clips, tf.shape(features)[0], tf.size(places))

    def _answer(self, images, stretched, planes=None):
        """Answer for `images (B, T, ...)`; `stretched(some, size)` makes pixels of N of them."""
        batch, frames = tf.unstack(tf.shape(images)[:2])
        rows = _first_two_joined(images)
        length = frames
        if self.stream.reads_flow:
            length = tf.maximum(frames - 1, 1)
            if planes is None:
                if not self.flow_in_graph:
                    raise ValueError("this model's flow needs OpenCV: ask for it by `answer`")
                planes = self._planes(rows, batch, frames, stretched)
            planes = _first_two_joined(planes)

        def pixels(items):  # the positions of all videos are numbered on
            starts, position = items // length, items % length
            parts = {}
            for key, seen, count, stretch, step in (
                ("video", rows, self.stream.frames, stretched, frames),
                ("planes", planes, self.stream.planes, transforms.resize_stretched, length),
            ):
                if count:
                    numbers = starts[:, None] * step + sampling.snippets(position, length, count)
                    some = tf.gather(seen, tf.reshape(numbers, [-1]))
                    parts[key] = stretch(some, (self.size, self.size))
            return transforms.side_by_side(parts, self.stream)

        return self._of_frames(self._from_pixels(pixels, batch, length), frames)

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
            positions = self._positions(length)
            numbers = tf.cast(tf.where(held(positions, length))[:, 0], tf.int32)
            features = in_pieces(
                lambda some: self._features(pixels(some)),
                tf.reshape(videos + numbers, [-1]),
                FRAMES_AT_ONCE,
                self.feature_shape,
            )
            features = tf.reshape(features, (batch, tf.size(numbers), *self.feature_shape))
            return self._from_features(features, places_of_held(positions, length))

        def clips(positions):  # (V, n) -> the clips of all videos
            some = pixels(tf.reshape(videos[:, :, None] + positions, [-1]))
            return tf.reshape(some, (-1, self.frames, *some.shape[1:]))

        return self._from_clips(clips, batch, length)

    def _features(self, pictures):
        return tf.cast(self.backbone(pictures, training=False), tf.float32)

    def _positions(self, length):
        """Positions of the clips of a video: `(W, n)`."""
        return self.sampler.positions(self.sampler.starts(length), length)

    def _from_clips(self, clips, batch, length):
        """Run the model over all clips; `clips` makes some of each of `batch` videos."""
        positions = self._positions(length)

        def clips_first(answer):  # (B * V, ...) -> (V, B, ...)
            shape = tf.concat([[batch, -1], tf.shape(answer)[1:]], 0)
            return tf.einsum("bv...->vb...", tf.reshape(answer, shape))

        output = self.model.output
        classes = output["logits"].shape[-1]
        shapes = [(classes,), (self.frames, None, None), (self.frames,), (self.frames, classes)]
        shapes += [output[name].shape[1:] for name in self.model.attention_names]
        clip, where, when, steps, *raw = in_pieces(
            lambda some: tuple(map(clips_first, self._clip_answers(clips(some)))),
            positions,
            tf.maximum(CLIPS_AT_ONCE // batch, 1),
            [(None, *shape) for shape in shapes],
        )  # each (W, B, ...)
        return {
            **video_answers(clip, self.aggregation),
            **timeline(where, when, steps, positions, length),
            **dict(zip(self.model.attention_names, map(videos_first, raw), strict=True)),
            "clip_positions": tf.repeat(positions[None], batch, axis=0),
        }

    def _clip_answers(self, clips):
        """The class probabilities of clips, their answers for each frame, their maps; float32."""
        outputs = self.model({"features" if self.per_frame else "video": clips}, training=False)
        maps = self.model.explain(outputs)
        steps = self.model.step_probabilities(outputs)
        raw = [outputs[name] for name in self.model.attention_names]
        answers = (tf.nn.softmax(outputs["logits"]), maps["where"], maps["when"], steps, *raw)
        return tuple(tf.cast(answer, tf.float32) for answer in answers)


def _stretched_jpegs(jpegs, size):
    picture = tf.TensorSpec((*size, 3), tf.float32)
    return tf.map_fn(lambda jpeg: batches.picture(jpeg, *size), jpegs, fn_output_signature=picture)


def _first_two_joined(tensor):
    return tf.reshape(tensor, tf.concat([[-1], tf.shape(tensor)[2:]], 0))
