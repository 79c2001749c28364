"""Two stacked LSTM layers that weigh all frames again before each step (Liu et al. 2017)."""

import keras
from keras import layers, ops

from keras_attn.layers.base import AttentionLayer, SavableLayer
from keras_attn.utils.masks import cleared, frame_mask
from keras_attn.utils.numerics import softmax


@keras.saving.register_keras_serializable("keras_attn")
class ReattendingLSTMCell(SavableLayer):
    """One iteration: weigh all frames by the last top state, look, and run both LSTM layers.

    Shapes: `(B, D + U) -> (B, U + T)`: from factors that drop entries of the glimpse (D) and of the
    input of the second LSTM (U), the top hidden state and the weights of the frames.

    scores = score_activation(w_a h2 + u_a v_i + b_a), eq. (5); weights = softmax(scores), eq. (6);
    glimpse = sum_i weights_i v_i, eq. (4); then eq. (3) twice. Liu et al. 2017.

    `sequence` is the input that every iteration shares, set while the loop runs: `u_a v_i + b_a`
    (B, T), the features (B, T, D) and the mask (B, T) of the frames, or None. A loop reads such a
    tensor in place. As a state it would be copied at every iteration that XLA differentiates. The
    cell holds no random operation, which JAX cannot draw inside the loop: masks are inputs.

    Args:
        units: Size U of each of the four states.
        channels: Number D of features of a frame.
        score_activation: See `ReattendingLSTM`.
    """

    sequence = None

    def __init__(self, units, channels, score_activation="tanh", **kwargs):
        super().__init__(**kwargs)
        self.units, self.channels = units, channels
        self.score_activation = score_activation
        self.state_size = [units] * 4  # h1, c1, h2, c2
        self.activation = keras.activations.get(score_activation)
        self.query = layers.Dense(1, use_bias=False, dtype=self.dtype_policy, name="query")
        self.lstm_1, self.lstm_2 = (
            layers.LSTMCell(units, dtype=self.dtype_policy, name=name)
            for name in ("lstm_1", "lstm_2")
        )

    def build(self, step_shape):
        self.query.build((None, self.units))
        self.lstm_1.build((None, self.channels))
        self.lstm_2.build((None, self.units))

    def call(self, step, states):
        bottom, top = list(states[:2]), list(states[2:])
        frame_scores, features, mask = self.sequence
        scores = self.query(top[0]) + frame_scores
        weights = softmax(self.activation(scores), mask=mask)  # eq. (5)-(6)
        weights = ops.cast(weights, features.dtype)
        glimpse = ops.einsum("bt,btd->bd", weights, features)  # eq. (4)
        hidden, bottom = self.lstm_1(glimpse * step[:, : self.channels], bottom)
        hidden, top = self.lstm_2(hidden * step[:, self.channels :], top)
        return ops.concatenate([hidden, weights], axis=-1), [*bottom, *top]


@keras.saving.register_keras_serializable("keras_attn")
class ReattendingLSTM(AttentionLayer):
    """Attention over all frames at each of `iterations` steps, steered by the LSTM layers it feeds.

    Shapes: `(B, T, D) -> (B, I, U), (B, I, T)`: the top hidden states and the attention weights,
    which sum to one over the frames. `T` may be unknown; D may not. The states start at zero.
    The order of the frames plays no part: permuting them permutes the weights. Padded frames (`mask
    (B, T)` False) have the weight zero. Liu et al. 2017.

    Args:
        units: Size U of the states of both LSTM layers.
        iterations: Number I of steps.
        dropout: Rate for the input of each LSTM layer, drawn again at each iteration.
        score_activation: Name of a Keras activation. "tanh", eq. (5), keeps every score between -1
            and 1, so that no frame weighs more than e^2 = 7.39 times another. With None the state
            adds the same to all scores, which the softmax cancels: all iterations have the same
            weights.
        attention_regularizer: As for `keras.regularizers.get`: a penalty on the attention weights.
    """

    def __init__(
        self,
        units,
        iterations,
        dropout=0.0,
        score_activation="tanh",
        attention_regularizer=None,
        **kwargs,
    ):
        super().__init__(attention_regularizer, **kwargs)
        self.units, self.iterations = units, iterations
        self.score_activation = score_activation
        self.dropout = layers.Dropout(dropout, dtype=self.dtype_policy)
        self.frame_scores = layers.Dense(1, dtype=self.dtype_policy, name="frame_scores")

    def build(self, features_shape):
        channels = features_shape[-1]
        self.frame_scores.build(features_shape)
        cell = ReattendingLSTMCell(
            self.units, channels, self.score_activation, dtype=self.dtype_policy, name="cell"
        )
        self.rnn = layers.RNN(cell, return_sequences=True, dtype=self.dtype_policy, name="rnn")
        self.rnn.build((features_shape[0], self.iterations, channels + self.units))

    def call(self, features, mask=None):
        mask = frame_mask(mask)
        features = cleared(features, mask)
        batch, _, channels = ops.shape(features)
        steps = (batch, self.iterations, channels + self.units)
        masks = self.dropout(ops.ones(steps, dtype=self.compute_dtype))
        # u_a v_i + b_a of eq. (5) is the same at every iteration.
        frame_scores = ops.squeeze(self.frame_scores(features), axis=-1)
        self.rnn.cell.sequence = frame_scores, features, mask
        outputs = self.rnn(masks)
        self.rnn.cell.sequence = None
        return outputs[:, :, : self.units], self.regularized(outputs[:, :, self.units :])

    def compute_mask(self, features, mask):
        return None, None  # iterations are not padded

    def compute_output_shape(self, features_shape):
        batch, time, _ = features_shape
        return (batch, self.iterations, self.units), (batch, self.iterations, time)
