"""Output names of a trained model, and the common inference interface."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_attn.errors import UserError

SCORES = ("decision", "probabilities", "logits", "votes")
TIMELINE = ("where", "when", "step_probabilities")  # one value for each frame
CLIPS = ("clip_positions", "clip_probabilities")  # one value for each clip
WITH_LENGTHS = "_with_lengths"  # ends the name of a signature for videos of unequal length


@dataclass(frozen=True)
class Signature:
    """A traced function of tensors like `specs`; a served model returns its answers `keys`."""

    function: object
    specs: tuple[tf.TensorSpec, ...]
    keys: tuple[str, ...]


def graph(function, *specs):
    """`function` as a graph; nothing here needs AutoGraph, which takes longer than all else."""
    return tf.function(function, specs, autograph=False)


def each_by_itself(function, keys):
    """`function` of a batch of videos for videos of unequal length, padded by whatever there is.

    `function` is a graph of one tensor `(B, T, ...)`. What is returned takes `lengths (B,)`, the
    number of frames of each video, from 1 to T, besides, and has the answers `keys`. Each video is
    asked for by itself, without its padding, so that it is answered as in a batch of its own. The
    answers for padded frames are zero. `keys` may hold those of `TIMELINE` only where there is one
    for each of the T, and none for each clip, since the number of clips differs.
    """
    whole = function.get_concrete_function()
    outputs = {key: whole.structured_outputs[key] for key in keys}

    def answer(videos, lengths):
        frames = tf.shape(videos)[1]

        def one(video_and_length):
            video, length = video_and_length
            found = whole(video[None, :length])
            return {key: padded(key, found[key][0], frames) for key in keys}

        with tf.control_dependencies(_length_checks(videos, lengths)):
            return tf.map_fn(
                one,
                (videos, tf.identity(lengths)),
                fn_output_signature={
                    key: tf.TensorSpec(value.shape[1:], value.dtype)
                    for key, value in outputs.items()
                },
                parallel_iterations=1,  # as large as one video is what is held
            )

    return graph(answer, *function.input_signature, tf.TensorSpec((None,), tf.int32, "lengths"))


def padded(key, answer, frames):
    """The answer for one video; where it is one for each frame, with zeros up to `frames`."""
    if key not in TIMELINE:
        return answer
    rest = [[0, frames - tf.shape(answer)[0]], *[[0, 0]] * (len(answer.shape) - 1)]
    return tf.pad(answer, rest)


def _length_checks(videos, lengths):
    videos, frames = tf.unstack(tf.shape(videos)[:2])
    return [
        tf.debugging.assert_equal(
            tf.shape(lengths)[0], videos, "`lengths` must have one number for each video"
        ),
        tf.debugging.assert_positive(lengths, "`lengths` must be at least 1"),
        tf.debugging.assert_less_equal(
            lengths, frames, "`lengths` must be at most the number of frames given"
        ),
    ]


def finite(answer: dict, source) -> dict:
    """The arrays of an answer; `UserError` that names `source`, the model, unless all are finite.

    A network overflows when its weights moved too fast for the moving statistics of its batch
    normalization: its loss in training is finite, and that of the validation is not.
    """
    wrong = [key for key, array in answer.items() if not np.isfinite(array).all()]
    if wrong:
        raise UserError(
            f"{source}: the model answers NaN or infinity ({', '.join(wrong)}): its training went "
            "wrong, as val_loss in history.csv of its run shows if there was a validation. Train "
            "again with a lower learning_rate, from trained weights of the backbone "
            "(backbone_weights), or with precision=float32"
        )
    return answer


class Answers:
    """The surface that one model and several fused models share.

    A subclass has `answer`, for a batch of videos, and the compiled functions `answer_frames` and
    `answer_jpegs`, if it `takes_frames`, and, if the backbone sees single positions (`per_frame`),
    `answer_features`. `flow_in_graph` says whether TensorFlow can compute all flow that is seen.
    `clip_keys` names the answers for each clip, the attention maps of the model among them.
    """

    takes_frames = True

    def ask(self, *, length=None, **inputs) -> dict:
        """Answer for one video: `answer` without the axis `B`, as NumPy arrays."""
        batch = {name: tf.convert_to_tensor(array)[None] for name, array in inputs.items()}
        more = {} if length is None else {"length": length}
        return {key: value.numpy()[0] for key, value in self.answer(**batch, **more).items()}

    def signatures(self) -> dict[str, Signature]:
        """The signatures of a served model, by name."""
        every = (*SCORES, *TIMELINE, *self.clip_keys)
        found = {}
        if self.takes_frames and self.flow_in_graph:
            found["serving_default"] = (self.answer_frames, SCORES)
            found["explain"] = (self.answer_frames, every)
            found["jpeg_frames"] = (self.answer_jpegs, SCORES)
        if self.per_frame:
            found["features"] = (self.answer_features, SCORES)
        if not self.takes_frames:  # TF Serving needs a default
            found = dict.fromkeys(("serving_default", "features"), (self.answer_features, every))
        asked: dict = {}  # by function: two signatures share its graph
        for function, keys in found.values():
            asked.setdefault(function, set()).update(set(keys) - set(self.clip_keys))
        signatures = {}
        for name, (function, keys) in found.items():
            with_lengths = self._with_lengths(function, sorted(asked[function]))
            same = [key for key in keys if key in asked[function]]
            signatures[name] = _signature(function, keys)
            signatures[f"{name}{WITH_LENGTHS}"] = _signature(with_lengths, same)
        return signatures

    def _with_lengths(self, function, keys):
        """`each_by_itself(function, keys)`, traced once."""
        traced = self.__dict__.setdefault("_traced_with_lengths", {})
        if function not in traced:
            traced[function] = each_by_itself(function, keys)
        return traced[function]


def _signature(function, keys):
    return Signature(function.get_concrete_function(), function.input_signature, tuple(keys))
