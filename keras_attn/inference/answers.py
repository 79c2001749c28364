"""Output names of a trained model, and the common inference interface."""

from dataclasses import dataclass

import tensorflow as tf

SCORES = ("decision", "probabilities", "logits", "votes")
TIMELINE = ("where", "when", "step_probabilities")  # one value for each frame
CLIPS = ("clip_positions", "clip_probabilities")  # one value for each clip


@dataclass(frozen=True)
class Signature:
    """A traced function of one tensor like `spec`; a served model returns its answers `keys`."""

    function: object
    spec: tf.TensorSpec
    keys: tuple[str, ...]


def graph(function, *specs):
    """`function` as a graph; nothing here needs AutoGraph, which takes longer than all else."""
    return tf.function(function, specs, autograph=False)


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
        return {
            name: Signature(function.get_concrete_function(), function.input_signature[0], keys)
            for name, (function, keys) in found.items()
        }
