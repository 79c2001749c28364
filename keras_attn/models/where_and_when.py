"""Where and when to look? Spatio-temporal attention for action recognition in videos.

Lili Meng et al. Where and When to Look? Spatio-temporal Attention for Action Recognition in Videos.
arXiv 1810.04511, 2018; also as Interpretable Spatio-temporal Attention for Video Action
Recognition, ICCV Workshops 2019.

    video -> ResNet-50 on each frame -> features (B,T,h,w,C), or these from a cache
    each frame -> mask (B,T,h,w); features * mask -> frames (B,T,h,w,C)            eq. (1)
    state of iteration t-1, frames -> weights over all frames (B,T) -> glimpse     eq. (2)-(4)
    glimpse -> ConvLSTM, starting from the mean frame's states -> state           eq. (5)
    mean of the states over iterations and cells (B,U) -> logits (B,K)             eq. (6)

Objective, eq. (7): mean over clips of cross-entropy + `total_variation` and `contrast` of the mask,
eq. (8)-(9), + `unimodality` of the weights, eq. (10). Weight decay belongs to the optimizer.

Differences from the paper, and notes:
  - As printed, the score of a frame in eq. (2) is a term of the state plus a term of the frame. The
    softmax over the frames cancels the first: every iteration has the same weights.
    energy="tanh", the default, puts a tanh layer over the sum, as Bahdanau et al. do, whom the
    paper names; energy="additive" is the printed form.
  - The factor 1/n in eq. (4) is left out, as in the authors' code: beside weights that sum to one
    it shrinks the input of the ConvLSTM by the number of frames. `glimpse="mean"` is as printed.
  - temporal_mode="posthoc" is what the authors' code did for UCF101-24: the ConvLSTM runs over the
    frames in their order from zero states, each state gets a score, and the weighted mean of the
    states is classified. It depends on the order of the frames; the iterative form does not.
  - Table 1, "w/o temporal attention", does not say what takes its place. temporal_mode="uniform",
    ours, is the iterative network with weights 1/T, without the 1.3 million parameters that score
    frames (2,560 with energy="additive"). temporal_mode="none" is the control of "posthoc": the
    mean of its states. That network lacks the initial ones too: 70.8 million parameters for 51
    classes, where the iterative one has 119.3, so it is no control for that one.
  - Not stated, as in the authors' code: the layers of the mask and its sigmoid, the kernels' sizes,
    the initial networks, and the dropout, which takes a channel from all frames of a clip.
  - Gate biases start at zero, and none is added to the forget gate. The authors' ConvLSTM (that of
    ndrplz/ConvLSTM_pytorch by its arguments; their repositories lack the file) leaves them to
    PyTorch, which draws them from +-1 / sqrt(9 (C + units)), 0.0066 for C = 2048.
  - Their code takes energies out of the graph in the iterative form, so that neither those weights
    nor the unimodality learned; here they do. A later script of theirs adds the sum of the mask
    times 1e-5. It is not in the paper and not here.
  - Losses are means over clips, or the batch size would scale their weights (`keras_attn.losses`).
  - The head has 119 million parameters on 2048 channels, five times the ResNet-50 below it.
    `reduce` (ours) first brings the channels down by a 1x1 convolution.

Protocol: the recipe `where_and_when` and the paper.
  - Sampling: 50 frames per video; how they are chosen is not stated. The authors' code takes the
    first 50 of every (N // 50)-th frame, always the same, and so misses the end of most videos.
    Here it is one frame of each of 50 equal parts: any in training, the middle in test.
  - Frames: whole ones, stretched to 224x224, as in their code. The augmentation that the paper
    names (that of ResNet) is for the fine-tuning of the backbone, which comes first and is not
    part of the recipe.
  - Training: not stated. Theirs: Adam, 1e-4, weight decay 1e-4, 30 clips per batch, 200 epochs; the
    learning rate falls by 10 when the loss of the *test* set stands still for 5 epochs, and the
    best epoch of the *test* set is reported. Here: 50 epochs, the rate stays, and the best epoch
    of the validation subset is kept. Their total variation is a sum over the batch.
  - Label of a video: that of its one clip.
"""

import keras
from keras import layers, ops

