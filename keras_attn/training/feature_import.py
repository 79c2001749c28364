"""Import a folder of features that were made elsewhere into a data folder."""

from pathlib import Path

from keras_attn.data.foreign_folder import ForeignFolder
from keras_attn.data.imported_features import ImportedFeatures
from keras_attn.datasets import tables
from keras_attn.training.feature_pass import FeaturesSummary


def import_features(data, folder, progress=None) -> FeaturesSummary:
    """Read the features of all usable videos of `data` from `folder`; see `features`."""
    foreign = ForeignFolder(folder)
    store = ImportedFeatures(data, Path(folder).resolve().name, foreign)
    found = tables.read_data_folder(data).rows
    rows = list(found.values())
    written = store.import_all(rows, progress)
    others = [key for key in foreign.ids if key not in found]
    notes = store.orphan_notes(rows)
    if others:
        notes += (
            f"{len(others)} videos of {foreign.path} are no usable videos of {data} and were left "
            f"out, the first are {', '.join(others[:3])}",
        )
    positions = sum(int(entry["length"]) for entry in store.index.values())
    return FeaturesSummary(
        folder=store.folder,
        written=written,
        kept=len(rows) - written,
        length=positions,
        positions=positions,
        maps={store.name: store.shape},
        bytes=sum(int(entry["bytes"]) for entry in store.index.values()),
        notes=notes,
    )
