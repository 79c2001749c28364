"""What the models share: outputs with names, an objective with names, two kinds of input."""

import warnings

import keras
from keras import ops


class VideoClassifier(keras.Model):
    """A functional model from a video, or its features, to a dict of named float32 tensors.

    `outputs["logits"]` meets the compiled metrics, and what `supervised` returns the compiled loss.
    Everything else that a paper adds to its objective is returned by `loss_terms`, and logged
    under its own name from `loss_term_names`. A model also answers `explain(outputs)` with the
    canonical maps `{"where": (B, T, h, w), "when": (B, T)}`, non-negative and summing to one over
    the cells of a frame and over the frames.
    """

    def __init__(self, inputs, outputs, loss_term_names=(), **kwargs):
        # The one cast: under mixed precision softmaxes, losses and penalties need float32.
        outputs = {name: ops.cast(tensor, "float32") for name, tensor in outputs.items()}
        super().__init__(inputs, outputs, **kwargs)
        self.term_means = [keras.metrics.Mean(name=name) for name in loss_term_names]

    def supervised(self, labels, outputs, sample_weight=None):
        """What the compiled loss sees: labels, logits and, if any, sample weights."""
        return labels, outputs["logits"], sample_weight

    def loss_terms(self, labels, outputs):
        """Scalars added to the compiled loss, by name."""
        return {}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        labels, logits, sample_weight = self.supervised(y, y_pred, sample_weight)
        loss = super().compute_loss(x, labels, logits, sample_weight, training)
        terms = self.loss_terms(y, y_pred)
        batch = ops.shape(y_pred["logits"])[0]  # a short last batch counts less, as in "loss"
        for mean in self.term_means:
            mean.update_state(terms[mean.name], sample_weight=batch)
        return loss + sum(terms.values())

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, y, y_pred["logits"], sample_weight)


def swap_input(model, backbone, input_shape, backbone_weights=None):
    """The same model with another kind of input: cached features, or frames and a backbone.

    `backbone` and `input_shape` are those of the model's constructor. All weights outside the
    layer "backbone" are copied by layer name; that layer starts from `backbone_weights`, or, if
    both models have the same backbone and no weights are given, from the model's own.

    Raises `ValueError` when the two differ in more than their input.
    """
    config = {**model.get_config(), "backbone": backbone, "input_shape": input_shape}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the arguments: they were told when `model` was built
        swapped = type(model)(**config, backbone_weights=backbone_weights)
    same_backbone = model.get_config()["backbone"] == backbone
    own = set() if same_backbone and backbone_weights is None else {"backbone"}
    sources, targets = (
        {layer.name: layer for layer in m.layers if layer.weights and layer.name not in own}
        for m in (model, swapped)
    )
    if sources.keys() != targets.keys():
        odd = ", ".join(sorted(sources.keys() ^ targets.keys()))
        raise ValueError(f"the two models must have the same layers, but only one has: {odd}")
    for name, target in targets.items():
        values = sources[name].get_weights()
        if [v.shape for v in values] != [tuple(w.shape) for w in target.weights]:
            raise ValueError(
                f"input_shape={input_shape} with backbone={backbone!r} does not fit the weights of "
                f"layer {name!r}: expected the map size and channels the model has now"
            )
        target.set_weights(values)
    return swapped
