"""What a training run or an evaluation reads: the parts of a data folder, as features or frames."""

from dataclasses import dataclass
from pathlib import Path

from keras_attn.data import pipeline, record_index, sampling, tables
from keras_attn.data.features import FeatureStore
from keras_attn.data.pipeline import ClipIndex, Video
from keras_attn.errors import DataError, UsageError
from keras_attn.files import sha256


@dataclass(frozen=True)
class Source:
    """The videos of each part of a data folder, and how their clips are read.

    `feature_shape` (of a frame), `backbone_weights` (a path) and `provenance` are those of the
    cached features; without them the source reads frames.
    """

    data: Path
    classes: list[str]
    parts: dict[str, list[Video]]
    clips_settings: object
    fold: int | None
    provenance: dict
    feature_shape: tuple[int, ...] | None = None
    backbone_weights: Path | None = None

    def clips(self, part: str) -> ClipIndex:
        return pipeline.clip_index(self.parts[part], self._sampler)

    def reader(self, augment=(), random: bool = False):
        """What reads a clip for training; `random`: other frames of each segment every time."""
        settings = self.clips_settings
        numbers = pipeline.frame_numbers(self._sampler, settings.snippet, random)
        if self.feature_shape:
            return pipeline.read_features(numbers, self.feature_shape)
        return pipeline.read_record(numbers, settings.size, augment)

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
            "videos": {part: len(videos) for part, videos in self.parts.items()},
            "input": self.provenance,
        }


def open_source(data, recipe, fold: int | None = None, read=None) -> Source:
    """Open the data folder `data` for `recipe` (its `input`, `backbone`, `endpoint` and `clips`).

    The records of the parts named in `read`, by default all, are held against their SHA-256, at the
    speed of the disk: a wrong bit need not fail later, it can also just be learned from. Raises
    `DataError` when the split, records or features are missing, damaged, or made otherwise.
    """
    data = Path(data)
    classes = tables.read_classes(data)
    labels = part_labels(data, fold)
    known = {key: label for part in labels.values() for key, label in part.items()}
    shape = weights = None
    if recipe.cached:
        store = FeatureStore(data, recipe.backbone, recipe.clips.size, recipe.endpoint)
        names = {"backbone": recipe.backbone, "endpoint": recipe.endpoint}
        provenance = store.check({**names, "size": recipe.clips.size})
        shape, weights = tuple(provenance["shape"]), store.weights_path
        if not weights.exists():
            raise DataError(f"{weights}: missing. {store.remedy}")
        videos = {video.id: video for video in store.videos(known, shape)}
    else:
        provenance = record_index.read_provenance(data)
        records = {record.id: record for record in record_index.read_index(data)}
        wanted = [part for part in labels if read is None or part in read]
        record_index.check_contents(data, [records[key] for part in wanted for key in labels[part]])
        videos = {r.id: Video(r.id, r.path, r.frames, r.label) for r in records.values()}
    parts = {part: [videos[key] for key in some] for part, some in labels.items()}
    return Source(data, classes, parts, recipe.clips, fold, provenance, shape, weights)


def part_labels(data, fold: int | None = None) -> dict[str, dict[str, int]]:
    """For each part of the split: video id -> label. With `fold`: that fold is the test part."""
    data = Path(data)
    classes = tables.read_classes(data)
    rows = {row.id: row for row in tables.read_manifest(data) if row.usable}
    parts: dict[str, dict[str, int]] = {}
    assigned = tables.read_split(data)
    folded = all(part.isdigit() for part in assigned.values())
    _check_fold(data, fold, sorted(set(assigned.values())), folded)
    for key, part in assigned.items():
        part = ("test" if int(part) == fold else "train") if folded else part
        parts.setdefault(part, {})[key] = _single_label(rows[key], classes)
    return parts


def _check_fold(data, fold, names, folded):
    if folded and (fold is None or str(fold) not in names):
        raise UsageError(
            f"{data}: the split has folds {', '.join(names)}; say which is held out with --fold"
        )
    if not folded and fold is not None:
        raise UsageError(f"{data}: the split has parts {', '.join(names)}, not folds; drop --fold")


def _single_label(row, classes):
    if len(row.names) != 1:
        raise DataError(
            f"{row.id}: has {len(row.names)} labels ({row.labels}); the models here "
            "answer one class a video, so give each video one label and scan again"
        )
    return classes.index(row.labels)
