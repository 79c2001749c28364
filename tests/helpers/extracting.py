"""Features of the backbone "tiny" for tests, and how they are read."""

import numpy as np

import keras_attn
from keras_attn.backbones.caching import cached_maps
from keras_attn.data import batches
from keras_attn.data.features import FeatureFolder

FOLDER = "features/tiny-32"
MAPS = FOLDER + "/maps"


def contents(data, name="maps"):
    return {p.name: p.read_bytes() for p in (data / FOLDER / name).glob("*.npy")}


def extract(data, **options):
    return keras_attn.features(data, **{"backbone": "tiny", "weights": None, "size": 32, **options})


def read_all(data, endpoint, video):
    """The features of all positions of a video at an endpoint."""
    folder, maps = FeatureFolder(data, "tiny", 32), cached_maps("tiny", endpoint)
    path = folder.map_store(maps[-1].name).path(video.id)
    return folder.reader(maps).read(path, np.arange(video.length), video.length)


def pictures_of(video):
    jpegs = batches.encoded_frames(video.path)
    return np.stack([batches.picture(jpeg, 32, 32) for jpeg in jpegs])
