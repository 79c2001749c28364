"""Two stacked LSTM layers that choose where to look before each step (Quan et al. 2020)."""

import keras
from keras import layers, ops

from keras_attn.layers.base import AttentionLayer, SavableLayer
from keras_attn.utils.masks import cleared, frame_mask
from keras_attn.utils.numerics import softmax


def decay(weight_decay):
    """Return the L2 regularizer `weight_decay * sum(theta ** 2)`, or None for none."""
    return keras.regularizers.L2(weight_decay) if weight_decay else None


def lstm_decay(weight_decay):
    """Return regularizers of a Keras LSTM: eq. (11) penalizes all weights, biases included."""
    names = ("kernel_regularizer", "recurrent_regularizer", "bias_regularizer")
    return {name: decay(weight_decay) for name in names}


@keras.saving.register_keras_serializable("keras_attn")
class AttendedLSTMCell(SavableLayer):
    """One step: choose where to look from the last top state, look, and run both LSTM layers.

    Shapes: `(B, L*C) -> (B, U + L)`: from the features of the cells, the top hidden state and then
    the weights. `keras.layers.RNN` takes and stacks one tensor only, so everything that belongs to
    a frame is concatenated: its features; with `dropout_masks`, factors for the glimpse (C) and for
    the input of the second LSTM (U); with `frame_scores`, the frame's own summand of the scores
    (L). One number more is a mask: the states stay where it is zero.

    weights = softmax(W h2), eq. (8), with W `(U, L)` and no bias; glimpse = sum_i weights_i x_i,
    eq. (9); then eq. (2)-(6) twice. The two LSTM cells live in one recurrent cell because the
    weights of a step need the top state of the step before. It holds no random operation, which JAX
    cannot draw inside the loop: masks are inputs. Quan et al. 2020.

    Args:
        units: Size U of each of the four states.
        locations: Number L of cells of a map.
        channels: Number C of features of a cell.
        dropout_masks: Whether a step holds the C + U factors.
        frame_scores: Whether a step ends with L summands of the scores.
        weight_decay: Factor of the L2 penalty on all weights, eq. (11).
    """

    def __init__(
        self,
        units,
        locations,
        channels,
        dropout_masks=False,
        frame_scores=False,
        weight_decay=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units, self.locations, self.channels = units, locations, channels
        self.dropout_masks, self.frame_scores = dropout_masks, frame_scores
        self.state_size = [units] * 4  # h1, c1, h2, c2
        self.output_size = units + locations
        # 2-D products only: a Dense on a 3-D tensor in a loop does not train under XLA.
        self.attention = layers.Dense(
            locations,
            use_bias=False,
            kernel_regularizer=decay(weight_decay),
            dtype=self.dtype_policy,
            name="attention",
        )
        self.lstm_1, self.lstm_2 = (
            layers.LSTMCell(units, dtype=self.dtype_policy, name=name, **lstm_decay(weight_decay))
            for name in ("lstm_1", "lstm_2")
        )

    def build(self, step_shape):
        self.attention.build((None, self.units))
        self.lstm_1.build((None, self.channels))
        self.lstm_2.build((None, self.units))

    def call(self, step, states):
        bottom, top = list(states[:2]), list(states[2:])
        cells = self.locations * self.channels
        features = ops.reshape(step[:, :cells], (-1, self.locations, self.channels))
        scores = self.attention(top[0])
        end = cells + (self.channels + self.units) * self.dropout_masks
        if self.frame_scores:
            end = end + self.locations
            scores = scores + step[:, end - self.locations : end]
        weights = ops.cast(softmax(scores), features.dtype)  # eq. (8)
        glimpse = ops.einsum("bl,blc->bc", weights, features)  # eq. (9)
        if self.dropout_masks:
            glimpse = glimpse * step[:, cells : cells + self.channels]
        hidden, bottom = self.lstm_1(glimpse, bottom)
        if self.dropout_masks:
            cells = cells + self.channels
            hidden = hidden * step[:, cells : cells + self.units]
        hidden, top = self.lstm_2(hidden, top)
        after = [*bottom, *top]
        if step.shape[-1] > end:
            runs = step[:, end:] > 0
            after = [ops.where(runs, new, old) for new, old in zip(after, states, strict=True)]
        return ops.concatenate([hidden, weights], axis=-1), after


@keras.saving.register_keras_serializable("keras_attn")
class AttendedLSTM(AttentionLayer):
    """Attention over the cells of each frame, steered by the two LSTM layers it feeds.

    Shapes: `(B, T, h, w, C) -> (B, T, U), (B, T, h, w)`: the top hidden states and the attention
    weights, which sum to one over the cells of a frame. `T` may be unknown; h, w and C may not.
    The states start at zero, so the first frame's weights are uniform. Padded frames (`mask (B, T)`
    False) leave the states as they are; both outputs are zero there. Quan et al. 2020.

    Args:
        units: Size U of the states of both LSTM layers.
        dropout: Rate for the input of each LSTM layer, drawn again at each step.
        current_frame: Whether the frame joins the last state in the scores, section 4.4: a 1x1
            convolution (Dense(1)) turns it into a map and a tanh layer (the activation is not
            stated) into a vector of `units` numbers.
        weight_decay: Factor of the L2 penalty on all weights, eq. (11).
        attention_regularizer: As for `keras.regularizers.get`: a penalty on the attention weights.
    """

    def __init__(
        self,
        units,
        dropout=0.0,
        current_frame=False,
        weight_decay=0.0,
        attention_regularizer=None,
        **kwargs,
    ):
        super().__init__(attention_regularizer, **kwargs)
        self.units, self.rate = units, dropout
        self.current_frame, self.weight_decay = current_frame, weight_decay
        self.dropout = layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, features_shape):
        *_, height, width, channels = features_shape
        locations = height * width
        if self.current_frame:
            self._build_frame_scores(features_shape, locations)
        cell = AttendedLSTMCell(
            self.units,
            locations,
            channels,
            dropout_masks=self.rate > 0,
            frame_scores=self.current_frame,
            weight_decay=self.weight_decay,
            dtype=self.dtype_policy,
            name="cell",
        )
        self.rnn = layers.RNN(cell, return_sequences=True, dtype=self.dtype_policy, name="rnn")
        self.rnn.build((*features_shape[:2], None))

    def _build_frame_scores(self, features_shape, locations):
        def dense(units, name, **kwargs):
            regularizer = decay(self.weight_decay)
            return layers.Dense(
                units,
                kernel_regularizer=regularizer,
                bias_regularizer=regularizer,
                dtype=self.dtype_policy,
                name=name,
                **kwargs,
            )

        self.frame_map = dense(1, "frame_map")
        self.frame_vector = dense(self.units, "frame_vector", activation="tanh")
        # W [h2; v] = W_h h2 + W_v v: the second product needs no state, so it leaves the loop.
        self.frame_scores = dense(locations, "frame_scores", use_bias=False)
        self.frame_map.build(features_shape)
        self.frame_vector.build((None, None, locations))
        self.frame_scores.build((None, None, self.units))

    def call(self, features, mask=None):
        mask = frame_mask(mask)
        features = cleared(features, mask)
        batch, time, height, width, channels = ops.shape(features)
        sequence = [ops.reshape(features, (-1, time, height * width * channels))]
        if self.rate > 0:
            # A mask of the glimpse and one of the lower LSTM's output, drawn for every step.
            # Dropping entries of the glimpse is dropping channels of the frame in every cell.
            ones = ops.ones((batch, time, channels + self.units), dtype=self.compute_dtype)
            sequence.append(self.dropout(ones))
        if self.current_frame:
            frame_map = ops.reshape(self.frame_map(features), (-1, time, height * width))
            sequence.append(self.frame_scores(self.frame_vector(frame_map)))
        if mask is not None:
            sequence.append(ops.cast(mask, self.compute_dtype)[..., None])
        # Alone, the features are passed on uncopied: they are the model's largest tensor.
        joined = ops.concatenate(sequence, axis=-1) if len(sequence) > 1 else sequence[0]
        outputs = cleared(self.rnn(joined), mask)
        weights = ops.reshape(outputs[:, :, self.units :], (-1, time, height, width))
        return outputs[:, :, : self.units], self.regularized(weights)

    def compute_mask(self, features, mask):
        return frame_mask(mask), frame_mask(mask)

    def compute_output_shape(self, features_shape):
        batch, time, height, width, _ = features_shape
        return (batch, time, self.units), (batch, time, height, width)
