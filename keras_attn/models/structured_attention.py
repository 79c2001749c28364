"""Attention with structure regularization for action recognition.

Yuhui Quan, Yixin Chen, Ruotao Xu, Hui Ji. Attention with Structure Regularization for Action
Recognition. Computer Vision and Image Understanding, 2020.

    video -> InceptionV3 on each frame -> features (B,T,h,w,C), or these from a cache
    top state of step t-1 -> weights over the cells of frame t (B,h,w)           eq. (8)
    features, weights -> glimpse (B,C) -> LSTM -> LSTM -> top state (B,U)        eq. (9), (2)-(6)
    top state -> tanh(B h) = step logits (B,T,K)                                 eq. (7)
    mean over t of their softmax = probabilities of the clip                     eq. (13)

Objective, eq. (11)-(12): mean over clips of [sum over t of (cross-entropy of step t + lambda
penalty of its weights)] + gamma sum theta^2, where lambda is `penalty` and gamma `weight_decay`.

Differences from the paper, and notes:
  - The paper prints frames of 224x224 pixels and maps of 8x8; InceptionV3 gives 8x8x2048 for 299
    pixels (5x5x2048 for 224), so 299 is used.
  - Sums over clips, eq. (12), become means, or the batch size would scale the learning rate. The
    sum over t stays. lambda and gamma keep their weight relative to a clip.
  - Shapes in the text that cannot multiply are corrected: w_i in eq. (8) has U entries, the second
    LSTM's matrix is 4U x 2U, and eq. (13) uses the top state.
  - The first mask is uniform because the states start at zero and eq. (8) has no bias.
  - The printed penalty (attention="structured", an l2,1 norm) is minimized by the uniform mask: as
    the weights sum to one, it has its minimum, 1/`block` per step, for every mask that is constant
    inside each block. It smooths within blocks and cannot select few of them.
    attention="concentrated" (ours, not the paper's) penalizes the entropy over blocks instead.
  - The paper calls both the number of blocks per side and the side of a block "block size"; here
    `block` and `stride` are in cells. Cells in no block escape the penalty: a warning says so.
  - tanh in eq. (7) bounds the logits by -1 and 1, so the cross-entropy of a step cannot fall below
    log(1 + (K - 1) exp(-2)): 0.856 for 11 classes, 2.050 for 51. `logit_tanh=False` leaves it out.
  - attention="none", table 5, is the same network with equal weights: it lacks the 32,768
    parameters of the scores (U times the cells) and nothing else.
  - Not stated, Keras defaults here: initial values, and a forget-gate bias that starts at one.

Protocol: the recipe `structured_attention` and the paper.
  - Sampling: clips of 30 frames begin at every second frame, section 3.4. Not stated: here a last
    clip ends with the video, and a video shorter than a clip repeats its last frame.
  - Frames: whole ones, stretched to a square. The overlap of the clips is the only augmentation.
  - Training: as printed. The 256 clips of a batch are 32 steps of 8; the learning rate stays.
  - Label of a video: majority vote of its clips, eq. (14)-(15). Of classes with as many votes the
    one with the larger mean probability wins; the paper has no rule for ties.
  - UCF-11: `keras-attn split --train-groups 15` draws 15 of the 25 groups of each class; mean of
    five seeds.
"""

import warnings

import keras
from keras import layers, ops

from keras_attn import losses
from keras_attn.backbones import features_input, find_backbone
from keras_attn.backbones.model_input import check_maps
from keras_attn.layers import AttendedLSTM, PerFrame
from keras_attn.layers.attended_lstm import decay, lstm_decay
from keras_attn.models.base import VideoClassifier
from keras_attn.models.padding import EqualWeights, divided_by_sum, without_padding
from keras_attn.models.steps import ClipLogits, supervise_steps
from keras_attn.utils.checks import check_at_least, check_dropout, check_input_shape, check_option

# Penalties on the attention, by the names in the results; Quan et al., table 5.
PENALTIES = {
    "structured": losses.block_sparsity,
    "concentrated": losses.block_entropy,
    "classic": None,
    "none": None,  # and no attention: the mean over the cells
}