from keras_attn import losses
from keras_attn.backbones import features_input, find_backbone
from keras_attn.backbones.model_input import check_maps
from keras_attn.layers import ConvLSTMAttention, PerFrame, SaliencyMask
from keras_attn.layers.conv_lstm_attention import GLIMPSES
from keras_attn.models.base import VideoClassifier
from keras_attn.models.padding import (
    EqualWeights,
    FrameWeights,
    Masked,
    divided_by_sum,
    without_padding,
)
from keras_attn.utils.checks import check_at_least, check_dropout, check_input_shape, check_option

# The shape of dropout that takes a channel from all cells of all frames of a clip, or from none.
_WHOLE_CHANNELS = (None, 1, 1, 1, None)
# Modes with weights that the network computes, and others.
_SCORED = ("iterative", "posthoc")
TEMPORAL_MODES = (*_SCORED, "uniform", "none")
# Gives a mask of zeros a distribution over its cells; it changes no other mask.
_TINY = 1e-30


@keras.saving.register_keras_serializable("keras_attn")
class WhereAndWhen(VideoClassifier):
    """A mask over each frame and soft attention over the frames, regularized by three penalties.

    Inputs: `{"features": (B, T, h, w, C)}`, or with `backbone` `{"video": (B, T, H, W,
    channels)}`, bytes 0..255. Outputs: `logits` (B, K), `spatial_attention` (B, T, h, w), the
    mask, between 0 and 1, and `temporal_attention`, which sums to one over the last axis: (B,
    I, T) with I = T iterations ("iterative", "uniform"), or (B, T). Labels and losses: see
    `VideoClassifier`.

    Args:
        num_classes: Number K of classes.
        input_shape: Shape of the input without the batch; T may be None.
        units: Number of channels of the ConvLSTM's states.
        reduce: Number of channels to which a 1x1 convolution reduces the features; None for none.
        spatial: "mask" or "none" (a mask of ones).
        temporal_mode: "iterative" or "posthoc", see above; "uniform", "iterative" with the weight
            1/T for every frame; or "none", the mean of the states that "posthoc" weighs.
        energy: Scores of "iterative": "tanh" or "additive", see
            `keras_attn.layers.ConvLSTMAttention`.
        attention_units: Size of the hidden layer of the "tanh" scores.
        glimpse: Input of the ConvLSTM of "iterative": "sum" or "mean" of the weighted frames.
        total_variation: Factor of the total variation of the mask, eq. (8).
        contrast: Factor of the contrast of the mask, eq. (9).
        unimodality: Factor of the unimodality of the temporal weights, eq. (10), for at least 3
            frames. As for the two factors above, 0 leaves the penalty out.
        unimodality_reduction: "sum", as printed, or "sqrt_mean", as in the authors' code.
        dropout: Rate at which whole channels of the features are dropped.
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
        input_shape=(50, 7, 7, 2048),  # section 4.1
        units=512,  # section 4.1
        reduce=None,
        spatial="mask",
        temporal_mode="iterative",
        energy="tanh",
        attention_units=512,  # ours
        glimpse="sum",
        total_variation=1e-5,  # section 4.1
        contrast=1e-4,  # section 4.1
        unimodality=1.0,  # section 4.1
        unimodality_reduction="sum",
        dropout=0.2,  # the authors' code
        backbone=None,
        backbone_weights=None,
        train_backbone=False,
        **kwargs,
    ):
        # === Config ===
        backbone = find_backbone(backbone)
        config = dict(
            num_classes=num_classes,
            input_shape=tuple(input_shape),
            units=units,
            reduce=reduce,
            spatial=spatial,
            temporal_mode=temporal_mode,
            energy=energy,
            attention_units=attention_units,
            glimpse=glimpse,
            total_variation=total_variation,
            contrast=contrast,
            unimodality=unimodality,
            unimodality_reduction=unimodality_reduction,
            dropout=dropout,
            backbone=backbone and backbone.reference,
            train_backbone=train_backbone,
        )
        _check(config)
        # === Graph ===
        inputs, features = features_input(backbone, tuple(input_shape), backbone_weights)
        check_maps(features, backbone)
        if reduce is not None:
            features = layers.Dense(reduce, name="reduction")(features)
        features = layers.Dropout(dropout, noise_shape=_WHOLE_CHANNELS, name="dropout")(features)
        mask = _mask(features, spatial)
        frames = Masked(name="masked")(features, mask)  # eq. (1)
        if temporal_mode in ("iterative", "uniform"):
            energy = "uniform" if temporal_mode == "uniform" else energy
            states, weights = ConvLSTMAttention(
                units, energy, attention_units, glimpse, name="conv_lstm_attention"
            )(frames)
            video = layers.GlobalAveragePooling1D(name="mean_state")(states)  # eq. (6)
        else:
            video, weights = _posthoc(frames, units, scored=temporal_mode == "posthoc")
        outputs = {
            "logits": layers.Dense(num_classes, name="classifier")(video),
            "spatial_attention": mask,
            "temporal_attention": weights,
        }
        super().__init__(
            inputs,
            outputs,
            loss_term_names=_penalties(config),
            train_backbone=train_backbone,
            **kwargs,
        )
        self.config = config

    def loss_terms(self, labels, outputs, sample_weight=None, mask=None):
        return {
            name: self.config[name] * penalty(outputs, mask)
            for name, penalty in _penalties(self.config).items()
        }

    def explain(self, outputs, mask=None):
        """The canonical maps of a batch of outputs: `{"where": (B, T, h, w), "when": (B, T)}`.

        `where` is the mask divided by its sum over the cells of a frame, `when` the temporal
        attention, its mean over the iterations where there are some.
        """
        cells = ops.convert_to_tensor(outputs["spatial_attention"]) + _TINY
        when = ops.convert_to_tensor(outputs["temporal_attention"])
        if len(when.shape) == 3:
            when = ops.mean(when, axis=1)
        where = cells / ops.sum(cells, axis=(2, 3), keepdims=True)
        return without_padding({"where": where, "when": divided_by_sum(when, 1)}, mask)

    def get_config(self):
        return {**super().get_config(), **self.config}


def _mask(features, spatial):
    if spatial == "none":  # table 1, "w/o spatial attention"
        return EqualWeights((), name="spatial_attention")(features)
    return PerFrame(SaliencyMask(), name="spatial_attention")(features)


def _posthoc(frames, units, scored):
    """The authors' other form: a ConvLSTM over the frames in order, then weights of its states.

    States that are not `scored` weigh the same.
    """
    states = layers.ConvLSTM2D(
        units,
        3,
        padding="same",
        unit_forget_bias=False,
        return_sequences=True,
        name="conv_lstm",
    )(frames)
    states = PerFrame(layers.GlobalAveragePooling2D(), name="mean_states")(states)
    if scored:
        # A bias would be canceled by the softmax.
        scores = layers.Dense(1, use_bias=False, name="temporal_scores")(states)
        weights = FrameWeights(name="temporal_weights")(scores)
    else:
        weights = EqualWeights((1,), dtype="float32", name="temporal_weights")(states)
    return ops.einsum("bt,btu->bu", ops.cast(weights, states.dtype), states), weights


def _penalties(config):
    """Functions of outputs and mask, by the name of the argument that weighs each: eq. (8)-(10)."""
    penalties = {}
    if config["spatial"] != "none":
        penalties["total_variation"] = lambda y, _: losses.total_variation(y["spatial_attention"])
        penalties["contrast"] = lambda y, _: losses.contrast(y["spatial_attention"])
    if config["temporal_mode"] in _SCORED:
        penalties["unimodality"] = lambda y, mask: losses.unimodality(
            y["temporal_attention"], config["unimodality_reduction"], mask
        )
    return {name: penalty for name, penalty in penalties.items() if config[name]}


def _check(config):
    layout = "(T, H, W, channels) of a video" if config["backbone"] else "(T, h, w, C) of features"
    check_input_shape(config["input_shape"], layout)
    check_at_least(2, num_classes=config["num_classes"])
    counts = {name: config[name] for name in ("units", "attention_units")}
    check_at_least(1, **counts)
    if config["reduce"] is not None:
        check_at_least(4, reduce=config["reduce"])
    names = ("total_variation", "contrast", "unimodality")
    check_at_least(0, **{name: config[name] for name in names})
    check_dropout(config["dropout"])
    check_option("spatial", config["spatial"], ("mask", "none"))
    check_option("temporal_mode", config["temporal_mode"], TEMPORAL_MODES)
    check_option("energy", config["energy"], ("tanh", "additive"))
    check_option("glimpse", config["glimpse"], GLIMPSES)
    reduction = config["unimodality_reduction"]
    check_option("unimodality_reduction", reduction, losses.UNIMODALITY_REDUCTIONS)
    time = config["input_shape"][0]
    if "unimodality" in _penalties(config) and time is not None and time < 3:
        raise ValueError(
            f"input_shape must have at least 3 frames for the unimodality, got {time}: give more, "
            "or unimodality=0"
        )
