"""An image network on single frames: what the papers' backbones are before they are cut.

Lili Meng et al. Where and When to Look? 2018: a ResNet-50 "pretrained on the ImageNet dataset and
fine-tuned for the target dataset" gives the features, and the mean of its answers for the frames is
the row "ResNet50-ImageNet" of the tables. Zhikang Liu, Ye Tian, Zilei Wang. Improving Human Action
Recognition by Temporal Attention, ICIP 2017, section 3.1: a VGG-16 for frames and one for flow,
from which fc6 is taken.

    video (B,T,H,W,C) -> the whole backbone on each frame -> vectors (B,T,D)
    vectors -> dropout -> step logits (B,T,K)
    mean over the frames of their softmax = probabilities of the clip

Objective: mean over clips and frames of the cross-entropy of the step logits.

Differences from the papers, and notes:
  - Neither prints its loss. The authors' code of Meng et al. takes the cross-entropy of the mean of
    the logits of three frames; here each frame has a loss of its own, as in Liu et al.
  - Liu et al. follow Wang et al. 2015, who drop 0.9 of fc6 and of fc7; here only the vector that is
    classified, fc7, has dropout, since the backbone is what later gives features.
  - Both crop at several scales; here at one, and neither's ten crops are taken in test.
"""

import keras
from keras import layers, ops

from keras_attn.backbones import features_input, find_backbone
from keras_attn.layers import PerFrame
from keras_attn.models.base import VideoClassifier
from keras_attn.models.padding import without_padding
from keras_attn.models.steps import ClipLogits, supervise_steps
from keras_attn.utils.checks import check_at_least, check_dropout, check_input_shape
from keras_attn.utils.masks import frame_counts


@keras.saving.register_keras_serializable("keras_attn")
class FrameClassifier(VideoClassifier):
    """A classifier of single frames, whose answers for the frames of a clip are averaged.

    Inputs: `{"features": (B, T, D)}`, or `(B, T, h, w, C)`, of which the mean over the cells is
    taken; or with `backbone` `{"video": (B, T, H, W, channels)}`, bytes 0..255. Outputs:
    `logits` (B, K), whose softmax is the mean of the probabilities of the frames, and
    `step_logits` (B, T, K). Labels and losses: see `VideoClassifier`.

    Args:
        num_classes: Number K of classes.
        input_shape: Shape of the input without the batch; T may be None.
        dropout: Rate for the input of the classifier.
        backbone: What `keras_attn.backbones.find_backbone` takes: a name, "hub:PRESET" or a
            `keras.Model`; or None for features.
        train_backbone: Whether the backbone learns, which is what this model is for. Saved with the
            model.
        backbone_weights: Weights of the backbone, as for `build_backbone`. For building only, not
            part of the configuration: a saved model holds its weights itself.

    Raises:
        ValueError: For an argument that cannot work.
    """

    def __init__(
        self,
        num_classes,
        input_shape=(3, 2048),
        dropout=0.5,
        backbone=None,
        backbone_weights=None,
        train_backbone=True,
        **kwargs,
    ):
        check_at_least(2, num_classes=num_classes)
        check_dropout(dropout)
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
        features = layers.Dropout(dropout, name="dropout")(features)
        step_logits = layers.Dense(num_classes, name="classifier")(features)
        outputs = {
            "logits": ClipLogits(dtype="float32", name="clip_logits")(step_logits),
            "step_logits": step_logits,
        }
        super().__init__(inputs, outputs, train_backbone=train_backbone, **kwargs)
        # === Config ===
        self.config = dict(
            num_classes=num_classes,
            input_shape=input_shape,
            dropout=dropout,
            backbone=backbone and backbone.reference,
            train_backbone=train_backbone,
        )

    @staticmethod
    def endpoint(backbone, arguments):
        """The last vector of the backbone, so that all of it learns: fc7 of VGG-16."""
        return find_backbone(backbone).last

    def supervised(self, labels, outputs, sample_weight=None, mask=None):
        logits = outputs["step_logits"]
        labels, logits, weights = supervise_steps(labels, logits, sample_weight, mask)
        counts = ops.cast(ops.shape(logits)[1], weights.dtype)
        if mask is not None:
            counts = frame_counts(mask, weights.dtype)[:, None]
        return labels, logits, weights / counts

    def explain(self, outputs, mask=None):
        """The canonical maps of a batch of outputs: `{"where": (B, T, 1, 1), "when": (B, T)}`.

        This model has no attention: every frame counts equally, and a vector has a single cell.
        """
        ones = ops.ones_like(ops.convert_to_tensor(outputs["step_logits"])[:, :, 0])
        when = ones / ops.sum(ones, axis=1, keepdims=True)
        return without_padding({"where": ones[:, :, None, None], "when": when}, mask)

    def step_probabilities(self, outputs):
        """The decision at each frame, `(B, T, K)`."""
        return ops.softmax(ops.convert_to_tensor(outputs["step_logits"]))

    def get_config(self):
        return {**super().get_config(), **self.config}
