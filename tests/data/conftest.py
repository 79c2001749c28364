"""Small real videos and folders of them, encoded on the spot."""

import damage
import pytest


@pytest.fixture(scope="session")
def sources():
    """Name -> bytes of a good video in five containers."""
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
    files = {}
    for seed, name in enumerate(("Run", "Jump")):
        for clip, group in enumerate((1, 1, 2)):
            frames = damage.pictures(6 + clip, seed=10 * seed + clip)
            data = damage.encode(".mp4", "libx264", frames, options={"preset": "ultrafast"})
            files[f"{name}/v_{name}_g{group:02d}_c{clip:02d}.mp4"] = data
    return folder(files)
