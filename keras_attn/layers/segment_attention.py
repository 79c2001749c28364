"""Hard attention over the segments of a video by the confidence of each (Yang et al. 2020)."""

import keras
from keras import ops, tree

from keras_attn.layers.base import SavableLayer
from keras_attn.layers.per_frame import PerFrame, unfolded
from keras_attn.utils.checks import check_at_least, check_option
from keras_attn.utils.masks import cleared, frame_mask
from keras_attn.utils.numerics import precise, softmax

# Ours: an entropy of zero would make the confidence infinite.
MINIMUM_ENTROPY = 1e-6


def confidence(probabilities):
    """Return the reciprocal of the entropy, in nats: `(..., K) -> (...)`, in float32 at least.

    Yang et al. 2020, eq. (1)-(2). It lies between 1 / log(K), where all classes are equally
    probable, and 1 / `MINIMUM_ENTROPY`, where one class has all the probability.
    """
    probabilities = precise(probabilities)
    logs = ops.log(ops.maximum(probabilities, 1e-36))  # 0 log 0 = 0; XLA has nothing smaller
    return 1 / ops.maximum(-ops.sum(probabilities * logs, axis=-1), MINIMUM_ENTROPY)


def most_confident(confidences, keep, groups=1, mask=None):
    """Tell whether each segment is among the `keep` most confident of its group.

    Shapes: `(B, S) -> (B, S)`, booleans. The groups are runs of segments, as equal as `groups` runs
    of S can be; of two equally confident segments the earlier one comes first. Segments that are
    padding (`mask (B, S)` False) are not among S.
    """
    count = ops.shape(confidences)[1]
    place = ops.arange(count, dtype="int32")
    group = (place * groups // count)[None]
    if mask is not None:
        number = ops.cumsum(ops.cast(mask, "int32"), axis=1)
        group = (number - 1) * groups // ops.maximum(number[:, -1:], 1)
    one, other = confidences[:, :, None], confidences[:, None, :]
    ahead = (other > one) | ((other == one) & (place[None, :] < place[:, None]))
    rivals = ahead & (group[:, None, :] == group[:, :, None])
    if mask is not None:
        rivals = rivals & mask[:, None]
    chosen = ops.sum(ops.cast(rivals, "int32"), axis=2) < keep
    return chosen if mask is None else chosen & mask


@keras.saving.register_keras_serializable("keras_attn")
class SelectedSegments(PerFrame):
    """`layer` on every segment, trained on the most confident segments only.

    Shapes: `(B, S, h, w, C) -> {"logits": (B, S, K), "selected": (B, S)}` for a network of images
    whose only output is `logits`; other named outputs are returned, too. `selected` is one for the
    `keep` segments of each of `groups` runs whose `logits` are most confident and zero for the
    others. S may be unknown.

    Yang et al. 2020, algorithm 1. In training all segments pass in inference mode and without a
    gradient; the selected ones pass again in training mode, and their outputs take the place of the
    first ones. So no activation of another segment is held for the backward pass. Where all
    segments are selected there is one pass. Padded segments (`mask (B, S)` False) are not counted
    and not selected, and all their outputs are zero.

    Args:
        layer: Network with named outputs, `logits` among them, that takes a batch of segments.
        groups: Number of runs into which the segments of a video are divided.
        keep: Number of segments selected from each run.

    Raises:
        ValueError: For `groups` or `keep` below 1; when built, for fewer segments than are
            selected.
    """

    def __init__(self, layer, groups=3, keep=1, **kwargs):
        super().__init__(layer, **kwargs)
        check_at_least(1, groups=groups, keep=keep)
        self.groups, self.keep = groups, keep

    def build(self, segments_shape):
        count, selected = segments_shape[1], self.groups * self.keep
        if count is not None and count < selected:
            raise ValueError(
                f"groups times keep must be at most the {count} segments given, "
                f"got {self.groups} times {self.keep}"
            )
        super().build(segments_shape)

    def call(self, segments, training=None, mask=None):
        mask = frame_mask(mask)
        segments = cleared(segments, mask)
        _, count, *segment = ops.shape(segments)
        row = ops.reshape(segments, (-1, *segment))
        twice = training and segments.shape[1] != self.groups * self.keep
        outputs = self.layer(row, training=False if twice else training)
        confidences = confidence(softmax(outputs["logits"]))
        confidences = ops.reshape(confidences, (-1, count))
        selected = most_confident(confidences, self.keep, self.groups, mask)
        if twice:
            outputs = self._train_selected(row, selected, outputs)
        outputs = unfolded(outputs, count, mask)
        return {**outputs, "selected": ops.cast(selected, self.compute_dtype)}

    def _train_selected(self, row, selected, outputs):
        """Replace the outputs of the selected segments by those of training mode."""
        batch, count = ops.shape(selected)
        later = ops.arange(count, 0, -1, dtype="int32")  # so that top_k finds the selected in order
        _, place = ops.top_k(ops.where(selected, later, 0), self.groups * self.keep)
        first = ops.arange(batch, dtype=place.dtype) * ops.cast(count, place.dtype)
        place = ops.reshape(place + first[:, None], (-1,))
        trained = self.layer(ops.take(row, place, axis=0), training=True)
        return tree.map_structure(
            lambda x, new: ops.scatter_update(ops.stop_gradient(x), place[:, None], new),
            outputs,
            trained,
        )

    def compute_output_shape(self, segments_shape):
        shapes = super().compute_output_shape(segments_shape)
        return {**shapes, "selected": tuple(segments_shape[:2])}

    def get_config(self):
        return {**super().get_config(), "groups": self.groups, "keep": self.keep}


POOLINGS = ("confidence", "confidence_sum", "average")


@keras.saving.register_keras_serializable("keras_attn")
class ConfidencePool(SavableLayer):
    """Pool the decisions of a video's segments, the confident ones counting more.

    Shapes: `(B, S, K) -> (B, K), (B, S)`: from the logits of the segments, the logarithm of the
    pooled probabilities, and the weights of the segments, which sum to one; both in float32 at
    least. Padded segments (`mask (B, S)` False) have no weight.

    Args:
        keep: Number of segments that count, the most confident ones.
        pooling: "confidence" weights these by their confidence, divided by its sum;
            "confidence_sum" does not divide, as Yang et al. 2020 print eq. (11), so that only the
            scale of the pooled probabilities differs; "average" is the mean over all segments.

    Raises:
        ValueError: For an unknown `pooling`, or `keep` below 1.
    """

    def __init__(self, keep=15, pooling="confidence", **kwargs):
        super().__init__(**kwargs)
        check_option("pooling", pooling, POOLINGS)
        check_at_least(1, keep=keep)
        self.keep, self.pooling = keep, pooling

    def call(self, step_logits, mask=None):
        mask = frame_mask(mask)
        log_probabilities = ops.log_softmax(precise(cleared(step_logits, mask)))
        confidences = confidence(ops.exp(log_probabilities))
        if self.pooling == "average":
            counted = cleared(ops.ones_like(confidences), mask)
        else:
            kept = most_confident(confidences, self.keep, mask=mask)
            counted = ops.where(kept, confidences, 0.0)
        total = ops.sum(counted, axis=1, keepdims=True)
        weights = counted / ops.where(total > 0, total, 1)  # none where all is padding
        factors = counted if self.pooling == "confidence_sum" else weights
        return _log_of_sum(factors, log_probabilities), weights

    def compute_mask(self, step_logits, mask):
        return None, frame_mask(mask)

    def compute_output_shape(self, logits_shape):
        batch, count, classes = logits_shape
        return (batch, classes), (batch, count)


def _log_of_sum(factors, log_probabilities):
    """Return log(sum_n factors_n p_n), eq. (11), which no saturated segment turns into log(0)."""
    positive = factors > 0
    logs = ops.where(positive, ops.log(ops.where(positive, factors, 1.0)), -1e30)
    return ops.logsumexp(logs[:, :, None] + log_probabilities, axis=1)
