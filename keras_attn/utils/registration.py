"""Classes of this package, known to Keras by name before their modules are imported.

Keras looks a saved class up in its registry, where a class enters when its module is imported.
`import keras_attn` imports none of them, and not Keras either: once Keras is there, placeholders
are put into the registry, which import the module of a class when Keras asks for it.
"""

import importlib
import importlib.abc
import importlib.util
import sys

CLASSES = {
    "backbones.pixels": ("NormalizePixels",),
    "backbones.tiny": ("AppendMoments",),
    "flow.tvl1": ("TVL1",),
    "layers": (
        "AdaptiveMaxPool",
        "AttendedLSTM",
        "AttendedLSTMCell",
        "ConfidencePool",
        "ConvLSTMAttention",
        "ConvLSTMAttentionCell",
        "LocationAttention",
        "Penalty",
        "PerFrame",
        "PyramidAttention",
        "ReattendingLSTM",
        "ReattendingLSTMCell",
        "SaliencyMask",
        "SelectedSegments",
        "TemporalShift",
        "WeightedPool",
    ),
    "layers.pyramid_attention": ("AttentionPenalties",),
    "losses": ("AttentionRegularizer", "LogitsCrossEntropy"),
    "models": (
        "AttentionFusionNetwork",
        "FlowPretraining",
        "FrameClassifier",
        "PyramidAttentionNetwork",
        "STACNN",
        "StructuredAttentionLSTM",
        "TemporalAttentionLSTM",
        "WhereAndWhen",
    ),
    "models.padding": ("EqualWeights", "FrameWeights", "LengthMask", "Masked"),
    "models.pyramid_map": ("StreamLevels",),
    "models.steps": ("ClipLogits",),
    "training.optimizers": ("SGD", "Adadelta", "Adam"),
}


class Deferred:
    """Stands for a class in the registry of Keras until Keras asks it for anything."""

    def __init__(self, module, name):
        self._module, self._name = module, name

    def __getattr__(self, attribute):
        if attribute.startswith("_"):  # copies and pickles ask for these, Keras does not
            raise AttributeError(attribute)
        # Importing the module puts the class itself in the place of this.
        module = importlib.import_module(f"keras_attn.{self._module}")
        return getattr(getattr(module, self._name), attribute)


def register() -> None:
    """Put the names into the registry of Keras, which must have been imported."""
    registry = sys.modules["keras"].saving.get_custom_objects()
    for module, names in CLASSES.items():
        for name in names:
            registry.setdefault(f"keras_attn>{name}", Deferred(module, name))


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Calls `register` once Keras has been imported, and does nothing else.

    Asking where Keras is (`importlib.util.find_spec`), as TensorFlow does, is not importing it.
    """

    def __init__(self):
        self.asking = False

    def find_spec(self, name, path=None, target=None):
        if name != "keras" or self.asking:
            return None
        self.asking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.asking = False
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = self._followed(spec.loader.exec_module)
        return spec

    def _followed(self, execute):
        def exec_module(module):
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            register()

        return exec_module


def install() -> None:
    """Register now if Keras has been imported, else as soon as it is."""
    for finder in [f for f in sys.meta_path if type(f).__name__ == _AfterKeras.__name__]:
        sys.meta_path.remove(finder)  # of this package, imported before and again
    if "keras" not in sys.modules:
        sys.meta_path.insert(0, _AfterKeras())
        return
    importlib.import_module("keras.saving")  # Keras may be on its way in another thread
    register()
