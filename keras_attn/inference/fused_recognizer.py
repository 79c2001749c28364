"""Several trained models as one: each sees the same frames, and their answers are averaged."""

import tensorflow as tf

from keras_attn.inference.answers import TIMELINE, Answers, graph


class FusedRecognizer(Answers):
    """Models of the same classes, with the surface of a `Recognizer`.

    `decision`, `probabilities`, `votes`, and over the frames `when` and `step_probabilities` are
    weighted means (late fusion); so is `where`, resized to the cells of the first model. Each model
    computes the flow that it sees. The answers for clips are those of every model, with its number,
    from 1 on, at the end: `spatial_attention_1`.

    Args:
        recognizers: A `Recognizer` for each model, with the same classes in the same order.
        weights: A number for each; they sum to one.
    """

    per_frame = False  # no features of one backbone to take

    def __init__(self, recognizers, weights):
        self.recognizers, self.weights = recognizers, weights
        self.models = [model for one in recognizers for model in one.models]
        self.frames = max(one.frames for one in recognizers)
        self.flow_in_graph = all(one.flow_in_graph for one in recognizers)
        first = recognizers[0]
        self.answer_frames = graph(self.from_frames, *first.answer_frames.input_signature)
        self.answer_jpegs = graph(self.from_jpegs, *first.answer_jpegs.input_signature)

    @property
    def clip_keys(self):
        numbered = enumerate(self.recognizers, 1)
        return tuple(f"{key}_{number}" for number, one in numbered for key in one.clip_keys)

    def answer(self, frames=None, jpegs=None) -> dict:
        """Answer for `frames (B, T, H, W, 3)`, uint8, or `jpegs (B, T)`, strings."""
        return self._fused([one.answer(frames=frames, jpegs=jpegs) for one in self.recognizers])

    def from_frames(self, frames) -> dict:
        return self._fused([one.answer_frames(frames) for one in self.recognizers])

    def from_jpegs(self, jpegs) -> dict:
        return self._fused([one.answer_jpegs(jpegs) for one in self.recognizers])

    def _fused(self, answers):
        size = tf.shape(answers[0]["where"])[2:]
        answers = [answer | {"where": _resized(answer["where"], size)} for answer in answers]

        def mean(key):
            return sum(w * answer[key] for w, answer in zip(self.weights, answers, strict=True))

        fused = {key: mean(key) for key in ("decision", "probabilities", "votes", *TIMELINE)}
        fused["logits"] = tf.math.log(tf.maximum(fused["probabilities"], 1e-30))
        own = zip(self.recognizers, answers, strict=True)
        of_clips = [answer[key] for one, answer in own for key in one.clip_keys]
        return fused | dict(zip(self.clip_keys, of_clips, strict=True))


def _resized(where, size):
    """Attention `(B, T, h, w)` on other cells, still summing to one in each frame."""
    shape = tf.shape(where)
    maps = tf.reshape(where, (-1, shape[2], shape[3], 1))
    maps = tf.image.resize(maps, size, antialias=True)
    maps = maps / tf.reduce_sum(maps, axis=(1, 2), keepdims=True)
    return tf.reshape(maps, (shape[0], shape[1], size[0], size[1]))
