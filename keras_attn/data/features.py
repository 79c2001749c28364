"""Backbone features on disk: each map computed once, for all recipes that read it.

    DATA/features/<backbone>-<size>/          with flow: ...-<method>-<planes side by side>/
        provenance.json                       backbone, weights, records, ...
        backbone.weights.h5                   the network that the maps are of
        <map>/                                one store per map (`backbones.CachedMap`)
            provenance.json, index.csv
            <stem>.npy                        float16 (n, h, w, C) or (n, D) at n positions of a
                                              video, and behind it these positions, rising, int32

A map has its own folder, so that recipes of one backbone share it: a joined endpoint reads several,
an activation is computed when the map before it is read.
"""

import contextlib
import hashlib
import io
import math
import os
from dataclasses import dataclass

import numpy as np

from keras_attn.data.store import DerivedStore
from keras_attn.data.streams import RGB
from keras_attn.datasets import tables
from keras_attn.errors import DataError
from keras_attn.utils.plain import slug

_ROWS = 64  # maps that are copied at once


@dataclass(frozen=True)
class FeatureReader:
    """Reads an endpoint from the files of its maps.

    `maps` are (name of the folder, shape at one position, ceiling of an activation or None); in the
    channels of each lie those of `networks` networks side by side.
    """

    maps: tuple[tuple[str, tuple[int, ...], float | None], ...]
    networks: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the features of one position."""
        return (*self.maps[-1][1][:-1], sum(shape[-1] for _, shape, _ in self.maps))

    def read(self, path, positions: np.ndarray, length: int) -> np.ndarray:
        """Features at rising `positions`: `(n, *shape)` float16.

        `path` is the file of the last map, `length` the number of all positions of the video.
        Raises `OSError` when a file was changed or has not these positions.
        """
        found = []
        for file, shape, ceiling in self._files(path):
            maps = read_maps(file, shape, positions, length)
            found.append(maps if ceiling is None else np.clip(maps, 0, ceiling, dtype="<f2"))
        if len(found) == 1:
            return found[0]
        # All maps of the first network come before those of the second, as the backbone has them.
        split = [np.split(maps, self.networks, axis=-1) for maps in found]
        return np.concatenate([part for parts in zip(*split, strict=True) for part in parts], -1)

    def positions(self, path) -> np.ndarray:
        """The rising positions that the files of all maps have; `path` as for `read`."""
        each = [set(_stored_positions(file, shape)) for file, shape, _ in self._files(path)]
        return np.array(sorted(set.intersection(*each)))

    def _files(self, path):
        folder, file = os.path.split(path)
        parent = os.path.dirname(folder)
        return [(os.path.join(parent, name, file), *rest) for name, *rest in self.maps]


def read_maps(path, shape, positions, length) -> np.ndarray:
    """Maps of `shape` at rising `positions` of a video that has `length`, from a file.

    The place of a map is computed: `numpy.load` parses the header as Python, which CPython 3.11
    cannot do in several threads (gh-106905), and a memory map kills a process whose file becomes
    shorter.
    """
    size = math.prod(shape)
    with open(path, "rb") as file:
        begin, stored = file_layout(file, size)
        places = positions
        if stored != length:
            known = _positions(file, begin, stored, size)
            places = np.minimum(np.searchsorted(known, positions), len(known) - 1)
            if (known[places] != positions).any():
                lacking = positions[known[places] != positions][0]
                raise OSError(f"{path}: has no features of position {lacking}")
        first, count = int(places[0]), int(places[-1] - places[0]) + 1
        close = count <= 2 * len(places)  # then one read is faster than one for each map
        parts = []
        for place, some in [(first, count)] if close else [(int(place), 1) for place in places]:
            file.seek(begin + place * size * 2)
            parts.append(np.fromfile(file, "<f2", some * size))
            if len(parts[-1]) != some * size:
                raise _changed(path)
    found = np.concatenate(parts).reshape(-1, *shape)
    return found[places - first] if close else found


def file_layout(file, size):
    """Where the maps begin in a file, and how many there are, with four bytes of each behind."""
    file.seek(8)  # after the magic string and version: the length of the header
    begin = 10 + int.from_bytes(file.read(2), "little")
    stored, rest = divmod(os.fstat(file.fileno()).st_size - begin, 2 * size + 4)
    if rest or stored < 1:
        raise _changed(file.name)
    return begin, stored


def _stored_positions(path, shape):
    size = math.prod(shape)
    with open(path, "rb") as file:
        return _positions(file, *file_layout(file, size), size)


def _positions(file, begin, stored, size):
    file.seek(begin + stored * size * 2)
    return np.fromfile(file, "<i4", stored)


def _changed(path):
    return OSError(f"{path}: became shorter or longer while it was read")


class FeatureFolder(DerivedStore):
    """The settings and the weights of all features of one backbone, one size and one stream.

    `endpoint` is the one that the command of a remedy makes.
    """

    what = "features"

    def __init__(self, data, backbone: str, size: int, stream=RGB, endpoint: str = ""):
        super().__init__(data, f"{data}/features/{slug(backbone)}-{size}{stream.suffix}")
        self.backbone, self.size, self.stream, self.endpoint = backbone, size, stream, endpoint
        self.weights_path = self.folder / "backbone.weights.h5"

    def remedy(self) -> str:
        made = self.recorded_settings()
        weights = made.get("weights", "imagenet")
        command = ["--backbone", self.backbone, "--size", self.size]
        command += ["--endpoint", self.endpoint] if self.endpoint else []
        command += [] if weights == "imagenet" else ["--weights", weights or "none"]
        if self.stream.reads_flow:
            command += ["--input", self.stream.input, "--snippet", self.stream.snippet]
            command += ["--flow-method", self.stream.flow_method]
        return f"Make them with: {tables.command('features', self.data, *command)}"

    def check_weights(self) -> None:
        """`DataError` unless the file of weights holds those that made the features."""
        expected = self.provenance()["weights_sha256"]
        found = weights_file_hash(self.weights_path)
        if found != expected:
            raise DataError(
                f"{self.weights_path}: is not the backbone that made the features: its weights "
                f"have the hash {found or '(unreadable)'}, expected {expected}. {self.remedy()}"
            )

    def map_store(self, name: str) -> "MapStore":
        return MapStore(self, name)

    def reader(self, maps) -> FeatureReader:
        """Reads the endpoint that `maps` (`backbones.CachedMap`) make together."""
        networks = self.provenance()["networks"]
        shapes = [self.map_store(one.name).shape for one in maps]
        some = zip(maps, shapes, strict=True)
        return FeatureReader(tuple((one.name, shape, one.ceiling) for one, shape in some), networks)


class MapStore(DerivedStore):
    """The maps of one `CachedMap`: `length` positions of each video, of which some are stored."""

    what = "features"
    suffix = ".npy"
    columns = ("length", "positions")

    def __init__(self, parent: FeatureFolder, name: str):
        super().__init__(parent.data, parent.folder / name)
        self.parent, self.name = parent, name

    def remedy(self) -> str:
        return self.parent.remedy()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the map of one position."""
        return tuple(self.provenance()["shape"])

    def expected(self, row) -> dict:
        return {"length": self.parent.stream.positions(row.frames)}

    def stored(self, entry: dict) -> np.ndarray:
        """The positions whose maps are in the file of an entry."""
        if not is_partial(entry):
            return np.arange(int(entry["length"]), dtype="int32")
        return _stored_positions(self.folder / entry["file"], self.shape)

    def require(self, entries: list[dict], needed: dict[str, np.ndarray]) -> None:
        """`DataError` when an entry lacks one of the `needed` positions of its video."""
        for entry in entries:
            if not is_partial(entry):
                continue
            lacking = np.setdiff1d(needed[entry["id"]], self.stored(entry))
            if len(lacking):
                raise DataError(
                    f"{self.folder}: holds features of {entry['positions']} of {entry['length']} "
                    f"positions of {entry['id']}, not of position {lacking[0]}: those that other "
                    f"recipes or settings read. {self.remedy()} (what is there is kept)"
                )

    @contextlib.contextmanager
    def adding(self, row, positions: np.ndarray, shape: tuple[int, ...]):
        """Yield a function that takes the maps at `positions` not yet stored, in rising order.

        A file that is there is replaced, at the end, by one that has its maps too.
        """
        entry = self.index.get(row.id)
        old = self.stored(entry) if entry else np.zeros(0, "<i4")
        together = np.union1d(old, positions).astype("<i4")
        taken = 0
        with contextlib.ExitStack() as stack:
            copied = stack.enter_context(_copied(self.path(row.id), old, shape))
            append, written = stack.enter_context(self.appending(row.id))
            append(npy_header((len(together), *shape)))

            def add(maps):
                nonlocal taken
                half = np.asarray(maps).astype("<f2")
                if not np.isfinite(half).all():
                    raise DataError(
                        f"{row.id}: features must be finite and below 65504 (float16); use other "
                        "weights, or scan again without this video"
                    )
                for position, one in zip(positions[taken:], half, strict=False):
                    copied(position, append)
                    append(one.tobytes())
                taken += len(half)

            yield add
            if taken != len(positions):
                raise DataError(
                    f"{row.id}: expected features of {len(positions)} positions, got {taken}"
                )
            copied(math.inf, append)
            append(together.tobytes())
        self.add(row, written, positions=len(together))


