"""Improving human action recognition by temporal attention.

Zhikang Liu, Ye Tian, Zilei Wang. Improving Human Action Recognition by Temporal Attention. IEEE
International Conference on Image Processing, 2017.

    video -> VGG-16 as far as fc6 on each frame -> features (B,T,D), or these from a cache
    top state of iteration t-1, features -> weights over all frames (B,T)       eq. (5)-(6)
    weights, features -> glimpse (B,D) -> LSTM -> LSTM -> top state (B,U)       eq. (3)-(4)
    top state -> step logits (B,I,K)                                            eq. (7)
    mean over the last iterations of their softmax = probabilities of the clip  section 3.2

Objective, eq. (8): mean over clips of the sum over iterations of the cross-entropy. The other
summand, the squared weights, is the weight decay of the optimizer.

Differences from the paper, and notes:
  - Iterations (D) and frames (T) are two numbers; the paper has 30 of both.
  - Eq. (8) sums over clips; here it is a mean, or the batch size would scale the learning rate.
    The sum over the iterations stays.
  - tanh in eq. (5) bounds the scores, so that no frame can be ignored: with 30 frames every weight
    lies between 0.0046 and 0.2031. `score_activation=None` (ours) leaves it out, and the scores are
    then the same at every iteration, for the softmax cancels what the state adds to all of them.
  - The iterations see all frames each, and the attention knows them by their content only: the
    answer does not depend on the order of the frames.
  - attention="none", section 3.3, is the same network with equal weights: it lacks the 4,609
    parameters of eq. (5) and nothing else.
  - Which layer's state eq. (5) means is not said: the top one, as in eq. (7). States start at zero.
  - Not stated: the dropout (0.5 here, on what enters each layer), whether fc6 is taken before or
    after its ReLU (after), and the initial values (those of Keras, a forget-gate bias of one).
  - Two streams are two of these models; their probabilities are averaged, 1/3 for frames, 2/3 for
    flow. The paper's networks are fine-tuned on each data set before features are taken.

Protocol: the recipe `temporal_attention` and the paper.
  - Sampling: samples of 30 successive frames without overlap, section 3.2. What becomes of fewer
    than 30 at the end is not stated: they are left out (`clips.tail=drop`), unless the video has no
    more; then its last frame is repeated.
  - Frames: whole ones, stretched to 224x224, without augmentation, as features are cached. The
    paper fine-tunes VGG-16 for each stream first, with the crops of Wang et al. 2015.
  - Training: the paper names Adadelta and nothing else. Ours: its original learning rate of 1,
    batches of 64 samples, 30 epochs, gamma = 1e-5.
  - Label of a video: the mean of the probabilities of its samples.
"""

import keras
from keras import layers, ops

from keras_attn.backbones import features_input, find_backbone
from keras_attn.layers import PerFrame, ReattendingLSTM
from keras_attn.models.base import VideoClassifier
from keras_attn.models.padding import EqualWeights, divided_by_sum, without_padding
from keras_attn.models.steps import clip_logits, supervise_steps
from keras_attn.utils.checks import check_at_least, check_dropout, check_input_shape, check_option


