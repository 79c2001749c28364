"""STA-CNN: Convolutional Spatial-Temporal Attention Learning for Action Recognition.

Hao Yang, Chunfeng Yuan, Li Zhang, Yunda Sun, Weiming Hu, Stephen J. Maybank. STA-CNN:
Convolutional Spatial-Temporal Attention Learning for Action Recognition. IEEE Transactions on Image
Processing, 2020.

    video (B,S,H,W,3L), a snippet of L frames from each of S segments
    first frame, or all flow frames -> backbone -> features (h,w,C)
    snippet -> attention network, or the backbone itself -> its features (h',w',M)
    its features -> scores of each cell's own, softmax = weights (h,w)            eq. (7)-(8)
    features, weights -> sum over the cells -> dropout -> step logits (B,S,K)      eq. (9)
    its features -> mean over the cells -> auxiliary logits (B,S,K)                eq. (5)
    step logits -> confidences alpha -> segments that are trained, beta            eq. (1)-(2)
    step logits, alpha -> probabilities of the video                               eq. (11)

Objective, algorithm 1 and eq. (10): mean over videos of the mean over the selected segments of
(cross-entropy of the step logits + lambda cross-entropy of the auxiliary logits), where lambda is
`aux_weight`. Which segments are selected has no gradient. TS(N, top_n) of the paper is `groups=1`
and `keep=top_n` on S = N segments; TS(N x M, N x top_m) is `groups=N` and `keep=top_m` on N x M.

Differences from the paper, and notes:
  - Sums over the selected segments become means, so that the learning rate does not depend on how
    many there are.
  - Algorithm 1 averages the losses of the selected segments (`consensus="loss"`). Table 2 trains
    SAM-CNN2 and SAM-CNN3 on the average of the predictions of three segments instead, as TSN does:
    `consensus="prediction"` with `groups=3`, `keep=1` on 3 segments. What is averaged is not said:
    here the logits, as in TSN, and those of the auxiliary classifier likewise.
  - Eq. (1) is infinite where a segment is certain: the entropy is at least 1e-6.
  - Eq. (11) is divided by the sum of its weights, or a nearly certain segment sets the scale of the
    video's scores; `test_pooling="confidence_sum"` is as printed.
  - Eq. (9) prints scores before the softmax and 1/(h w); the weights after it, without the factor,
    are used: uniform weights are then the mean over the cells that ImageNet's classifiers know.
  - Eq. (5) sums over the cells; its text says global average pooling, so the mean is used.
  - Eq. (6) lacks a softmax and a minus sign. lambda is not given: 0.3 is GoogLeNet's, our choice.
  - FlowNetS halves 224 pixels to 4x4, eq. (9) needs 7x7: "flownet_s" does not halve the sixth time.
    "flownet_s_strided" does, and its scores are resized. The paper counts "six max-pooling layers"
    where FlowNetS has convolutions of stride 2; "flownet_s_pooled" has the former.
  - A snippet is two RGB frames for the attention network; which of them the classifier sees
    is not said: here the first one.
  - Selection needs two passes in training, the first in inference mode. They agree only as far as
    batch normalization does: freeze it, as the references do.
  - spatial="none", the baseline of table 2, leaves out the auxiliary loss with the attention, and
    an attention network of its own (24.1 million parameters of FlowNetS). With "shared" and
    `aux_weight=0` only the scores differ, 50,176 parameters for 7x7x1024. The baselines of the
    temporal attention are `groups=1` with `keep` = S in training, `test_pooling="average"` in test.
  - Not stated: dropout (that of TSN, for RGB) and initial values. Attention starts uniform, and the
    classifiers as those of TSN.

Protocol: the recipe `sta_cnn` and the paper.
  - Sampling: a snippet anywhere in each segment in training, in its middle in test, where 25
    segments have one each, section 4.1. Segments are equal fractions of a video; those of TSN are
    whole numbers of frames, so that it never draws from the remainder at the end.
  - Frames: the paper resizes to 340x256, crops 224x224 at corners and the center in several scales
    and flips; in test it averages ten crops. Here one box of 80 to 100 % of each side is cut
    anywhere, stretched to 224x224 and flipped; in test the whole frame is stretched, once.
  - Training: rates, epochs and weight decay as printed; the 128 videos of a batch are 32 steps of
    4. From TSN: partial batch normalization, the largest norm of gradients (40, flow 20). TSN also
    has other learning rates for biases and the first convolution: see `multipliers`.
  - Label of a video: eq. (11) on its one clip. Streams are fused by their softmax; the weights of
    the streams are not stated.
"""

import keras
from keras import ops

