"""Every class that Keras can save is known to it by name after `import keras_attn`."""

import copy
import importlib
import pkgutil
import subprocess
import sys

import keras

import keras_attn
from keras_attn.utils.registration import CLASSES, Deferred


def test_the_table_holds_every_registered_class():
    for module in pkgutil.walk_packages(keras_attn.__path__, "keras_attn."):
        if module.name.split(".")[1] in (
            "backbones",
            "flow",
            "layers",
            "losses",
            "models",
            "training",
        ):
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


def test_a_placeholder_can_be_copied():
    assert copy.deepcopy(Deferred("models", "STACNN"))._name == "STACNN"


IMPORTED_TWICE = """
import importlib, importlib.util, sys

class Old:
    def find_module(self, name, path=None):
        return None

sys.meta_path.insert(1, Old())
import keras_attn
importlib.reload(keras_attn)
for name in [name for name in sys.modules if name.startswith("keras_attn")]:
    del sys.modules[name]
import keras_attn
assert importlib.util.find_spec("keras")
import keras
assert "keras_attn>STACNN" in keras.saving.get_custom_objects()
assert not [f for f in sys.meta_path if type(f).__name__ == "_AfterKeras"]
"""


def test_the_package_can_be_imported_twice_beside_a_finder_of_the_old_kind():
    done = subprocess.run([sys.executable, "-c", IMPORTED_TWICE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
