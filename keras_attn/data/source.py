"""The data of a training run or an evaluation: subsets of a data folder, as features or frames."""

from dataclasses import dataclass
from pathlib import Path

from keras_attn.data import batches, records, sampling
from keras_attn.data.batches import ClipIndex
from keras_attn.data.features import FeatureFolder, FeatureReader, is_partial
from keras_attn.data.flow_records import check_flow_contents, read_flow_index, read_flow_provenance
from keras_attn.data.imported_features import ImportedFeatures, frames_at
from keras_attn.data.positions import drawn_positions, fixed_positions
from keras_attn.data.streams import Stream
from keras_attn.data.video import Video
from keras_attn.datasets import tables
from keras_attn.errors import DataError, UsageError
from keras_attn.utils.files import sha256


@dataclass(frozen=True)
class Source:
    """The videos of each subset of a data folder, and how their clips are read.

    `stream` is what lies at each position of a video. `features` reads cached features, of the
    backbone whose weights are in `feature_folder`, or those that were `imported`; without them the
    source reads frames or flow.
    """

    folder: tables.DataFolder
    subsets: dict[str, list[Video]]
    clips_settings: object
    stream: Stream
    fold: int | None
    provenance: dict
    features: FeatureReader | None = None
    feature_folder: FeatureFolder | None = None
    imported: ImportedFeatures | None = None

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder.path

    @property
    def classes(self) -> list[str]:
        return self.folder.classes

    @property
    def feature_shape(self) -> tuple[int, ...] | None:
        """Shape of the cached features of one position."""
        return self.features and self.features.shape

    def clips(self, subset: str) -> ClipIndex:
        return batches.clip_index(self.subsets[subset], self._sampler)

    def reader(self, augment=(), random: bool = False):
        """A function that reads a clip; `random` draws other frames of each segment every time."""
        settings = self.clips_settings
        numbers = batches.frame_numbers(self._sampler, settings.snippet, random)
        if self.features:
            return batches.read_features(numbers, self.features)
        return batches.read_record(numbers, settings.size, augment, self.stream)

    def frame_numbers(self, video: Video, positions):
        """The frames of a video that are shown at these positions."""
        if self.imported is None:
            return positions
        return frames_at(self.imported.times(video.path)[positions], self.folder.rows[video.id])

    @property
    def _sampler(self):
        return sampling.sampler(self.clips_settings, training=True)

    def facts(self) -> dict:
        """The facts that a run records of its data, to refuse other data later."""
        return {
            "classes": self.classes,
            "data": str(self.data.resolve()),
            "fold": self.fold,
            "split_sha256": sha256(self.data / "split.csv"),
            "videos": {subset: len(videos) for subset, videos in self.subsets.items()},
            "input": self.provenance,
        }


def open_source(
    data, recipe, fold: int | None = None, read=None, *, training=True, check="quick", progress=None
) -> Source:
    """Open `data` for `recipe`, to train (else to ask a trained model) on the subsets in `read`.

    Without `read` these are all. The SHA-256 of their files is verified, by default only of files
    that changed since the last check, with `check="full"` of all, with calls of `progress(done,
    total, text)`: a wrong bit need not cause an error, it can also be learned from. Raises
    `DataError` when the split, records, flow or features are missing, damaged, or created with
    different settings.
    """
    if check not in ("quick", "full"):
        raise UsageError(f"`check` must be quick or full, got {check!r}")
    folder = tables.read_data_folder(data)
    labels = subset_labels(folder, fold)
    checking = {"full": check == "full", "progress": progress}
    read = [name for name in labels if read is None or name in read]
    if recipe.imported is not None:
        opened = _open_imported(folder, recipe.imported, labels, read, checking)
    elif recipe.cached:
        opened = _open_features(folder, recipe, labels, read, training, checking)
    else:
        wanted = [key for name in read for key in labels[name]]
        provenance, rows = stream_provenance(data, recipe.stream), list(folder.rows.values())
        videos = stream_videos(data, recipe.stream, wanted, rows, **checking)
        opened = {"provenance": provenance, "subsets": _in_subsets(videos, labels)}
    return Source(
        folder=folder,
        clips_settings=recipe.clips,
        stream=recipe.stream,
        fold=fold,
        **opened,
    )


def _in_subsets(videos, labels):
    by_id = {video.id: video for video in videos}
    return {name: [by_id[key] for key in some] for name, some in labels.items()}


def _open_features(folder, recipe, labels, read, training, checking):
    """The fields of a `Source` of cached features."""
    stream, maps = recipe.stream, recipe.cached_maps
    features = FeatureFolder(
        folder.path, recipe.backbone, recipe.clips.size, stream, recipe.endpoint
    )
    provenance = features.check({"backbone": recipe.backbone, "size": recipe.clips.size})
    if training:
        features.check_weights()
    _refuse_outdated(features)
    reader = features.reader(maps)
    rows = [folder.rows[key] for some in labels.values() for key in some]
    wanted = {key for name in read for key in labels[name]}
    stores = [features.map_store(one.name) for one in maps]
    for store in stores:
        store.check({"map": store.name, "weights_sha256": provenance["weights_sha256"]})
    entries = [store.complete(rows) for store in stores]
    for store, found in zip(stores, entries, strict=True):
        store.check_contents([entry for entry in found if entry["id"] in wanted], **checking)
    label = {key: number for some in labels.values() for key, number in some.items()}
    videos = [
        Video(row.id, str(stores[-1].path(row.id)), stream.positions(row.frames), label[row.id])
        for row in rows
    ]
    subsets = _in_subsets(videos, labels)
    if any(is_partial(entry) for found in entries for entry in found if entry["id"] in wanted):
        needed = _positions_read({name: subsets[name] for name in read}, recipe, training)
        for store, found in zip(stores, entries, strict=True):
            store.require([entry for entry in found if entry["id"] in wanted], needed)
    return {
        "subsets": subsets,
        "provenance": {
            **provenance,
            "endpoint": recipe.endpoint,
            "shape": list(reader.shape),
        },
        "features": reader,
        "feature_folder": features,
    }