from keras_attn.backbones import find_backbone
from keras_attn.layers import ConfidencePool, SelectedSegments
from keras_attn.models.base import VideoClassifier
from keras_attn.models.padding import divided_by_sum, without_padding
from keras_attn.models.segment_network import (
    FLOW_NETWORKS,
    attention_features,
    segment_input,
    segment_outputs,
)
from keras_attn.models.steps import supervise_steps
from keras_attn.utils.checks import check_at_least, check_dropout, check_input_shape, check_option

SPATIAL = ("location", "none")
ATTENTION_NETWORKS = ("shared", *FLOW_NETWORKS, "tiny")
# What is averaged over the selected segments in training.
CONSENSUS = ("loss", "prediction")


@keras.saving.register_keras_serializable("keras_attn")
class STACNN(VideoClassifier):
    """Hard attention over segments, trained where it is confident; soft attention over cells.

    Inputs: `{"features": (B, S, h, w, C)}`, or with `backbone` `{"video": (B, S, H, W, 3L)}`:
    the L frames of a snippet side by side, values 0..255. Outputs: `logits` (B, K), the
    logarithm of the pooled probabilities of the video; `step_logits` (B, S, K);
    `spatial_attention` (B, S, h, w); `temporal_attention` (B, S), the weight of each segment in
    `logits`; `selected` (B, S), one for the segments that are trained; with an auxiliary loss
    `aux_logits` (B, S, K). Labels and losses: see `VideoClassifier`.

    Args:
        num_classes: Number K of classes.
        input_shape: Shape of the input without the batch; S may be None.
        groups: Number of runs into which the segments of a video are divided.
        keep: Number of segments of each run that are trained, the most confident ones.
        consensus: What is averaged over these in training: their "loss", algorithm 1, or their
            "prediction", the logits, whose cross-entropy is the loss of the video; table 2 and TSN.
        spatial: "location" or "none" (the mean over the cells, and no auxiliary loss).
        attention_network: "shared" is the backbone, which sees all channels: RGB, or stacked flow.
            The others are networks of their own on two RGB frames, of which the backbone sees the
            first: "flownet_s", "flownet_s_strided", "flownet_s_pooled" and the small "tiny".
        aux_weight: Factor lambda of the auxiliary loss, eq. (10); 0 for none.
        dropout: Rate for the input of the classifier.
        test_keep: Number of segments that decide for the video, eq. (11); section 4.1.
        test_pooling: `pooling` of `keras_attn.layers.ConfidencePool`.
        attention_weights: File that `FlowPretraining.save_attention_network` wrote, or public
            weights of FlowNetS by PyTorch's names (`backbones.convert`). For building only.
        backbone: What `keras_attn.backbones.find_backbone` takes: a name, "hub:PRESET" or a
            `keras.Model`; or None for features.
        train_backbone: Whether the backbone learns. In the paper it does. Saved with the model.
        backbone_weights: Weights of the backbone, as for `build_backbone`. For building only, not
            part of the configuration: a saved model holds its weights itself.

    Raises:
        ValueError: For an argument that cannot work.
    """

    def __init__(
        self,
        num_classes,
        input_shape=(9, 7, 7, 1024),
        groups=3,  # table 1: TS(3x3, 3x1) is best
        keep=1,
        consensus="loss",  # algorithm 1
        spatial="location",
        attention_network="shared",  # section 3.3: of the flow stream
        aux_weight=0.3,  # lambda of eq. (10), ours
        dropout=0.8,  # not stated
        test_keep=15,  # section 4.1
        test_pooling="confidence",
        backbone=None,
        backbone_weights=None,
        attention_weights=None,
        train_backbone=True,
        **kwargs,
    ):
        input_shape, backbone = tuple(input_shape), find_backbone(backbone)
        layout = "(S, h, w, C) of features or (S, H, W, 3L) of snippets of L frames"
        check_input_shape(input_shape, layout)
        check_at_least(2, num_classes=num_classes)
        check_at_least(1, test_keep=test_keep)
        check_at_least(0, aux_weight=aux_weight)
        check_option("consensus", consensus, CONSENSUS)
        check_dropout(dropout)
        _check_attention(spatial, attention_network, attention_weights)
        _check_channels(input_shape[-1], attention_network, backbone)
        # === Graph ===
        inputs, segments, snippet, features = segment_input(
            backbone, input_shape, backbone_weights, attention_network == "shared"
        )
        attended = features if spatial == "location" else None
        if attended is not None and attention_network != "shared":
            attended = attention_features(snippet, attention_network, attention_weights)
        outputs = segment_outputs(features, attended, num_classes, aux_weight, dropout)
        network = keras.Model(snippet, outputs, name="segment")

        outputs = SelectedSegments(network, groups, keep, name="segments")(segments)
        outputs["step_logits"] = outputs.pop("logits")
        pool = ConfidencePool(test_keep, test_pooling, dtype="float32", name="confidence_pool")
        outputs["logits"], outputs["temporal_attention"] = pool(outputs["step_logits"])
        super().__init__(
            inputs,
            outputs,
            loss_term_names=["aux"] if "aux_logits" in outputs else [],
            train_backbone=train_backbone,
            **kwargs,
        )
        # === Config ===
        self.config = dict(
            num_classes=num_classes,
            input_shape=input_shape,
            groups=groups,
            keep=keep,
            consensus=consensus,
            spatial=spatial,
            attention_network=attention_network,
            aux_weight=aux_weight,
            dropout=dropout,
            test_keep=test_keep,
            test_pooling=test_pooling,
            backbone=backbone and backbone.reference,
            train_backbone=train_backbone,
        )

    # Of padded segments none is selected, so that no loss needs the mask.

    def supervised(self, labels, outputs, sample_weight=None, mask=None):
        return self._consensus(labels, outputs["step_logits"], outputs["selected"], sample_weight)

    def loss_terms(self, labels, outputs, sample_weight=None, mask=None):
        if "aux_logits" not in outputs:
            return {}
        arguments = labels, outputs["aux_logits"], outputs["selected"], sample_weight
        mean = self.label_loss(*self._consensus(*arguments))  # eq. (6)
        return {"aux": self.config["aux_weight"] * mean}  # eq. (10)

    def _consensus(self, labels, step_logits, selected, sample_weight=None):
        """The arguments of a loss that averages losses or logits over the selected segments."""
        if self.config["consensus"] == "prediction":
            return labels, ops.einsum("bs,bsk->bk", _shares(selected), step_logits), sample_weight
        labels, logits, weights = supervise_steps(labels, step_logits, sample_weight)
        return labels, logits, weights * _shares(selected)

    def explain(self, outputs, mask=None):
        """The canonical maps of a batch of outputs: `{"where": (B, S, h, w), "when": (B, S)}`.

        Its two attentions: `when` is zero for segments that do not count for the video.
        """
        where = ops.convert_to_tensor(outputs["spatial_attention"])
        when = ops.convert_to_tensor(outputs["temporal_attention"])
        maps = {"where": divided_by_sum(where, (2, 3)), "when": divided_by_sum(when, 1)}
        return without_padding(maps, mask)

    def step_probabilities(self, outputs):
        """The decision at each segment, `(B, S, K)`."""
        return ops.softmax(ops.convert_to_tensor(outputs["step_logits"]))

    def check_frames(self, frames):
        """`ValueError` if `test_keep` segments cannot be kept of `frames`."""
        super().check_frames(frames)
        keep, pooling = self.config["test_keep"], self.config["test_pooling"]
        if pooling != "average" and keep > frames:
            raise ValueError(f"test_keep must be at most the {frames} segments given, got {keep}")

    @property
    def image_network(self):
        """The backbone of a model that takes frames."""
        if any(layer.name == "backbone" for layer in self.layers):  # it sees all segments
            return super().image_network
        return self.get_layer("segments").layer.get_layer("backbone")

    @property
    def per_frame(self):
        """Whether a snippet passes nothing but the backbone."""
        return self.config["attention_network"] == "shared" and super().per_frame

    def get_config(self):
        return {**super().get_config(), **self.config}


