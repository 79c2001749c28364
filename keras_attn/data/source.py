"""What a training run or an evaluation reads: subsets of a data folder, as features or frames."""

from dataclasses import dataclass
from pathlib import Path

from keras_attn.data import batches, records, sampling
from keras_attn.data.batches import ClipIndex
from keras_attn.data.features import FeatureStore
from keras_attn.data.flow_records import check_flow_contents, read_flow_index, read_flow_provenance
from keras_attn.data.streams import Stream
from keras_attn.data.video import Video
from keras_attn.datasets import tables
from keras_attn.errors import DataError, UsageError
from keras_attn.utils.files import sha256


@dataclass(frozen=True)
class Source:
    """The videos of each subset of a data folder, and how their clips are read.

    `stream` is what lies at each position of a video. `feature_shape` (of a position),
    `backbone_weights` (a path) and `provenance` are those of the cached features; without them the
    source reads frames or flow.
    """

    data: Path
    classes: list[str]
    subsets: dict[str, list[Video]]
    clips_settings: object
    stream: Stream
    fold: int | None
    provenance: dict
    feature_shape: tuple[int, ...] | None = None
    backbone_weights: Path | None = None

    def clips(self, subset: str) -> ClipIndex:
        return batches.clip_index(self.subsets[subset], self._sampler)

    def reader(self, augment=(), random: bool = False):
        """What reads a clip for training; `random`: other frames of each segment every time."""
        settings = self.clips_settings
        numbers = batches.frame_numbers(self._sampler, settings.snippet, random)
        if self.feature_shape:
            return batches.read_features(numbers, self.feature_shape)
        return batches.read_record(numbers, settings.size, augment, self.stream)

    @property
    def _sampler(self):
        return sampling.sampler(self.clips_settings, training=True)

    def facts(self) -> dict:
        """What a run records of its data, to refuse other data later."""
        return {
            "classes": self.classes,
            "data": str(self.data.resolve()),
            "fold": self.fold,
            "split_sha256": sha256(self.data / "split.csv"),
            "videos": {subset: len(videos) for subset, videos in self.subsets.items()},
            "input": self.provenance,
        }


def open_source(data, recipe, fold: int | None = None, read=None) -> Source:
    """Open `data` for `recipe` (its `cached`, `backbone`, `endpoint`, `stream` and `clips`).

    The records of the subsets named in `read`, by default all, are held against their SHA-256, at
    the speed of the disk: a wrong bit need not fail later, it can also just be learned from. Raises
    `DataError` when the split, records, flow or features are missing, damaged, or made otherwise.
    """
    data = Path(data)
    classes = tables.read_classes(data)
    labels = subset_labels(data, fold)
    known = {key: label for subset in labels.values() for key, label in subset.items()}
    shape = weights = None
    if recipe.cached:
        store = FeatureStore(
            data, recipe.backbone, recipe.clips.size, recipe.endpoint, recipe.stream
        )
        names = {"backbone": recipe.backbone, "endpoint": recipe.endpoint}
        provenance = store.check({**names, "size": recipe.clips.size})
        shape, weights = tuple(provenance["shape"]), store.weights_path
        if not weights.exists():
            raise DataError(f"{weights}: missing. {store.remedy}")
        videos = {video.id: video for video in store.videos(known, shape)}
    else:
        wanted = [
            key for subset in labels if read is None or subset in read for key in labels[subset]
        ]
        provenance = stream_provenance(data, recipe.stream)
        videos = {video.id: video for video in stream_videos(data, recipe.stream, wanted)}
    subsets = {subset: [videos[key] for key in some] for subset, some in labels.items()}
    return Source(
        data, classes, subsets, recipe.clips, recipe.stream, fold, provenance, shape, weights
    )


def stream_provenance(data, stream: Stream) -> dict:
    """How the records were made that a stream reads, and under "flow" how their flow was."""
    provenance = records.read_provenance(data)
    if stream.reads_flow:
        provenance = {**provenance, "flow": read_flow_provenance(data, stream.flow_name)}
    return provenance


def stream_videos(data, stream: Stream, check=None) -> list[Video]:
    """The videos of `data` as a stream reads them, the contents of those in `check` checked.

    `check` holds ids, by default all. Raises `DataError` for what is missing or damaged.
    """
    found = records.read_index(data)
    check = {record.id for record in found} if check is None else set(check)
    if stream.reads_frames:
        records.check_contents(data, [record for record in found if record.id in check])
    flows = {}
    if stream.reads_flow:
        planes = read_flow_index(data, stream.flow_name)
        some = [record for record in planes if record.id in check]
        check_flow_contents(data, stream.flow_name, some)
        flows = {record.id: record.path for record in planes}
    return [
        Video(r.id, r.path, stream.positions(r.frames), r.label, flows.get(r.id, "")) for r in found
    ]


def subset_labels(data, fold: int | None = None) -> dict[str, dict[str, int]]:
    """Video id -> label for each subset of the split. With `fold`, that fold is the test subset."""
    data = Path(data)
    classes = tables.read_classes(data)
    rows = {row.id: row for row in tables.read_manifest(data) if row.usable}
    subsets: dict[str, dict[str, int]] = {}
    assigned = tables.read_split(data)
    folded = all(subset.isdigit() for subset in assigned.values())
    _check_fold(data, fold, sorted(set(assigned.values())), folded)
    for key, subset in assigned.items():
        subset = ("test" if int(subset) == fold else "train") if folded else subset
        subsets.setdefault(subset, {})[key] = _single_label(rows[key], classes)
    return subsets


def _check_fold(data, fold, names, folded):
    if folded and (fold is None or str(fold) not in names):
        raise UsageError(
            f"{data}: the split has folds {', '.join(names)}; say which is held out with --fold"
        )
    if not folded and fold is not None:
        raise UsageError(
            f"{data}: the split has subsets {', '.join(names)}, not folds; drop --fold"
        )


def _single_label(row, classes):
    if len(row.names) != 1:
        raise DataError(
            f"{row.id}: has {len(row.names)} labels ({row.labels}); the models here "
            "answer one class a video, so give each video one label and scan again"
        )
    return classes.index(row.labels)