@keras.saving.register_keras_serializable("keras_attn")
class StructuredAttentionLSTM(VideoClassifier):
    """Soft spatial attention from the last state, with a penalty on its structure.

    Inputs: `{"features": (B, T, h, w, C)}`, or with `backbone` `{"video": (B, T, H, W,
    channels)}`, bytes 0..255. Outputs: `logits` (B, K), whose softmax is the mean of the steps'
    probabilities, `step_logits` (B, T, K) and `spatial_attention` (B, T, h, w). Labels and
    losses: see `VideoClassifier`.

    Args:
        num_classes: Number K of classes.
        input_shape: Shape of the input without the batch; T may be None.
        units: Size of the states of both LSTM layers.
        attention: "structured", "concentrated", "classic" (no penalty) or "none" (the mean over the
            cells).
        block: Cells along a side of a block, for the first two.
        stride: Cells from one block to the next; None for blocks side by side.
        penalty: Factor lambda of the penalty, eq. (11).
        current_frame: Whether the current frame joins the state in the scores, section 4.4.
        logit_tanh: Whether a tanh bounds the logits, eq. (7).
        dropout: Rate for the inputs of the LSTM layers and of the classifier.
        weight_decay: Factor gamma of the squared weights, eq. (11).
        backbone: What `keras_attn.backbones.find_backbone` takes: a name, "hub:PRESET" or a
            `keras.Model`; or None for features.
        train_backbone: Whether the backbone learns. In the paper it does not. Saved with the model.
        backbone_weights: Weights of the backbone, as for `build_backbone`. For building only, not
            part of the configuration: a saved model holds its weights itself.

    Raises:
        ValueError: For an argument that cannot work.
    """

    clip_aggregation = "vote"  # eq. (14)-(15)

    def __init__(
        self,
        num_classes,
        input_shape=(30, 8, 8, 2048),
        units=512,
        attention="structured",
        block=2,  # section 4.2
        stride=None,
        penalty=1e-4,  # lambda, section 4.2
        current_frame=False,
        logit_tanh=True,
        dropout=0.5,  # section 4.2
        weight_decay=1e-5,  # gamma, section 4.2
        backbone=None,
        backbone_weights=None,
        train_backbone=False,
        **kwargs,
    ):
        _check_arguments(num_classes, input_shape, units, dropout)
        _check_attention(attention, penalty, weight_decay, current_frame)
        # === Graph ===
        input_shape = tuple(input_shape)
        backbone = find_backbone(backbone)
        inputs, features = features_input(backbone, input_shape, backbone_weights)
        check_maps(features, backbone)
        if PENALTIES[attention]:
            _check_blocks(*features.shape[2:4], block, stride)
        if attention == "none":
            hidden, weights = _average(features, units, dropout, weight_decay)
        else:
            hidden, weights = AttendedLSTM(
                units, dropout, current_frame, weight_decay, name="attended_lstm"
            )(features)
        hidden = layers.Dropout(dropout, name="dropout")(hidden)
        step_logits = _classifier(num_classes, logit_tanh, weight_decay)(hidden)
        super().__init__(
            inputs,
            {
                "logits": ClipLogits(dtype="float32", name="clip_logits")(step_logits),  # eq. (13)
                "step_logits": step_logits,
                "spatial_attention": weights,
            },
            loss_term_names=[f.__name__ for f in [PENALTIES[attention]] if f],
            train_backbone=train_backbone,
            **kwargs,
        )
        # === Config ===
        self.config = dict(
            num_classes=num_classes,
            input_shape=input_shape,
            units=units,
            attention=attention,
            block=block,
            stride=stride,
            penalty=penalty,
            current_frame=current_frame,
            logit_tanh=logit_tanh,
            dropout=dropout,
            weight_decay=weight_decay,
            backbone=backbone and backbone.reference,
            train_backbone=train_backbone,
        )

    def supervised(self, labels, outputs, sample_weight=None, mask=None):
        return supervise_steps(labels, outputs["step_logits"], sample_weight, mask)

    def loss_terms(self, labels, outputs, sample_weight=None, mask=None):
        penalty = PENALTIES[self.config["attention"]]
        if penalty is None:
            return {}
        value = penalty(outputs["spatial_attention"], self.config["block"], self.config["stride"])
        return {penalty.__name__: self.config["penalty"] * value}

    def explain(self, outputs, mask=None):
        """The canonical maps of a batch of outputs: `{"where": (B, T, h, w), "when": (B, T)}`.

        `where` is the spatial attention. This paper has no temporal attention: `when` is the
        probability that each step gives to the clip's top class, divided by its sum over the steps.
        """
        where = ops.convert_to_tensor(outputs["spatial_attention"])
        probabilities = ops.softmax(ops.convert_to_tensor(outputs["step_logits"]))
        top = ops.argmax(ops.convert_to_tensor(outputs["logits"]), axis=-1)
        top = ops.one_hot(top, probabilities.shape[-1], dtype=probabilities.dtype)
        when = ops.einsum("btk,bk->bt", probabilities, top)
        seen = ops.sum(where, axis=(2, 3)) > 0  # padded frames have no attention
        maps = {"where": divided_by_sum(where, (2, 3)), "when": ops.where(seen, when, 0)}
        return without_padding(maps, mask)

    def step_probabilities(self, outputs):
        return ops.softmax(ops.convert_to_tensor(outputs["step_logits"]))

    def get_config(self):
        return {**super().get_config(), **self.config}


def _average(features, units, dropout, weight_decay):
    """Table 5, "without attention": the mean over the cells feeds the same two LSTM layers."""
    hidden = PerFrame(layers.GlobalAveragePooling2D(), name="mean_features")(features)
    for i in (1, 2):
        hidden = layers.Dropout(dropout, name=f"dropout_{i}")(hidden)
        hidden = layers.LSTM(
            units, return_sequences=True, name=f"lstm_{i}", **lstm_decay(weight_decay)
        )(hidden)
    return hidden, EqualWeights((2, 3), dtype="float32", name="equal_weights")(features)


def _classifier(num_classes, logit_tanh, weight_decay):
    return layers.Dense(
        num_classes,
        activation="tanh" if logit_tanh else None,  # eq. (7)
        use_bias=False,
        kernel_regularizer=decay(weight_decay),
        name="classifier",
    )


def _check_arguments(num_classes, input_shape, units, dropout):
    check_input_shape(input_shape, "(T, h, w, C) of features or (T, H, W, channels) of a video")
    check_at_least(2, num_classes=num_classes)
    check_at_least(1, units=units)
    check_dropout(dropout)


def _check_attention(attention, penalty, weight_decay, current_frame):
    check_option("attention", attention, PENALTIES)
    check_at_least(0, penalty=penalty, weight_decay=weight_decay)
    if current_frame and attention == "none":
        raise ValueError('current_frame=True needs an attention, got attention="none"')


def _check_blocks(height, width, block, stride):
    uncovered = losses.uncovered_cells(height, width, block, stride)
    if uncovered:
        warnings.warn(
            f"{uncovered} of the {height * width} cells of the {height}x{width} map lie in no "
            f"block (block={block}, stride={stride}), so the penalty does not see attention there. "
            "Choose a block and a stride that cover the map.",
            stacklevel=4,
        )