def _open_imported(folder, name, labels, read, checking):
    """The fields of a `Source` of features that were made elsewhere."""
    store = ImportedFeatures(folder.path, name)
    provenance = store.provenance()
    rows = [folder.rows[key] for some in labels.values() for key in some]
    entries = {entry["id"]: entry for entry in store.complete(rows)}
    wanted = [entries[key] for name in read for key in labels[name]]
    store.check_contents(wanted, **checking)
    label = {key: number for some in labels.values() for key, number in some.items()}
    videos = [
        Video(key, str(store.path(key)), int(entry["length"]), label[key])
        for key, entry in entries.items()
    ]
    return {
        "subsets": _in_subsets(videos, labels),
        "provenance": {"features": name, **provenance},
        "features": store.reader(),
        "imported": store,
    }


def _refuse_outdated(features):
    """`DataError` if the records or the flow were created again, with other settings, since."""
    if not (features.data / "records" / "provenance.json").exists():
        return  # the features are enough
    made = stream_provenance(features.data, features.stream)
    flow = {"flow": made.pop("flow")} if features.stream.reads_flow else {}
    features.check({"records": made, **flow})


def _positions_read(subsets, recipe, training):
    """The positions, by video id, that a training or an evaluation reads of each subset."""
    read = {}
    for name, videos in subsets.items():
        if training and name == "train":
            read |= drawn_positions(videos, recipe.clips, recipe.seed, recipe.epochs)
        else:
            read |= fixed_positions(videos, recipe.clips, training)
    return read


def stream_provenance(data, stream: Stream) -> dict:
    """How the records were made that a stream reads, and under "flow" how their flow was."""
    provenance = records.read_provenance(data)
    if stream.reads_flow:
        flow = read_flow_provenance(data, stream.flow_name)
        different = tables.differences(flow.get("records", {}), provenance)
        if different:
            raise DataError(
                f"{data}: the flow {stream.flow_name} was estimated on records that were created "
                f"with different settings: {different}. Remove {data}/flow/{stream.flow_name} and "
                "estimate it again with keras-attn extract-flow"
            )
        provenance = {**provenance, "flow": flow}
    return provenance


def stream_videos(data, stream: Stream, check=None, rows=None, **checking) -> list[Video]:
    """The videos of `data` as a stream reads them, the contents of those in `check` checked.

    `check` holds ids, by default all; `rows` those of the usable videos, if they were read before;
    `checking` is `full` and `progress`. Raises `DataError` for what is missing or damaged.
    """
    found = records.read_index(data, rows)
    check = {record.id for record in found} if check is None else set(check)
    if stream.reads_frames:
        some = [record for record in found if record.id in check]
        records.check_contents(data, some, **checking)
    flows = {}
    if stream.reads_flow:
        planes = read_flow_index(data, stream.flow_name, rows)
        some = [record for record in planes if record.id in check]
        check_flow_contents(data, stream.flow_name, some, **checking)
        flows = {record.id: record.path for record in planes}
    return [
        Video(r.id, r.path, stream.positions(r.frames), r.label, flows.get(r.id, "")) for r in found
    ]


def subset_labels(data, fold: int | None = None) -> dict[str, dict[str, int]]:
    """Video id -> label for each subset of the split. With `fold`, that fold is the test subset.

    `data` is a path, or what was read of its tables.
    """
    folder = data if isinstance(data, tables.DataFolder) else tables.read_data_folder(data)
    subsets: dict[str, dict[str, int]] = {}
    folds = _folds(folder)
    _check_fold(folder, fold, folds)
    for key, subset in folder.split.items():
        if folds:
            subset = "test" if int(subset) == fold else "train"
        subsets.setdefault(subset, {})[key] = _single_label(folder.rows[key], folder.classes)
    return subsets


def training_subsets(folder: tables.DataFolder) -> list[list[str]]:
    """Ids of the training videos, in their order: one list, or one for each fold held out."""
    folds = map(int, _folds(folder)) if _folds(folder) else [None]
    return [list(subset_labels(folder, fold).get("train", ())) for fold in folds]


def _folds(folder):
    """The names of the folds; none when the split has subsets."""
    names = sorted(set(folder.split.values()))
    return names if all(name.isdigit() for name in names) else []


def _check_fold(folder, fold, folds):
    if folds and (fold is None or str(fold) not in folds):
        raise UsageError(
            f"{folder.path}: the split has folds {', '.join(folds)}; say with `fold` which one is "
            "held out"
        )
    if not folds and fold is not None:
        names = ", ".join(sorted(set(folder.split.values())))
        raise UsageError(f"{folder.path}: the split has subsets {names}, not folds; drop `fold`")


def _single_label(row, classes):
    if len(row.names) != 1:
        raise DataError(
            f"{row.id}: has {len(row.names)} labels ({row.labels}); the models here answer one "
            "class per video, so give each video one label and scan again"
        )
    return classes.index(row.labels)
