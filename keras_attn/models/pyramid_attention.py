"""Interaction-aware spatio-temporal pyramid attention networks for action classification.

Weiming Hu, Haowei Liu, Yang Du, Chunfeng Yuan, Bing Li, Stephen Maybank. Interaction-Aware
Spatio-Temporal Pyramid Attention Networks for Action Classification. Extends the paper of Yang Du
et al. at ECCV 2018.

    video -> levels of a backbone on each frame, max-pooled to the size of the last     eq. (1)
    levels -> scores of every cell for every cell of a new map -> fused, softmax     eq. (2)-(3)
    last level, weights -> one map (B,h,w,C) for all frames                               eq. (4)
    map -> the rest of the backbone, once per video -> vector (B,D) -> logits (B,K)

Objective, eq. (12): cross-entropy + beta interaction loss, eq. (8), + gamma pyramid attention
loss, eq. (10) and (14), where beta is `interaction` and gamma `pyramid`; each is a mean over
videos. The last term of eq. (12), weight decay, is the optimizer's.

Differences from the paper, and notes:
  - Eq. (12) subtracts the classification loss, which is a negative logarithm already: it is added.
    Eq. (16) averages it over frames, but behind the attention there is one map per video.
  - The first term of eq. (8) has no lower bound: it falls as the features grow, and is 1e2 to 1e4
    for a backbone's. `interaction_reduction="relative"` (ours) divides it by the squared norm of
    the features and sends them no gradient; "sum" is the printed one, "mean" divides by the
    numbers of terms.
  - The square root of eq. (10) and (14) can be of a negative number, and eq. (9) compares weights
    of l2 norm one with weights that sum to one: see `losses.pyramid` for `pyramid_form`, "safe"
    (ours) or "printed". With one level the safe form is constant.
  - Weights of l2 norm one (`aggregate_norm="l2"`, printed) do not average: the map grows with the
    root of the number of frames, by 2.9 from 3 frames in training to 25 in inference. "l1" uses the
    weights of the softmax for the map, and the others in the interaction loss only.
  - The bias in eq. (2) does not center the features, as the text says: a softmax cancels it for
    one level or fusion="sum". It is kept, since table 10 counts it. That table is met for
    Inception-ResNet-v2 and BN-Inception; its VGG-16 has more weights than a VGG-16.
  - Levels are taken before their activation (section 5.1.1); the activation that the next layer
    expects follows the attention. The lower levels are pooled into cells as even as possible, since
    35 and 17 are no multiples of 8.
  - Table 5 compares with 1x1 convolutions shared by all cells: mode="shared" weighs every cell of
    every frame by one score and sums the frames cell by cell. As one softmax is over all cells,
    its map is smaller than the others by about h * w.
  - Table 2, "0 scales" (mode="none"), is the network without the layer: the rest of the backbone
    runs on each frame, and the vectors of the frames are averaged, and with them their logits. With
    attention it runs once, on the summed map. mode="uniform" (ours) differs by the weights alone:
    they are equal, so that every cell of the map is the mean over all cells (times the root of
    their number with "l2"). Both lack the parameters of the scores, 223,424 of 54.7 million
    for three levels of Inception-ResNet-v2 and 101 classes.
  - The sizes of BN-Inception's levels in the text are GoogLeNet's.
  - Not stated, Keras defaults here: initial values of the scores (kernels of zeros could not
    learn) and of the classifier.

Protocol: the recipes `pyramid_attention`, `pyramid_attention_tsm` and the paper.
  - Sampling: (i) a frame anywhere in each of 3 equal parts in training, the middles of 25 in test.
    The parts of TSN are whole numbers of frames, so that it never draws from the remainder. (ii) is
    `clips.frames=8`. (iii) `_tsm`: 8 of 64 successive frames, from a random place in training. In
    test the text takes the first 64 of each tenth of a video, which needs 640 frames; here, as in
    TSM, ten windows are evenly spaced, and a shorter video starts again after its end.
  - Frames: random crops and flips, not described: here one box of 80 to 100 % of each side,
    stretched to a square. In test the whole frame, once; table 14 has 10 crops or 3 (TSM).
  - Training: as printed; iterations are epochs of split 1 of UCF101, so other data get other
    numbers of updates. The 64 videos of a batch are 16 steps of 4: batch normalization sees 4.
  - Label of a video: (iii) the mean of the probabilities of its clips, else that of its one clip.
"""