def is_partial(entry: dict) -> bool:
    """Whether an entry of a `MapStore` has only some positions of its video."""
    return entry["positions"] != entry["length"]


def npy_header(shape):
    """The header of a float16 .npy file."""
    header = io.BytesIO()
    about = {"descr": "<f2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, about)
    return header.getvalue()


@contextlib.contextmanager
def _copied(path, positions, shape):
    """Yield a function that appends the maps of a file up to a position, those not yet appended."""
    size, done = math.prod(shape), 0
    with open(path, "rb") if len(positions) else contextlib.nullcontext() as file:

        def copied(until, append):
            nonlocal done
            end = np.searchsorted(positions, until)
            while done < end:
                some = min(end - done, _ROWS)
                append(file.read(some * size * 2))
                done += some

        if file:
            file.seek(file_layout(file, size)[0])
        yield copied


def weights_file_hash(path) -> str | None:
    """SHA-256 of the values in a Keras file of weights, whatever their layers are called."""
    import h5py

    digest, names = hashlib.sha256(), []
    try:
        with h5py.File(path) as file:
            file.visit(names.append)
            for name in sorted(names):
                if isinstance(file[name], h5py.Dataset):
                    digest.update(name.encode())
                    digest.update(file[name][()].tobytes())
    except (OSError, RuntimeError, KeyError):
        return None
    return digest.hexdigest()