@keras.saving.register_keras_serializable("keras_attn")
class TemporalAttentionLSTM(VideoClassifier):
    """Soft attention over all frames, again at each iteration of two LSTM layers.

    Inputs: `{"features": (B, T, D)}`, or `(B, T, h, w, C)`, of which the mean over the cells is
    taken; or with `backbone` `{"video": (B, T, H, W, channels)}`, bytes 0..255. Outputs:
    `logits` (B, K), whose softmax is the mean of the probabilities of the `last` iterations,
    `step_logits` (B, I, K) and `temporal_attention` (B, I, T), which sums to one over T. Labels
    and losses: see `VideoClassifier`.

    Args:
        num_classes: Number K of classes.
        input_shape: Shape of the input without the batch; T may be None.
        units: Size of the states of both LSTM layers.
        iterations: Number I of iterations.
        attention: "temporal", or "none", the baseline of section 3.3: the mean over the frames at
            every iteration, for which `score_activation` means nothing.
        score_activation: "tanh", eq. (5), or None.
        dropout: Rate for the inputs of the LSTM layers and of the classifier.
        last: Number of the last iterations that decide, section 3.2.
        backbone: What `keras_attn.backbones.find_backbone` takes: a name, "hub:PRESET" or a
            `keras.Model`; or None for features.
        train_backbone: Whether the backbone learns. In the paper it does not. Saved with the model.
        backbone_weights: Weights of the backbone, as for `build_backbone`. For building only, not
            part of the configuration: a saved model holds its weights itself.

    Raises:
        ValueError: For an argument that cannot work.
    """

    def __init__(
        self,
        num_classes,
        input_shape=(30, 4096),
        units=512,  # section 3.2
        iterations=30,  # section 3.2
        attention="temporal",
        score_activation="tanh",
        dropout=0.5,
        last=10,  # section 3.2
        backbone=None,
        backbone_weights=None,
        train_backbone=False,
        **kwargs,
    ):
        _check_arguments(num_classes, units, iterations, last, attention, score_activation, dropout)
        backbone = find_backbone(backbone)
        layout = "(T, H, W, channels) of a video"
        if backbone is None:
            layout = f"({'T, h, w, C' if len(input_shape) == 4 else 'T, D'}) of features"
        check_input_shape(input_shape, layout)
        # === Graph ===
        input_shape = tuple(input_shape)
        endpoint = None if backbone is None else self.endpoint(backbone, {})
        inputs, features = features_input(backbone, input_shape, backbone_weights, endpoint)
        if len(features.shape) == 5:
            pool = layers.GlobalAveragePooling2D()
            features = PerFrame(pool, name="mean_features")(features)
        if attention == "none":
            hidden, weights = _average(features, units, iterations, dropout)
        else:
            hidden, weights = ReattendingLSTM(
                units, iterations, dropout, score_activation, name="reattending_lstm"
            )(features)
        hidden = layers.Dropout(dropout, name="dropout")(hidden)
        step_logits = layers.Dense(num_classes, name="classifier")(hidden)  # eq. (7)
        super().__init__(
            inputs,
            {
                "logits": clip_logits(ops.cast(step_logits[:, -last:], "float32")),
                "step_logits": step_logits,
                "temporal_attention": weights,
            },
            train_backbone=train_backbone,
            **kwargs,
        )
        # === Config ===
        self.config = dict(
            num_classes=num_classes,
            input_shape=input_shape,
            units=units,
            iterations=iterations,
            attention=attention,
            score_activation=score_activation,
            dropout=dropout,
            last=last,
            backbone=backbone and backbone.reference,
            train_backbone=train_backbone,
        )

    @staticmethod
    def endpoint(backbone, arguments):
        """The vector that the backbone makes of a frame: fc6 of VGG-16, section 2.1."""
        return find_backbone(backbone).vector

    def supervised(self, labels, outputs, sample_weight=None, mask=None):  # no step is padded
        return supervise_steps(labels, outputs["step_logits"], sample_weight)  # eq. (8)

    def explain(self, outputs, mask=None):
        """The canonical maps of a batch of outputs: `{"where": (B, T, 1, 1), "when": (B, T)}`.

        `when` is the mean of the weights of the last iterations, those that make the decision.
        This paper has no spatial attention: `where` is one, a vector having a single cell.
        """
        weights = ops.convert_to_tensor(outputs["temporal_attention"])
        when = ops.mean(weights[:, -self.config["last"] :], axis=1)
        where = ops.ones_like(when)[:, :, None, None]
        return without_padding({"where": where, "when": divided_by_sum(when, 1)}, mask)

    def get_config(self):
        return {**super().get_config(), **self.config}


def _average(features, units, iterations, dropout):
    """Section 3.3, the baseline: the mean over the frames feeds the same two LSTM layers."""
    mean = layers.GlobalAveragePooling1D(name="mean_frame")(features)
    hidden = layers.RepeatVector(iterations, name="repeat_mean")(mean)
    for i in (1, 2):
        hidden = layers.Dropout(dropout, name=f"dropout_{i}")(hidden)
        hidden = layers.LSTM(units, return_sequences=True, name=f"lstm_{i}")(hidden)
    uniform = EqualWeights((1,), dtype="float32", name="equal_weights")(features)
    return hidden, ops.repeat(uniform[:, None], iterations, axis=1)


def _check_arguments(num_classes, units, iterations, last, attention, score_activation, dropout):
    check_at_least(2, num_classes=num_classes)
    check_at_least(1, units=units, iterations=iterations, last=last)
    check_dropout(dropout)
    check_option("attention", attention, ("temporal", "none"))
    check_option("score_activation", score_activation, ("tanh", None))
    if last > iterations:
        raise ValueError(f"last must be at most iterations={iterations}, got {last}")
