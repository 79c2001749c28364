"""Every store of derived files under one surface, for tests of what all of them must do.

Run as a script, `derived.py ROOT KIND ...`, it makes the files of each kind, in the data folder
ROOT/FAULT-KIND and in a process of its own that meets a fault at its third file: "kill" ends it by
SIGKILL before the file has its name, "full" lets no file grow beyond 100 bytes from then on.
"""

import dataclasses
import itertools
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import graphs
from foreign import foreign_folder

import keras_attn
from keras_attn.data.features import FeatureFolder
from keras_attn.data.flow_records import FlowStore, extract_flow
from keras_attn.data.imported_features import ImportedFeatures
from keras_attn.data.records import RecordStore, prepare
from keras_attn.data.store import DerivedStore
from keras_attn.datasets import tables
from keras_attn.errors import UserError
from keras_attn.trajectories.store import TrajectoryStore
from keras_attn.utils import files

FAULTS, FULL = ("kill", "full"), 100  # bytes


@dataclasses.dataclass(frozen=True)
class Kind:
    """`make` writes what is missing and returns the number of files; `other` has other settings."""

    store: Callable[..., DerivedStore]
    make: Callable
    other: Callable
    different: str  # what `other` has otherwise


def _flow(data, height=16, **options):
    return extract_flow(data, "dis", width=18, height=height, workers=1, **options).written


def _trajectories(data, limit=3, **options):
    rows = [row for row in tables.read_manifest(data) if row.usable]
    store = TrajectoryStore(data, 32, limit)
    return len(store.extract(rows, {row.id for row in rows}, 1, **options))


def _features(data, **options):
    made = keras_attn.features(data, backbone="tiny", weights=None, size=32, **options)
    return made.written


def _other_features(data):
    """As by a version of this package that prepares frames otherwise."""
    path = FeatureFolder(data, "tiny", 32).provenance_path
    made = files.read_json(path)
    files.write_json(path, made | {"preprocessing": "other"})
    try:
        _features(data)
    finally:
        files.write_json(path, made)


def _imported(data, **options):
    folder = Path(data) / "elsewhere" / "theirs"
    if not folder.exists():
        folder.mkdir(parents=True)
        foreign_folder(data, folder)
    return keras_attn.features(data, from_=folder, **options).written


def _other_imported(data):
    path = Path(data) / "elsewhere" / "theirs" / "provenance.json"
    made = files.read_json(path)
    files.write_json(path, made | {"revision": "other"})
    try:
        _imported(data)
    finally:
        files.write_json(path, made)


KINDS = {
    "records": Kind(
        RecordStore,
        lambda data, **options: prepare(data, workers=1, **options).written,
        lambda data: prepare(data, workers=1, quality=80),
        "quality is 95, expected 80",
    ),
    "flow": Kind(
        lambda data: FlowStore(data, "dis"),
        _flow,
        lambda data: _flow(data, height=17),
        "height is 16, expected 17",
    ),
    "trajectories": Kind(
        lambda data: TrajectoryStore(data, 32, 3),
        _trajectories,
        lambda data: _trajectories(data, limit=4),
        "limit is 3, expected 4",
    ),
    "features": Kind(
        lambda data: FeatureFolder(data, "tiny", 32).map_store("maps"),
        _features,
        _other_features,
        "preprocessing is 'other', expected",
    ),
    "imported": Kind(
        lambda data: ImportedFeatures(data, "theirs"),
        _imported,
        _other_imported,
        "revision is 'ed25f3a', expected 'other'",
    ),
}


def _meet(fault, data, kind):
    """Make the files of a kind, with the fault at the third file that is brought to the disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    flush, suffix, flushed = files.flush, kind.store(data).suffix, []

    def faulty(path):
        flush(path)
        flushed.extend([path] if str(path).endswith(suffix) else [])
        if fault == "full" and len(flushed) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (FULL, FULL))
        if fault == "kill" and len(flushed) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    files.flush = faulty
    graphs.leave_as_they_are()  # as in the tests, whose files must be the same to the bit
    try:
        kind.make(data)
    except UserError as error:
        sys.stdout.write(f"{error}\n")


def main(root, names):
    for fault, name in itertools.product(FAULTS, names):
        child = os.fork()  # before TensorFlow has threads: its import takes seconds
        if not child:
            _meet(fault, f"{root}/{fault}-{name}", KINDS[name])
            sys.stdout.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{fault} {name} {status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
