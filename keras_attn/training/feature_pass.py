"""One pass of a backbone over the positions whose maps are missing."""

import contextlib
import itertools
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_attn.backbones import find_backbone, golden
from keras_attn.backbones.caching import build_maps, mean_of
from keras_attn.backbones.registry import whole_network
from keras_attn.backbones.run_weights import weights_file
from keras_attn.data.features import (
    FeatureFolder,
    FeatureReader,
    is_partial,
    weights_file_hash,
)
from keras_attn.data.source import stream_provenance, stream_videos
from keras_attn.datasets.tables import shortened
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.training.backbone_outputs import computed, store_outputs
from keras_attn.utils.files import exclusive, make_folder, sha256, staging, write_json

_NONE = np.zeros(0, "int32")


@dataclass(frozen=True)
class FeaturesSummary:
    """Counts of videos: computed now (`written`), stored before (`kept`), `failed`; and contents.

    `positions` are those that are stored, of the `length` of all videos; `maps` has the shape of
    each map by its name; `problems` has a sentence for each video without features, `notes` are
    sentences about what was left out.
    """

    folder: Path
    written: int
    kept: int
    length: int
    positions: int
    maps: dict[str, tuple[int, ...]]
    bytes: int
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        return len(self.problems)

    def lines(self) -> list[str]:
        total = self.written + self.kept + self.failed
        failed = f" + {self.failed} failed" if self.failed else ""
        return [
            f"{total} videos = {self.written} written + {self.kept} kept{failed}",
            f"{self.positions} of {self.length} positions of {_sizes(self.maps)}: "
            f"{self.bytes / 2**20:.1f} MiB in {self.folder}",
            *shortened(self.problems + self.notes),
        ]

    def as_dict(self) -> dict:
        maps = {name: list(shape) for name, shape in self.maps.items()}
        return {**vars(self), "failed": self.failed, "folder": str(self.folder), "maps": maps}


def _sizes(maps):
    shapes = [f"{'x'.join(map(str, shape))} ({name})" for name, shape in maps.items()]
    return f"{', '.join(shapes)} float16"


