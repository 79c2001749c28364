"""The entries of the table of backbones."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from keras_attn.backbones.pixels import PixelScale


class Endpoint(NamedTuple):
    """Where a network can be cut: the output, or the input, of a layer."""

    layer: str | int  # its name, or its place among `keras.Model.layers`
    channels: int
    side: str = "output"


@dataclasses.dataclass(frozen=True)
class Backbone:
    """One entry of `BACKBONES`.

    `network(height, width, channels)` gives a new `keras.Model` with random weights from normalized
    frames, or from clips where `per_frame` is False, as far as the last endpoint; for three
    channels without reinforcement. Where it ends in a map, `build_backbone` adds a layer "pooled",
    the mean over the cells.
    """

    name: str
    network: Callable
    endpoints: dict[str, Endpoint]  # in the order of the network
    endpoint: str  # the one taken by default: the last map, after activation
    pyramid: tuple[str, ...]  # levels for paper 004, low to high; attention acts on the last
    size: int  # side in pixels of the frames that it was designed for
    minimum_size: int  # side in pixels of the smallest frames that leave a map
    pixels: PixelScale
    description: str
    weights_file: str  # the kinds of file that `weights` may name
    download: Callable | None = None  # returns the published model; None: there is none to download
    vector: str = "pooled"  # the first endpoint without cells
    per_frame: bool = True  # False: it sees the frames of a clip together
    reinforced: bool = False  # True: it sees RGB and flow together, and has endpoints in RGB

    @property
    def maps(self):
        """The endpoints that have cells."""
        names = list(self.endpoints)
        return names[: names.index(self.vector)]

    @property
    def preprocessing(self):
        return self.pixels.description
