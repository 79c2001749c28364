"""Every class that Keras can save is known to it by name after `import keras_attn`."""

import importlib
import pkgutil

import keras

import keras_attn
from keras_attn.utils.registration import CLASSES, Deferred


def test_the_table_holds_every_registered_class():
    for module in pkgutil.walk_packages(keras_attn.__path__, "keras_attn."):
        if module.name.split(".")[1] in ("backbones", "flow", "layers", "models", "training"):
            importlib.import_module(module.name)
    registry = keras.saving.get_custom_objects()
    found = {name for name in registry if name.startswith("keras_attn>")}
    assert found == {f"keras_attn>{name}" for names in CLASSES.values() for name in names}
    assert not [name for name in found if isinstance(registry[name], Deferred)]


def test_a_placeholder_is_the_class_as_soon_as_it_is_asked():
    for module, names in CLASSES.items():
        for name in names:
            there = getattr(importlib.import_module(f"keras_attn.{module}"), name)
            assert Deferred(module, name).from_config == there.from_config
