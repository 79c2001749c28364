"""A convolutional LSTM that weighs all frames again before each step (Meng et al. 2018)."""

import keras
from keras import layers, ops

from keras_attn.layers.base import AttentionLayer, SavableLayer
from keras_attn.layers.saliency_mask import convolutions
from keras_attn.utils.checks import check_option
from keras_attn.utils.masks import cleared, frame_counts, frame_mask, mean_over_frames
from keras_attn.utils.numerics import softmax

# How a frame and the state are scored: by a hidden layer, by a linear map of each, or equally.
ENERGIES = ("tanh", "additive", "uniform")
# The input of the LSTM: the sum of the weighted frames, or, as eq. (4) is printed, 1/n of it.
GLIMPSES = ("sum", "mean")


@keras.saving.register_keras_serializable("keras_attn")
class ConvLSTMAttentionCell(SavableLayer):
    """One iteration: weigh all frames by the last state, sum them, run the convolutional LSTM.

    Shapes: `(B, 1) -> (B, U + T)`: from a tick, the mean of the new hidden state over the cells and
    the weights of the frames. A tick is one where the iteration is that of a frame; where there is
    a mask and it is zero, the states stay. Both states are `(B, h, w, U)`. Meng et al.
    2018, eq. (2)-(4).

    `sequence` is the input that every iteration shares, set while the loop runs: the frames'
    summand of the hidden layer of the scores, `(B, T, A)`, the frames `(B, T, h, w, 4 U)`, already
    convolved with the kernels of the gates, and the mask `(B, T)` of the frames, or None. The
    convolution of a weighted sum is the weighted sum of the convolutions, so all are computed at
    once before the loop. A loop reads such a tensor in place. As a state it would be copied at
    every iteration that XLA differentiates.

    Args:
        units: Number U of channels of both states.
        energy: "tanh", "additive" or "uniform", see `ConvLSTMAttention`.
        attention_units: Size A of the hidden layer of the "tanh" scores; unused with the others.
    """

    sequence = None

    def __init__(self, units, energy="tanh", attention_units=512, **kwargs):
        super().__init__(**kwargs)
        self.units, self.energy, self.attention_units = units, energy, attention_units
        self.state_size = [units] * 2  # channels of h and c
        if energy != "uniform":
            self.query = layers.Dense(
                attention_units if energy == "tanh" else 1,
                use_bias=False,
                dtype=self.dtype_policy,
                name="query",
            )
        self.recurrent_convolution = layers.Conv2D(
            4 * units,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer="orthogonal",
            dtype=self.dtype_policy,
            name="recurrent_convolution",
        )

    def build(self, tick_shape):
        if self.energy != "uniform":
            self.query.build((None, self.units))
        self.recurrent_convolution.build((None, None, None, self.units))
        if self.energy == "tanh":
            # A 2-D product only: a Dense on a 3-D tensor in a loop does not train under XLA.
            self.score = self.add_weight((self.attention_units,), name="score")

    def call(self, tick, states):
        hidden, carry = states
        keys, frames, mask = self.sequence
        weights = softmax(self._scores(keys, hidden), mask=mask)  # eq. (3)
        weights = ops.cast(weights, frames.dtype)
        glimpse = ops.einsum("bt,bthwg->bhwg", weights, frames)  # eq. (4), convolved
        gates = glimpse + self.recurrent_convolution(hidden)
        enter, forget, candidate, leave = ops.split(gates, 4, axis=-1)
        carry = ops.sigmoid(forget) * carry + ops.sigmoid(enter) * ops.tanh(candidate)
        hidden = ops.sigmoid(leave) * ops.tanh(carry)
        if mask is not None:
            runs = tick[:, :, None, None] > 0
            hidden, carry = (
                ops.where(runs, new, old) for new, old in zip((hidden, carry), states, strict=True)
            )
        mean = ops.mean(hidden, axis=(1, 2))
        return ops.concatenate([mean, weights], axis=-1), [hidden, carry]

    def _scores(self, keys, hidden):
        """Eq. (2)."""
        if self.energy == "uniform":
            return keys[:, :, 0]
        joint = keys + self.query(ops.mean(hidden, axis=(1, 2)))[:, None]
        if self.energy == "additive":
            return joint[:, :, 0]
        return ops.einsum("bta,a->bt", ops.tanh(joint), ops.cast(self.score, joint.dtype))