class FeaturePass:
    """Computes the missing feature maps of a folder."""

    def __init__(self, folder: FeatureFolder, maps, rows, videos, weights, batch_size, progress):
        self.folder, self.weights, self.batch_size = folder, weights, batch_size
        self.rows, self.videos = rows, {video.id: video for video in videos}
        self.maps = {one.name: one for one in maps}
        self.stores = {name: folder.map_store(name) for name in self.maps}
        self.entry = find_backbone(folder.backbone)
        self.progress = progress or (lambda done, total, text: None)
        self.settings = self._settings()
        self.problems: list[str] = []

    def run(self, readable: dict[str, np.ndarray]) -> FeaturesSummary:
        """Make what is missing of the `readable` positions, by video id; of others, of all."""
        fresh = not self.folder.provenance_path.exists()
        network = self._network() if fresh else None  # its errors come before anything is written
        make_folder(self.folder.folder)
        busy = (
            f"{self.folder.folder}: another process writes features there; wait for it, or stop it"
        )
        with exclusive(self.folder.folder, busy), contextlib.ExitStack() as self.open_stores:
            self._claim(network)
            for store in self.stores.values():
                if store.provenance_path.exists():
                    self._open(store)
            missing = {name: self._missing(name, readable) for name in self.maps}
            todo = [row for row in self.rows if any(row.id in some for some in missing.values())]
            for name in self.maps:
                self._average(name, missing[name])
            left = [row for row in todo if any(row.id in some for some in missing.values())]
            if left:
                self._compute({name: some for name, some in missing.items() if some}, left)
            return self._summary(len(todo))

    def _summary(self, todo):
        stored = {}
        for store in self.stores.values():
            for key, entry in store.index.items():
                stored[key] = max(stored.get(key, 0), int(entry["positions"]))
        entries = [entry for store in self.stores.values() for entry in store.index.values()]
        return FeaturesSummary(
            folder=self.folder.folder,
            written=todo - len(self.problems),
            kept=len(self.rows) - todo,
            length=sum(video.length for video in self.videos.values()),
            positions=sum(stored.values()),
            maps={name: store.shape for name, store in self.stores.items()},
            bytes=sum(int(entry["bytes"]) for entry in entries),
            problems=tuple(self.problems),
        )

    # Settings and weights

    def _settings(self):
        stream = self.folder.stream
        made = stream_provenance(self.folder.data, stream)
        flow = {"flow": made.pop("flow"), "snippet": stream.snippet} if stream.reads_flow else {}
        both = stream.reads_flow and stream.reads_frames
        return {
            "backbone": self.folder.backbone,
            "size": self.folder.size,
            "networks": 2 if both and not self.entry.reinforced else 1,
            "preprocessing": self.entry.preprocessing,
            "geometry": f"whole frame stretched to {self.folder.size} x {self.folder.size}",
            "records": made,
            **flow,
        }

    def _network(self):
        if self.weights is None:
            keras.utils.set_random_seed(0)  # the same backbone when it is taken up again
        folder = self.folder
        try:
            return whole_network(folder.backbone, folder.size, self.weights, folder.stream.channels)
        except ValueError as error:
            raise UsageError(str(error)) from error

    def _claim(self, network):
        """Hold settings and weights against those that are there, or write them."""
        folder, recorded = self.folder, None
        given = {"weights": self.weights and str(self.weights)}
        file = weights_file(self.weights)
        if file:
            given = {"weights_file_sha256": sha256(file)}  # it may lie elsewhere now
        if folder.provenance_path.exists():
            recorded = folder.check(self.settings | given)["weights_sha256"]
            if weights_file_hash(folder.weights_path) == recorded:
                return
        network = network or self._network()
        with staging(folder.weights_path) as temporary:
            network.save_weights(temporary)
            digest = weights_file_hash(temporary)
            if recorded not in (None, digest):
                raise DataError(
                    f"{folder.weights_path}: is missing or damaged, and the `weights` "
                    f"{self.weights} are others: they have the hash {digest}, expected {recorded}. "
                    f"Give those that made the features, or remove {folder.folder}."
                )
        golden.record(folder.weights_path, {folder.backbone: (network, self.entry)})
        if recorded is None:
            named = {"weights": self.weights and str(self.weights), "weights_sha256": digest}
            write_json(folder.provenance_path, self.settings | named | given)

    def _open(self, store, shape=None):
        settings = {"map": store.name, "weights_sha256": self.folder.provenance()["weights_sha256"]}
        settings |= {"shape": list(shape)} if shape else {}
        self.open_stores.enter_context(store.writing(settings, self.rows, self.progress))

    # The making

    def _missing(self, name, readable):
        """The positions that a map lacks, by video id."""
        store, missing = self.stores[name], {}
        for video in self.videos.values():
            wanted = readable.get(video.id)
            entry = store.index.get(video.id)
            if entry and not is_partial(entry):
                continue
            if wanted is None:
                wanted = np.arange(video.length, dtype="int32")
            lacking = np.setdiff1d(wanted, store.stored(entry)) if entry else wanted
            if len(lacking):
                missing[video.id] = lacking
        return missing

    def _average(self, name, missing):
        """Make what is the mean of a map that is stored; `missing` then has the rest."""
        source = mean_of(self.folder.backbone, self.maps[name].endpoint)
        source_store = source and self.folder.map_store(source.name)
        if not missing or not source or not source_store.index_path.exists():
            return
        weights = self.folder.provenance()["weights_sha256"]
        source_store.check({"map": source.name, "weights_sha256": weights})
        shape, entries = source_store.shape, source_store.entries()
        rows = [row for row in self.rows if row.id in missing]
        used = [entries[r.id] for r in rows if source_store.is_whole(r, entries.get(r.id))]
        source_store.check_contents(used, progress=self.progress)
        reader = FeatureReader(((source.name, shape, source.ceiling),))
        for row in self.rows:
            wanted, entry = missing.get(row.id), entries.get(row.id)
            if wanted is None or not source_store.is_whole(row, entry):
                continue
            if len(np.setdiff1d(wanted, source_store.stored(entry))):
                continue
            if not self.stores[name].provenance_path.exists():
                self._open(self.stores[name], shape[-1:])
            with self.stores[name].adding(row, wanted, shape[-1:]) as add:
                for some in np.array_split(wanted, -(-len(wanted) // self.batch_size)):
                    path, length = source_store.path(row.id), int(entry["length"])
                    add(reader.read(path, some, length).mean((1, 2), dtype="float32"))
            del missing[row.id]

    def _compute(self, missing, rows):
        """Run the backbone, as far as the maps of `missing`, over what is missing of `rows`."""
        folder, stores = self.folder, [self.stores[name] for name in missing]
        ids = [row.id for row in rows]
        stream_videos(folder.data, folder.stream, ids, self.rows, progress=self.progress)
        model = build_maps(
            folder.backbone,
            folder.size,
            folder.weights_path,
            [self.maps[name] for name in missing],
            folder.stream.channels,
        )
        shapes = [tuple(output.shape[1:]) for output in model.outputs]
        wanted = [[some.get(row.id, _NONE) for some in missing.values()] for row in rows]
        positions = [np.unique(np.concatenate(some)) for some in wanted]
        self._announce(model, dict(zip(missing, shapes, strict=True)), missing, positions)
        for store, shape in zip(stores, shapes, strict=True):
            if not store.provenance_path.exists():
                self._open(store, shape)
        videos = [self.videos[row.id] for row in rows]
        outputs = computed(model, videos, positions, folder.size, folder.stream, self.batch_size)
        for number, pieces in itertools.groupby(outputs, lambda piece: piece[0]):
            lacking = list(zip(stores, shapes, wanted[number], strict=True))
            try:
                pieces = (maps for _, maps in pieces)
                store_outputs(rows[number], pieces, positions[number], lacking)
            except DataError as error:  # the other videos are done all the same
                self.problems.append(str(error))
            self.progress(number + 1, len(rows), rows[number].id)

    def _announce(self, model, shapes, missing, positions):
        """Tell the expected time and disk space; `UserError` when there is not enough of it."""
        count = sum(map(len, positions))
        folder = self.folder.folder
        needed = sum(
            2 * math.prod(shapes[name]) * sum(map(len, some.values()))
            for name, some in missing.items()
        )
        free = shutil.disk_usage(folder).free
        what = f"{count:,} positions of {_sizes(shapes)}: {_gib(needed)} in {folder}"
        if needed > free:
            raise UserError(f"{what}, but only {_gib(free)} are free on that disk. Free some.")
        batch = np.zeros((self.batch_size, *model.input_shape[1:]), "float32")
        model.predict_on_batch(batch)  # compiles it
        begun = time.perf_counter()
        model.predict_on_batch(batch)
        rate = self.batch_size / (time.perf_counter() - begun)
        seconds = count / rate
        duration = f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} seconds"
        text = f"{what}, about {duration} at {rate:.0f} positions/s; {_gib(free)} free"
        self.progress(0, len(positions), text)


def _gib(size):
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.1f} MiB"
