"""The entries of the table of backbones."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

from keras_attn.backbones.pixels import PixelScale


class Endpoint(NamedTuple):
    """Where a network can be cut: the output, or the input, of a layer.

    With `relu_of`, it is the ReLU of that endpoint, limited to `ceiling`: whoever has the one can
    compute the other.
    """

    layer: str | int  # its name, or its place among `keras.Model.layers`
    channels: int
    side: str = "output"
    relu_of: str = ""
    ceiling: float = math.inf


class CachedMap(NamedTuple):
    """A map to store: of an endpoint, or one of several that an endpoint joins.

    `cells` names the endpoint to whose cells the map was max-pooled, if it was. A `ceiling` means
    that the endpoint is the ReLU of what is stored, limited to that value.
    """

    endpoint: str
    cells: str = ""
    ceiling: float | None = None

    @property
    def name(self):
        return f"{self.endpoint}@{self.cells}" if self.cells else self.endpoint


@dataclasses.dataclass(frozen=True)
class Backbone:
    """One entry of `BACKBONES`, or a foreign network in the same terms.

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
    pixels: PixelScale | None  # None: the network takes pixels from 0 to 255
    description: str
    weights_file: str  # the kinds of file that `weights` may name
    download: Callable | None = None  # returns the published model; None: there is none to download
    vector: str = "pooled"  # the first endpoint without cells
    per_frame: bool = True  # False: it sees the frames of a clip together
    reinforced: bool = False  # True: it sees RGB and flow together, and has endpoints in RGB
    frames: int | None = None  # of a clip, where it sees clips of one length only
    fill: Callable | None = None  # gives a network the weights of its preset
    tail: bool = True  # False: behind a map there is nothing but its mean over the cells
    config: dict | None = None  # where it is not in the table: what builds it again

    @property
    def maps(self):
        """The endpoints that have cells."""
        names = list(self.endpoints)
        return names[: names.index(self.vector)]

    @property
    def last(self):
        """The name of the last endpoint."""
        return [*self.endpoints][-1]

    @property
    def preprocessing(self):
        return self.pixels.description if self.pixels else "pixels from 0 to 255"

    @property
    def reference(self):
        """The configuration of a model with this backbone: a name of the table, or `config`."""
        return self.config or self.name