@keras.saving.register_keras_serializable("keras_attn")
class ConvLSTMAttention(AttentionLayer):
    """Attention over all frames, as often as there are frames, steered by the LSTM that it feeds.

    Shapes: `(B, T, h, w, C) -> (B, T, U), (B, T, T)`: at each iteration the hidden state's mean
    over the cells, and the weights of the frames, which sum to one over the last axis. `T` may be
    unknown; h, w and C may not. The order of the frames plays no part: permuting them permutes the
    weights. Two convolutional networks, of C / 2 and `units` filters, compute the first states from
    the mean frame, eq. (5). Padded frames (`mask (B, T)` False) have no weight and no iteration:
    the states stay, and both outputs are zero there. Meng et al. 2018.

    Args:
        units: Number U of channels of the states.
        energy: How a frame is scored, eq. (2). "tanh": v . tanh(W_h mean(h) + W_x mean(x) + b);
            "additive", as printed: w_h . mean(h) + w_x . mean(x), where the softmax cancels the
            state, so that all iterations have the same weights; "uniform" (ours): every frame has
            the weight 1/T, the control, which lacks the weights that score and no others.
        attention_units: Size of the hidden layer of the "tanh" scores.
        glimpse: Input of the LSTM, eq. (4): "sum", the weighted sum of the frames, or "mean", as
            printed, that divided by their number.
        attention_regularizer: As for `keras.regularizers.get`: a penalty on the attention weights.

    Raises:
        ValueError: For an unknown `energy` or `glimpse`.
    """

    def __init__(
        self,
        units,
        energy="tanh",
        attention_units=512,
        glimpse="sum",
        attention_regularizer=None,
        **kwargs,
    ):
        super().__init__(attention_regularizer, **kwargs)
        check_option("energy", energy, ENERGIES)
        check_option("glimpse", glimpse, GLIMPSES)
        self.units, self.energy, self.attention_units = units, energy, attention_units
        self.glimpse = glimpse
        tanh = energy == "tanh"
        if energy != "uniform":
            self.key = layers.Dense(
                attention_units if tanh else 1, use_bias=tanh, dtype=self.dtype_policy, name="key"
            )
        self.convolution = layers.Conv2D(
            4 * units, 3, padding="same", dtype=self.dtype_policy, name="convolution"
        )

    def build(self, frames_shape):
        *_, height, width, channels = frames_shape
        map_shape = (None, height, width, channels)
        if self.energy != "uniform":
            self.key.build((None, None, channels))
        self.convolution.build(map_shape)
        filters = (channels // 2, self.units)
        self.first_hidden, self.first_carry = (
            convolutions(filters, self.dtype_policy, name)
            for name in ("first_hidden", "first_carry")
        )
        self.first_hidden.build(map_shape)
        self.first_carry.build(map_shape)
        cell = ConvLSTMAttentionCell(
            self.units, self.energy, self.attention_units, dtype=self.dtype_policy, name="cell"
        )
        self.rnn = layers.RNN(cell, return_sequences=True, dtype=self.dtype_policy, name="rnn")
        self.rnn.build((None, None, 1))

    def call(self, frames, mask=None):
        mask = frame_mask(mask)
        frames = cleared(frames, mask)
        batch, time, height, width, channels = ops.shape(frames)
        mean = mean_over_frames(frames, mask)
        states = [self.first_hidden(mean), self.first_carry(mean)]  # eq. (5)
        # 1/n of eq. (4) passes the convolution, which is linear, but not its bias.
        seen = frames / _counts(frames, mask) if self.glimpse == "mean" else frames
        convolved = self.convolution(ops.reshape(seen, (-1, height, width, channels)))
        convolved = ops.reshape(convolved, (-1, time, height, width, 4 * self.units))
        ticks = cleared(ops.ones((batch, time, 1), dtype=self.compute_dtype), mask)
        self.rnn.cell.sequence = self._keys(ops.mean(frames, axis=(2, 3))), convolved, mask
        outputs = cleared(self.rnn(ticks, initial_state=states), mask)
        self.rnn.cell.sequence = None
        return outputs[:, :, : self.units], self.regularized(outputs[:, :, self.units :])

    def _keys(self, means):
        """The frames' summand of the scores: `(B, T, C) -> (B, T, A)`, zero where all are alike."""
        return ops.zeros_like(means[:, :, :1]) if self.energy == "uniform" else self.key(means)

    def compute_mask(self, frames, mask):
        return frame_mask(mask), frame_mask(mask)

    def compute_output_shape(self, frames_shape):
        batch, time = frames_shape[:2]
        return (batch, time, self.units), (batch, time, time)


def _counts(frames, mask):
    """The number of frames of each clip, to divide `frames` by."""
    if mask is None:
        return ops.cast(ops.shape(frames)[1], frames.dtype)
    return frame_counts(mask, frames.dtype)[:, None, None, None, None]
