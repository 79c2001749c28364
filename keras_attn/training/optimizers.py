"""The papers' optimizers: coupled weight decay, and one learning rate per group of weights.

The `weight_decay` of Keras is decoupled from the update, as in AdamW. Caffe and the optimizers of
PyTorch, which the papers trained with, add it to the gradient, so that momentum and adaptive step
sizes see it too. `keras.optimizers.MultiOptimizer` has one learning rate per group of weights, but
clips the gradients of each group separately, and has no learning rate to read or to set.
"""

import math
import re

import keras


class CoupledWeightDecay:
    """Mixin that adds coupled weight decay and factors per variable to an optimizer of Keras.

    The groups of temporal segment networks (Wang et al. 2016), for optical flow:

        {"^conv1/kernel": (5, 1), "^conv1/bias": (10, 0), "bias$": (2, 0), "(gamma|beta)$": (1, 0)}

    Args:
        weight_decay: This times each weight is added to its gradient, after clipping.
        multipliers: Maps regular expressions to two factors, one for the learning rate and one for
            the weight decay of the variables whose path matches. The first match counts; without
            one, both factors are 1.

    Raises:
        ValueError: For a `weight_decay` or a factor below zero, an invalid expression and, when the
            optimizer is built, an expression that matches no variable's path.
    """

    def __init__(self, *args, weight_decay=0.0, multipliers=None, **kwargs):
        multipliers = dict(multipliers or {})
        if not 0 <= weight_decay < math.inf:
            raise ValueError(f"weight_decay must be at least 0 and finite, got {weight_decay}")
        for expression, factors in multipliers.items():
            _check_multiplier(expression, factors)
        super().__init__(*args, **kwargs)
        self.coupled_weight_decay = weight_decay
        self.multipliers = multipliers

    def build(self, variables):
        if not self.built:
            super().build(variables)
            # By index: on TensorFlow `update_step` gets variables without a path.
            paths = [variable.path for variable in variables]
            for expression in self.multipliers:
                if not any(re.search(expression, path) for path in paths):
                    raise ValueError(
                        f"multipliers must be found in the paths of variables that learn, got "
                        f"{expression!r}; there are {len(paths)}: {', '.join(paths[:8])}, ..."
                    )
            self.factors = [self._factors(path) for path in paths]

    def _factors(self, path):
        found = (factors for text, factors in self.multipliers.items() if re.search(text, path))
        return tuple(next(found, (1.0, 1.0)))

    def update_step(self, gradient, variable, learning_rate):
        rate, decay = self.factors[self._get_variable_index(variable)]
        decay = decay * self.coupled_weight_decay
        if decay:
            gradient = gradient + decay * variable
        super().update_step(gradient, variable, rate * learning_rate)

    def get_config(self):
        multipliers = {text: list(factors) for text, factors in self.multipliers.items()}
        own = {"weight_decay": self.coupled_weight_decay, "multipliers": multipliers}
        return {**super().get_config(), **own}


def _check_multiplier(expression, factors):
    try:
        re.compile(expression)
        rate, decay = factors
        correct = 0 <= rate < math.inf and 0 <= decay < math.inf
    except (re.error, TypeError, ValueError):
        correct = False
    if not correct:
        raise ValueError(
            "multipliers must map regular expressions to two factors of at least 0, for the "
            f"learning rate and the weight decay, got {expression!r}: {factors!r}"
        )


@keras.saving.register_keras_serializable("keras_attn")
class SGD(CoupledWeightDecay, keras.optimizers.SGD):
    """Gradient descent with momentum, 0.9 in all the papers here that use it.

    Args:
        learning_rate: A number, or a schedule of Keras.
        momentum: Factor of the previous update that is added to each update.
        **kwargs: Those of `CoupledWeightDecay` and of `keras.optimizers.SGD`.
    """

    def __init__(self, learning_rate=0.01, momentum=0.9, **kwargs):
        super().__init__(learning_rate, momentum, **kwargs)


@keras.saving.register_keras_serializable("keras_attn")
class Adam(CoupledWeightDecay, keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015).

    Its arguments are those of `CoupledWeightDecay` and of `keras.optimizers.Adam`.
    """


@keras.saving.register_keras_serializable("keras_attn")
class Adadelta(CoupledWeightDecay, keras.optimizers.Adadelta):
    """Adadelta as published (Zeiler 2012), where Keras starts from a learning rate of 0.001.

    Args:
        learning_rate: A number, or a schedule of Keras.
        rho: Decay of the running means of squared gradients and of squared updates.
        epsilon: Added to both means before their square roots are taken.
        **kwargs: Those of `CoupledWeightDecay` and of `keras.optimizers.Adadelta`.
    """

    def __init__(self, learning_rate=1.0, rho=0.95, epsilon=1e-6, **kwargs):
        super().__init__(learning_rate, rho, epsilon, **kwargs)


OPTIMIZERS = {"sgd": SGD, "adam": Adam, "adadelta": Adadelta}


def make_optimizer(
    name: str,
    learning_rate,
    *,
    weight_decay: float = 0.0,
    multipliers: dict | None = None,
    clip_norm: float | None = None,
    accumulate: int = 1,
) -> keras.optimizers.Optimizer:
    """Make the optimizer of that name in `OPTIMIZERS`.

    Args:
        name: Key of `OPTIMIZERS`.
        learning_rate: A number, or a schedule of Keras, which counts batches.
        weight_decay: As in `CoupledWeightDecay`.
        multipliers: As in `CoupledWeightDecay`.
        clip_norm: Maximum l2 norm of all gradients together.
        accumulate: Number of batches that make one update, with the mean of their gradients.

    Raises:
        ValueError: For an unknown name, `accumulate < 1`, a learning rate or `clip_norm` not above
            zero, and as `CoupledWeightDecay` does.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"name must be one of {', '.join(OPTIMIZERS)}, got {name!r}")
    if not isinstance(learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        _check_positive("learning_rate", learning_rate)
        learning_rate = float(learning_rate)
    if clip_norm is not None:
        _check_positive("clip_norm", clip_norm)
    if accumulate < 1:
        raise ValueError(f"accumulate must be at least 1, got {accumulate}")
    return OPTIMIZERS[name](
        learning_rate,
        weight_decay=weight_decay,
        multipliers=multipliers,
        global_clipnorm=clip_norm,
        gradient_accumulation_steps=accumulate if accumulate > 1 else None,
    )


def _check_positive(name, value):
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be above 0 and finite, got {value}")