def _shares(selected):
    """Weights of the segments in the mean over the selected ones: `(B, S) -> (B, S)`."""
    return divided_by_sum(selected, 1)


def _check_attention(spatial, attention_network, attention_weights):
    check_option("spatial", spatial, SPATIAL)
    check_option("attention_network", attention_network, ATTENTION_NETWORKS)
    pretrained = spatial == "location" and attention_network in FLOW_NETWORKS
    if attention_weights is not None and not pretrained:
        raise ValueError(
            f'attention_weights are for spatial="location" with {", ".join(FLOW_NETWORKS)}, '
            f"got {spatial!r} with {attention_network!r}"
        )


def _check_channels(channels, attention_network, backbone):
    if attention_network == "shared":
        if backbone and channels != 3 and channels % 2:
            raise ValueError(
                "input_shape must end with the 3 channels of an RGB frame, or with 2 for each flow "
                f"frame of a snippet, got {channels}"
            )
    elif backbone is None:
        raise ValueError(
            f"attention_network={attention_network!r} looks at frames: give a backbone, or "
            'attention_network="shared" for its cached features'
        )
    elif channels != 6:
        raise ValueError(
            f"input_shape must end with the 6 channels of two RGB frames for "
            f"attention_network={attention_network!r}, got {channels}"
        )
