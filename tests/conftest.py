"""Fixtures for all tests; neutral to the backend."""

import gc
import os
import pathlib
import shutil
import sys

import keras
import numpy as np
import pytest


def pytest_configure(config):
    # Keras 3.15 variables have the `__array__` of NumPy 1, so reading any weight warns under
    # NumPy 2. Nothing in this package can fix that; every other warning stays an error.
    config.addinivalue_line(
        "filterwarnings",
        "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
    )


def pytest_sessionstart(session):
    import graphs

    if keras.backend.backend() == "tensorflow":
        graphs.leave_as_they_are()


def pytest_collection_finish(session):
    """Traced graphs are many small objects: collected at the usual rate, a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


@pytest.fixture
def rng():
    """The same random numbers in every run, for data, initial weights and dropout."""
    keras.utils.set_random_seed(7)
    return np.random.default_rng(7)


@pytest.fixture(autouse=True)
def _nondeterministic_ops():
    """Undo what `train` sets for its process: Keras has no XLA for deterministic ops."""
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python.util import _pywrap_determinism

        _pywrap_determinism.enable(False)


@pytest.fixture
def policy():
    """Set the dtype policy of one test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


@pytest.fixture
def shared_data():
    """The folder of real clips and weights beside the repository; skips where it is not."""
    folder = pathlib.Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data is not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def built_once(tmp_path_factory):
    """A function that returns the folder `name`, which is built once in a run of the tests.

    All worker processes share it: the first one calls `build(folder)`, and the others wait.
    """
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def folder_of(name, build):
        from keras_attn.utils.files import locked

        folder = root / "shared" / name
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            if not (folder / "complete").exists():
                build(folder)
                (folder / "complete").touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def tiny_data(built_once):
    """A data folder, scanned, split and prepared: 6 scenes x 4 motions, 12 frames of 32 pixels.

    Tests only read it; the videos lie in `videos` beside it, their truth in `videos.json`.
    """
    import keras_attn
    from keras_attn.datasets.synthetic import write_dataset

    def build(root):
        write_dataset(root / "videos", scenes=6, seed=3, side=32, frames=12)
        keras_attn.scan(root / "videos", root / "data", workers=1)
        keras_attn.split(root / "data", fractions=(0.5, 0.25, 0.25))
        keras_attn.prepare(root / "data", workers=1)

    return built_once("tiny", build) / "data"


@pytest.fixture(scope="session")
def tiny_run(tiny_data, built_once):
    """A finished run on `tiny_data`, from frames: 2 epochs, small. Tests only read it."""
    import keras_attn
    from keras_attn.recipes import RECIPES, override

    changes = {
        "epochs": "2",
        "clips.stride": "3",
        "clips.frames": "5",
        "clips.size": "32",
        "model.units": "8",
        "batch_size": "8",
    }
    recipe = override(RECIPES["structured_attention_tiny"], changes)
    return built_once("run", lambda root: keras_attn.train(recipe, tiny_data, root / "run")) / "run"


@pytest.fixture(scope="session")
def tiny_export(tiny_run, built_once):
    """The folder of a model exported from `tiny_run`, with version 1. Tests only read it."""
    from clean_server import one_clean_process

    import keras_attn

    def build(root):
        with one_clean_process():
            keras_attn.export(tiny_run, root / "models")

    return built_once("export", build) / "models"


@pytest.fixture(scope="session")
def tiny_features(tiny_data, built_once):
    """A copy of `tiny_data` with the maps (4, 4, 48) of the backbone "tiny", at random weights."""
    import keras_attn

    def build(root):
        shutil.copytree(tiny_data, root / "data")
        keras_attn.features(root / "data", backbone="tiny", weights=None, size=32, batch_size=5)

    return built_once("features", build) / "data"


@pytest.fixture(scope="session")
def tiny_flow(tiny_data, built_once):
    """A copy of `tiny_data` with TV-L1 flow of 18 x 16 pixels, 11 planes per video."""
    import keras_attn

    def build(root):
        shutil.copytree(tiny_data, root / "data")
        keras_attn.extract_flow(root / "data", width=18, height=16)

    return built_once("flow", build) / "data"


@pytest.fixture(scope="session")
def sources():
    """Name -> bytes of a good video in five containers."""
    import damage

    return damage.sources()


@pytest.fixture
def folder(tmp_path):
    """A function that writes `{relative path: bytes}` below a new folder and returns it."""

    def write(files, name="videos"):
        for path, data in files.items():
            target = tmp_path / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        return tmp_path / name

    return write


@pytest.fixture
def two_classes(folder):
    """A folder of two classes with three different short videos each, two groups a class."""
    import damage

    files = {}
    for seed, name in enumerate(("Run", "Jump")):
        for clip, group in enumerate((1, 1, 2)):
            frames = damage.pictures(6 + clip, seed=10 * seed + clip)
            data = damage.encode(".mp4", "libx264", frames, options={"preset": "ultrafast"})
            files[f"{name}/v_{name}_g{group:02d}_c{clip:02d}.mp4"] = data
    return folder(files)
