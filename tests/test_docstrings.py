"""Verbs, recipes, recognizers and optimizers describe every parameter, as models and layers do."""

from docstrings import undocumented

import keras_attn
from keras_attn import recipes
from keras_attn.inference.fused_recognizer import FusedRecognizer
from keras_attn.inference.recognizer import Recognizer
from keras_attn.training import optimizers


def test_every_parameter_is_described_and_no_other():
    public = [getattr(keras_attn, name) for name in keras_attn._VERBS]
    public += [recipes.Recipe, recipes.Clips, recipes.Pretraining, recipes.override]
    public += [Recognizer, FusedRecognizer, optimizers.make_optimizer]
    public += [optimizers.CoupledWeightDecay, *optimizers.OPTIMIZERS.values()]
    missing = {one.__name__: undocumented(one) for one in public}
    assert {name: some for name, some in missing.items() if some} == {}
