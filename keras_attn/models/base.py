"""The base of all models: named outputs, a named objective, two kinds of input."""

import warnings

import keras
from keras import ops, tree

from keras_attn.backbones import find_backbone
from keras_attn.losses import LogitsCrossEntropy
from keras_attn.models import objective
from keras_attn.models.freezing import freeze, frozen_layers
from keras_attn.models.model_inputs import named_inputs
from keras_attn.models.padding import check_backbone, common_mask, split_mask
from keras_attn.utils.masks import cleared
from keras_attn.utils.precision import with_dtype


class VideoClassifier(keras.Model):
    """A functional model from a video, or its features, to a dict of named float32 tensors.

    `outputs["logits"]` meets the compiled metrics, and the result of `supervised` the compiled
    loss. Everything else that a paper adds to its objective is returned by `loss_terms`, and logged
    under its own name from `loss_term_names`. A model also answers `explain(outputs)` with the
    canonical maps `{"where": (B, T, h, w), "when": (B, T)}`, non-negative and summing to one over
    the cells of a frame and over the frames. `keras_attn.testing.check_model` checks all this.

    Compiled without a loss it has `keras_attn.losses.LogitsCrossEntropy`, for labels that are class
    numbers (B,) or (B, 1), or shares of the classes (B, K): one-hot, smoothed or mixed up. Several
    labels per video, (B, K), go with `keras.losses.BinaryCrossentropy(from_logits=True)`. An
    auxiliary loss is the compiled one. Losses of probabilities are refused. A bare array is the
    input of a model that has one.

    On several devices the loss is, as everywhere in Keras, the mean over devices: where a last
    batch cannot be divided evenly, a clip counts more on the device that has fewer.

    Args:
        inputs: Tensors by name, "features" or "video".
        outputs: Tensors by name, "logits" (B, K) among them.
        loss_term_names: Names of the terms that `loss_terms` returns.
        train_backbone: Whether the backbone learns. Saved with the model is what is frozen at that
            moment, whether by this argument or by `trainable = False` of any layer.

    Every subclass also takes `dtype`, the dtype policy of all its layers, as "mixed_bfloat16"; the
    global one is the default. It is saved with the model.

    Attributes:
        clip_aggregation: How the clips of a video become one answer, by the paper: "mean" averages
            their probabilities, "vote" takes the class that most clips answer.
    """

    clip_aggregation = "mean"

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = with_dtype(cls.__init__)

    def __init__(self, inputs, outputs, loss_term_names=(), train_backbone=True, **kwargs):
        # The one cast: under mixed precision softmaxes, losses and penalties need float32.
        outputs = {name: ops.cast(tensor, "float32") for name, tensor in outputs.items()}
        super().__init__(inputs, outputs, **kwargs)
        # By default they are those of the last layers, many of which have none of their own.
        self.output_names = keras.tree.flatten({name: name for name in outputs})
        self.term_means = [keras.metrics.Mean(name=name) for name in loss_term_names]
        for part in self.backbone_parts:
            part.trainable = train_backbone

    def __call__(self, inputs, *args, **kwargs):
        inputs, more = self._checked_inputs(inputs)
        return super().__call__(inputs, *args, **kwargs, **more)

    def stateless_call(self, trainable, non_trainable, inputs, *args, **kwargs):  # JAX' fit
        inputs, more = self._checked_inputs(inputs)
        return super().stateless_call(trainable, non_trainable, inputs, *args, **kwargs, **more)

    def _checked_inputs(self, inputs):
        """The inputs that the graph has, and the mask as a further argument, if there is one."""
        inputs, mask = split_mask(inputs)
        inputs = named_inputs(self.input, inputs)
        if mask is None:
            return inputs, {}
        check_backbone(self.image_network if takes_frames(self) else None)
        return inputs, {"mask": mask}

    def call(self, inputs, training=None, mask=None):
        mask = common_mask(mask)
        if mask is not None:
            inputs = tree.map_structure(lambda x: cleared(x, mask), inputs)
        outputs = super().call(inputs, training=training, mask=mask)
        # Copies, without the masks by which Keras' losses would weigh them once more.
        return outputs if mask is None else tree.map_structure(ops.copy, outputs)

    def _run_through_graph(self, inputs, **functions):
        if len(functions) == 2:  # only `clone_model` gives both
            raise TypeError(
                f"keras.models.clone_model would make a plain functional model of {self.name}, "
                "without its objective and explain: copy it by "
                "type(model).from_config(model.get_config()), then set_weights"
            )
        return super()._run_through_graph(inputs, **functions)

    def compute_mask(self, inputs, previous_mask):
        return None  # which of the outputs have an axis of time, a model knows itself

    # === Objective ===

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        **options,
    ):
        """Configure the training, as `keras.Model.compile` does, on the output `logits`.

        Args:
            optimizer, loss_weights, weighted_metrics, options: As for `keras.Model.compile`.
            loss: None is that of `default_loss`. A loss must take logits, and decides which labels
                `fit` takes: class numbers (B,) or (B, 1), or one number per class (B, K).
            metrics: "accuracy" heeds the labels, and for binary losses each class by itself.

        Raises:
            ValueError: For a loss or a metric of probabilities, or one of another output.
        """
        loss = objective.of_logits("loss", loss)
        loss = self.default_loss() if loss is None else loss
        found = loss if loss is None else objective.find_loss(loss)
        metrics, weighted_metrics = (
            objective.find_metrics(objective.of_logits(argument, value), found)
            for argument, value in (("metrics", metrics), ("weighted_metrics", weighted_metrics))
        )
        super().compile(
            optimizer,
            loss,
            loss_weights=objective.of_logits("loss_weights", loss_weights),
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            **options,
        )

    def compile_from_config(self, config):
        """Compile a loaded model as it was saved; a loss of probabilities stays, with a warning."""
        config = keras.saving.deserialize_keras_object(config)
        try:
            objective.find_loss(config.get("loss"))
            for argument in ("metrics", "weighted_metrics"):
                objective.find_metrics(config.get(argument))
        except ValueError as error:
            warnings.warn(f"{self.name} is compiled as it was saved, but {error}", stacklevel=2)
            super().compile(**config)
        else:
            self.compile(**config)
        self.optimizer.build(self.trainable_variables)

    def default_loss(self):
        """Return the loss of a model that is compiled without one; None for none.

        It takes labels of every kind: class numbers, one-hot, smoothed and mixed up.
        """
        return LogitsCrossEntropy()

    def check_labels(self, labels, outputs):
        """Return the labels as the loss takes them; a subclass with other labels overrides this.

        Raises:
            ValueError: For labels of another shape, or of the other kind than the loss takes.
        """
        return objective.check_labels(labels, outputs["logits"].shape[-1], self._found_loss())

    def supervised(self, labels, outputs, sample_weight=None, mask=None):
        """Return the arguments of the compiled loss: labels, logits and, if any, sample weights.

        Of padded frames, where there is a `mask (B, T)` and it is False, nothing counts.
        """
        return labels, outputs["logits"], sample_weight

    def loss_terms(self, labels, outputs, sample_weight=None, mask=None):
        """Return the scalars that are added to the compiled loss, by name.

        Those of one replica: what they count for in a distributed step is not theirs to know. Only
        a term that depends on the labels heeds the sample weights; see `label_loss`.
        """
        return {}

    def label_loss(self, labels, logits, sample_weight=None):
        """Return the compiled loss of other logits, a scalar, for a term of the objective."""
        loss = self._found_loss() or LogitsCrossEntropy()
        value = objective.label_loss(loss, labels, logits, sample_weight)
        # A `keras.losses.Loss` counts for its share of the replicas already.
        share = self._aggregate_additional_loss(ops.ones_like(value))
        return value / share if isinstance(loss, keras.losses.Loss) else value

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        y, sample_weight = self._checked(y, y_pred, sample_weight)
        mask = split_mask(x)[1]
        more = {} if mask is None else {"mask": mask}
        labels, logits, weights = self.supervised(y, y_pred, sample_weight, **more)
        loss = super().compute_loss(x, labels, logits, weights, training)
        terms = self.loss_terms(y, y_pred, sample_weight, **more)
        batch = ops.shape(y_pred["logits"])[0]  # a short last batch counts less, as in "loss"
        for mean in self.term_means:
            mean.update_state(terms[mean.name], sample_weight=batch)
        # Gradients are summed over replicas: Keras divides by their number, as in the loss above.
        return loss + sum(self._aggregate_additional_loss(term) for term in terms.values())

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        y, sample_weight = self._checked(y, y_pred, sample_weight)
        return super().compute_metrics(x, y, y_pred["logits"], sample_weight)

    def _checked(self, labels, outputs, sample_weight):
        labels = self.check_labels(objective.of_logits("y", labels), outputs)
        sample_weight = objective.of_logits("sample_weight", sample_weight)
        return labels, objective.check_sample_weight(sample_weight)

    def _found_loss(self):
        return None if self.loss is None else keras.losses.get(self.loss)

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
        policy = keras.saving.serialize_keras_object(self.dtype_policy)
        return {"name": self.name, "dtype": policy, "frozen": frozen_layers(self)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        # A file of before there was `train_backbone` holds a model all of which could learn.
        frozen = config.pop("frozen", None if "train_backbone" in config else {})
        model = cls(**config)
        if frozen is not None:
            freeze(model.layers, frozen)
        return model


def takes_frames(model):
    """Tell whether the input of a model is a video, and not cached features."""
    return "video" in model.input
