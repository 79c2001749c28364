"""The base of all models: named outputs, a named objective, two kinds of input."""

import warnings

import keras
from keras import ops

from keras_attn.backbones import find_backbone


class VideoClassifier(keras.Model):
    """A functional model from a video, or its features, to a dict of named float32 tensors.

    `outputs["logits"]` meets the compiled metrics, and the result of `supervised` the compiled
    loss. Everything else that a paper adds to its objective is returned by `loss_terms`, and logged
    under its own name from `loss_term_names`. A model also answers `explain(outputs)` with the
    canonical maps `{"where": (B, T, h, w), "when": (B, T)}`, non-negative and summing to one over
    the cells of a frame and over the frames. `keras_attn.testing.check_model` checks all this.

    Args:
        inputs: Tensors by name, "features" or "video".
        outputs: Tensors by name, "logits" (B, K) among them.
        loss_term_names: Names of the terms that `loss_terms` returns.
        train_backbone: Whether the backbone learns. Saved with the model is what is frozen at that
            moment, whether by this argument or by `trainable = False` of any layer.

    Attributes:
        clip_aggregation: How the clips of a video become one answer, by the paper: "mean" averages
            their probabilities, "vote" takes the class that most clips answer.
    """

    clip_aggregation = "mean"

    def __init__(self, inputs, outputs, loss_term_names=(), train_backbone=True, **kwargs):
        # The one cast: under mixed precision softmaxes, losses and penalties need float32.
        outputs = {name: ops.cast(tensor, "float32") for name, tensor in outputs.items()}
        super().__init__(inputs, outputs, **kwargs)
        self.term_means = [keras.metrics.Mean(name=name) for name in loss_term_names]
        for part in self.backbone_parts:
            part.trainable = train_backbone

    def __call__(self, inputs, *args, **kwargs):
        _check_shapes(self.input, inputs)
        return super().__call__(inputs, *args, **kwargs)

    def stateless_call(self, trainable, non_trainable, inputs, *args, **kwargs):  # JAX' fit
        _check_shapes(self.input, inputs)
        return super().stateless_call(trainable, non_trainable, inputs, *args, **kwargs)

    # === Objective ===

    def supervised(self, labels, outputs, sample_weight=None):
        """Return the arguments of the compiled loss: labels, logits and, if any, sample weights."""
        return labels, outputs["logits"], sample_weight

    def loss_terms(self, labels, outputs, sample_weight=None):
        """Return the scalars that are added to the compiled loss, by name.

        Those of one replica: what they count for in a distributed step is not theirs to know. Only
        a term that depends on the labels heeds the sample weights.
        """
        return {}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        labels, logits, weights = self.supervised(y, y_pred, sample_weight)
        loss = super().compute_loss(x, labels, logits, weights, training)
        terms = self.loss_terms(y, y_pred, sample_weight)
        batch = ops.shape(y_pred["logits"])[0]  # a short last batch counts less, as in "loss"
        for mean in self.term_means:
            mean.update_state(terms[mean.name], sample_weight=batch)
        # Gradients are summed over replicas: Keras divides by their number, as in the loss above.
        return loss + sum(self._aggregate_additional_loss(term) for term in terms.values())

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, y, y_pred["logits"], sample_weight)

    # === Answers ===

    @property
    def attention_names(self):
        """Names of the outputs that are attention as the paper has it: `..._attention`."""
        return sorted(name for name in self.output if name.endswith("_attention"))

    def step_probabilities(self, outputs):
        """Return the decision at each frame, `(B, T, K)`; the clip's if a model has no others."""
        probabilities = ops.softmax(ops.convert_to_tensor(outputs["logits"]))
        when = self.explain(outputs)["when"]
        return ops.ones_like(when)[:, :, None] * probabilities[:, None]

    def check_frames(self, frames):
        """Raise a `ValueError` unless the model can answer for clips of `frames` frames."""
        if not takes_frames(self) or len(self.image_network.input_shape) == 4:
            return
        length, steps = (
            s[1] for s in (self.image_network.input_shape, self.image_network.output_shape)
        )
        if length not in (None, frames) or steps not in (None, frames):
            raise ValueError(
                f"the backbone takes clips of {length} frames and gives maps of {steps}: both must "
                f"be the {frames} frames of a clip here"
            )

    # === Input ===

    @staticmethod
    def input_arguments(backbone, cached):
        """Return the constructor arguments for frames and a backbone, or its cached output."""
        return {"backbone": None if cached else backbone}

    @staticmethod
    def endpoint(backbone, arguments):
        """Return the output of the backbone that a model built with `arguments` reads."""
        return find_backbone(backbone).endpoint

    @property
    def image_network(self):
        """The backbone of a model that takes frames."""
        layer = self.get_layer("backbone")
        return getattr(layer, "layer", layer)

    @property
    def backbone_parts(self):
        """The layers that come from the backbone, in the order of the graph."""
        return [self.image_network] if takes_frames(self) else []

    @property
    def per_frame(self):
        """Whether the backbone sees each frame by itself, so that its output can be cached."""
        return len(self.image_network.input_shape) == 4

    # === Configuration ===

    def get_config(self):
        """The arguments of the constructor, and which layers are frozen.

        A subclass adds its arguments: `{**super().get_config(), ...}`.
        """
        return {"name": self.name, "frozen": _frozen(self)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        # A file of before there was `train_backbone` holds a model all of which could learn.
        frozen = config.pop("frozen", None if "train_backbone" in config else {})
        model = cls(**config)
        if frozen is not None:
            _freeze(model.layers, frozen)
        return model


def _check_shapes(expected, inputs):
    """`ValueError` for an input of another shape; Keras' own can be an array's content, printed."""
    if not isinstance(inputs, dict):
        inputs = dict.fromkeys(expected, inputs)
    for name in expected.keys() & inputs.keys():
        wanted, found = expected[name].shape, getattr(inputs[name], "shape", None)
        if found is None or getattr(found, "rank", 0) is None or _fits(wanted, found):
            continue
        found = tuple(found)
        advice = f"give it {name} as it was built for, or build it with input_shape={found[1:]}"
        if _fits(wanted[1:], found):
            advice = f"the axis of the batch is missing: give {name}[None]"
        raise ValueError(f"`{name}` must have the shape {tuple(wanted)}, got {found}; {advice}")


def _fits(wanted, found):
    return len(wanted) == len(found) and all(
        size in (None, other) or other is None for size, other in zip(wanted, found, strict=True)
    )


def _frozen(model):
    """Places of the frozen layers with weights, in the list of its sublayers, by top-level layer.

    Names within a backbone can differ from process to process, as Keras numbers them.
    """
    places = {
        layer.name: [i for i, x in enumerate(layer._flatten_layers()) if _holds_frozen(x)]
        for layer in model.layers
    }
    return {name: found for name, found in places.items() if found}


def _holds_frozen(layer):
    return not layer.trainable and bool(layer.weights)


def _freeze(layers, frozen):
    """Freeze what `_frozen` found in other `layers` of the same structure, and nothing else."""
    for layer in layers:
        places = frozen.get(layer.name, ())
        for i, part in enumerate(layer._flatten_layers()):  # parents first: they pass it on
            part.trainable = i not in places


def swap_input(model, backbone, input_shape, cached=False, backbone_weights=None):
    """Return the same model with another input: frames and a backbone, or its cached output.

    All weights outside the backbone are copied, and what is frozen stays so. The backbone starts
    from `backbone_weights`, or, if both models have the same backbone and no weights are given,
    from the model's own.

    Args:
        model: A model of this library.
        backbone: Name of the backbone, or None, as for the model's constructor.
        input_shape: Shape of the new input, without the batch.
        cached: Whether the input is the backbone's cached output.
        backbone_weights: Weights of the backbone, as for the model's constructor.

    Raises:
        ValueError: When the two models differ in more than their input.
    """
    old = model.get_config()
    frozen = old.pop("frozen")
    config = {**old, **model.input_arguments(backbone, cached), "input_shape": input_shape}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the arguments: given when `model` was built
        swapped = type(model)(**config, backbone_weights=backbone_weights)
    if takes_frames(model) and not cached and backbone == old["backbone"] and not backbone_weights:
        swapped.image_network.set_weights(model.image_network.get_weights())
    sources, targets = _own_weights(model), _own_weights(swapped)
    if [w.name for w in sources] != [w.name for w in targets]:
        odd = {_layer(w) for w in sources} ^ {_layer(w) for w in targets}
        raise ValueError(
            "the two models must have the same layers, but only one has: "
            f"{', '.join(sorted(odd)) or 'some weights'}"
        )
    for source, target in zip(sources, targets, strict=True):
        if source.shape != target.shape:
            raise ValueError(
                f"input_shape={input_shape} with backbone={backbone!r} does not fit the weights of "
                f"layer {_layer(target)!r}: expected the map size and channels the model has now"
            )
        # As NumPy: on JAX both models would hold one array, which the first update of either frees.
        target.assign(ops.convert_to_numpy(source))
    sizes = {layer.name: len(layer._flatten_layers()) for layer in model.layers}
    same = [x for x in swapped.layers if sizes.get(x.name) == len(x._flatten_layers())]
    _freeze(same, frozen)
    return swapped


def takes_frames(model):
    """Tell whether the input of a model is a video, and not cached features."""
    return "video" in model.input


def _own_weights(model):
    """The weights outside the backbone, in the order of the graph."""
    others = {id(w) for w in model.image_network.weights} if takes_frames(model) else set()
    return [w for w in model.weights if id(w) not in others]


def _layer(weight):
    return weight.path.partition("/")[0]