import warnings

import keras
from keras import layers, ops

from keras_attn.backbones import features_input, find_backbone
from keras_attn.layers import PyramidAttention
from keras_attn.layers.pyramid_attention import MODES
from keras_attn.models.base import VideoClassifier
from keras_attn.models.padding import without_padding
from keras_attn.models.pyramid_levels import (
    backbone_levels,
    feature_levels,
    level_names,
    network_behind,
)
from keras_attn.models.pyramid_map import StreamLevels, attend, average_frames
from keras_attn.utils.checks import check_at_least, check_dropout, check_option

# Below this attention of a frame its cells are not told apart: it is rounding error.
_MINIMUM_SHARE = 1e-30


@keras.saving.register_keras_serializable("keras_attn")
class PyramidAttentionNetwork(VideoClassifier):
    """Attention over the cells of all frames inside a network, from several of its levels.

    Inputs: `{"video": (B, T, H, W, 3)}`, pixels 0..255, or `(..., 2L)` of flow bytes, or `(...,
    3 + 2L)` of both for a backbone that is `reinforced`; or with `cached=True` `{"features":
    (B, T, h, w, C)}`, the output of `build_backbone(backbone, endpoint="+".join(levels))`, or
    without a backbone any features (B, T, h, w, C) or (B, T, D). Outputs: `logits` (B, K);
    `spatial_attention` (B, T, h, w), which sums to one over a video: the mean, over the cells
    of the new map, of the weights that made them; and, with attention, `interaction` and
    `pyramid` (B,), the penalties of each video. Labels and losses: see `VideoClassifier`.

    Args:
        num_classes: Number K of classes.
        input_shape: Shape of the input without the batch; T may be None. A model takes any T: 3 in
            training and 25 in inference in the paper, or 1 for images.
        levels: 1 to 4 endpoints of the backbone, from input to output, or None for the three of
            `find_backbone(backbone).pyramid`; the attention is on the last, table 1. The vector of
            a backbone can be the only level: `features` are (B, T, D) then, and the attention is
            over frames.
        level_channels: Without a backbone, the numbers of channels of the 1 to 4 levels that lie
            side by side in the features, low to high; None for one level. Behind the attention is
            then the mean over the cells.
        fusion: How the scores of the levels are joined, see `keras_attn.layers.PyramidAttention`.
        mode: "interaction", "shared", "uniform" ("interaction" with equal weights, without the two
            losses) or "none", which reads the last level only.
        interaction: Factor beta of the interaction loss, eq. (12); 0 leaves it out.
        pyramid: Factor gamma of the pyramid attention loss, eq. (12); 0 leaves it out.
        interaction_reduction: `reduction` of `keras_attn.losses.interaction`.
        pyramid_form: `form` of `keras_attn.losses.pyramid`.
        aggregate_norm: "l2" or "l1", see `keras_attn.layers.PyramidAttention`.
        dropout: Rate for the input of the classifier.
        backbone: What `keras_attn.backbones.find_backbone` takes, with `cached=True` too: the model
            holds the network behind the last level. None for features of any other network. Behind
            levels of "hub:PRESET" and of a `keras.Model` is the mean over the cells.
        cached: Whether the input is the cached levels.
        train_backbone: Whether the backbone learns, the network behind the last level included. In
            the paper it does. Saved with the model.
        backbone_weights: Weights of the backbone, as for `build_backbone`. For building only, not
            part of the configuration: a saved model holds its weights itself.

    Raises:
        ValueError: For an argument that cannot work.
    """

    streams = 1  # their features lie side by side, each with frames and scores of its own

    def __init__(
        self,
        num_classes,
        input_shape=(3, 8, 8, 2080),  # section 5: the last level of Inception-ResNet-v2
        levels=None,
        level_channels=None,
        fusion="product",  # table 3
        mode="interaction",
        interaction=1e-4,  # beta, section 5
        pyramid=1e-4,  # gamma, section 5
        interaction_reduction="relative",
        pyramid_form="safe",
        aggregate_norm="l2",
        dropout=0.5,  # section 5; 0.7 for optical flow
        backbone=None,
        cached=False,
        backbone_weights=None,
        train_backbone=True,
        **kwargs,
    ):
        _check_arguments(num_classes, dropout, mode, interaction, pyramid, interaction_reduction)
        input_shape, backbone = tuple(input_shape), find_backbone(backbone)
        names = level_names(levels, backbone) if backbone else ("features",)
        if backbone is None:
            sizes = feature_levels(input_shape, level_channels, levels, self.streams)
        elif level_channels is None:
            sizes = backbone_levels(input_shape, names, backbone, cached, self.streams)
        else:
            raise ValueError("level_channels are for features of no backbone: backbone=None")
        # === Graph ===
        inputs, features = features_input(
            None if cached else backbone, input_shape, backbone_weights, "+".join(names)
        )
        maps = StreamLevels(sizes, self.streams, name="levels")(features)
        tail = network_behind(backbone, names[-1], maps[-1].shape[2:], backbone_weights)
        if mode == "none":
            vector, outputs = average_frames(maps[-1], tail)
        else:
            attention = PyramidAttention(
                fusion, mode, aggregate_norm, self.streams, name="attention"
            )
            vector, outputs = attend(maps, attention, tail, interaction_reduction, pyramid_form)
        outputs |= self.attention_maps(outputs.pop("attention"))
        vector = layers.Dropout(dropout, name="dropout")(vector)
        logits = layers.Dense(num_classes, name="classifier")(vector)
        factors = {"interaction": interaction, "pyramid": pyramid}
        super().__init__(
            inputs,
            {"logits": logits, **outputs},
            loss_term_names=[name for name in factors if name in outputs and factors[name]],
            train_backbone=train_backbone,
            **kwargs,
        )
        # === Config ===
        self.config = dict(
            num_classes=num_classes,
            input_shape=input_shape,
            levels=levels and names,
            level_channels=level_channels and sizes,
            fusion=fusion,
            mode=mode,
            interaction=interaction,
            pyramid=pyramid,
            interaction_reduction=interaction_reduction,
            pyramid_form=pyramid_form,
            aggregate_norm=aggregate_norm,
            dropout=dropout,
            backbone=backbone and backbone.reference,
            cached=cached,
            train_backbone=train_backbone,
        )

    @staticmethod
    def attention_maps(attention):
        """Return the outputs made of the attention in the cells of each frame, of all streams."""
        return {"spatial_attention": attention}

    def loss_terms(self, labels, outputs, sample_weight=None, mask=None):
        names = [mean.name for mean in self.term_means]
        return {name: self.config[name] * ops.mean(outputs[name]) for name in names}

    def explain(self, outputs, mask=None):
        """The canonical maps of a batch of outputs: `{"where": (B, T, h, w), "when": (B, T)}`.

        `when` is the spatial attention that a frame has in all its cells, and `where` how that is
        spread over them: evenly in a frame that has none.
        """
        attention = ops.convert_to_tensor(outputs["spatial_attention"])
        frames = ops.sum(attention, axis=(2, 3), keepdims=True)
        seen = frames > _MINIMUM_SHARE
        height, width = attention.shape[2:]
        where = ops.where(seen, attention / ops.where(seen, frames, 1), 1 / (height * width))
        return without_padding({"where": where, "when": frames[:, :, 0, 0]}, mask)

    @property
    def backbone_parts(self):
        return [*super().backbone_parts, self.get_layer("tail")]

    @staticmethod
    def input_arguments(backbone, cached):
        return {"backbone": backbone, "cached": cached}

    @staticmethod
    def endpoint(backbone, arguments):
        return "+".join(level_names(arguments.get("levels"), find_backbone(backbone)))

    def get_config(self):
        return {**super().get_config(), **self.config}


def _check_arguments(num_classes, dropout, mode, interaction, pyramid, interaction_reduction):
    check_at_least(2, num_classes=num_classes)
    check_at_least(0, interaction=interaction, pyramid=pyramid)
    check_dropout(dropout)
    check_option("mode", mode, (*MODES, "none"))
    if interaction_reduction == "sum" and interaction and mode not in ("uniform", "none"):
        warnings.warn(
            'interaction_reduction="sum" has no lower bound and grows with the squares of the '
            'features: it can outweigh the cross-entropy. "relative" cannot.',
            stacklevel=4,
        )
