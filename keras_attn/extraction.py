"""Run a backbone over prepared videos once, so that training need not."""

from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from keras_attn.backbones import BACKBONES, build_backbone, weights_hash
from keras_attn.data import pipeline, record_index, tables
from keras_attn.data.features import FeatureStore, IndexWriter
from keras_attn.errors import UsageError
from keras_attn.files import locked, remove_leftovers, staging


@dataclass(frozen=True)
class FeaturesSummary:
    """How many videos got features now (`written`) or had them (`kept`)."""

    folder: Path
    written: int
    kept: int
    frames: int
    shape: tuple[int, ...]

    def lines(self) -> list[str]:
        total = self.written + self.kept
        shape = "x".join(map(str, self.shape))
        return [
            f"{total} videos = {self.written} written + {self.kept} kept",
            f"{self.frames} frames of {shape} float16 in {self.folder}",
        ]

    def as_dict(self) -> dict:
        return {**vars(self), "folder": str(self.folder), "shape": list(self.shape)}


def features(
    data,
    backbone: str = "inception_v3",
    *,
    endpoint: str | None = None,
    weights: str | None = "imagenet",
    size: int | None = None,
    batch_size: int = 32,
    progress=None,
) -> FeaturesSummary:
    """Write what a backbone makes of every frame of every record of `data`, as float16.

    `endpoint` is where the backbone is cut (`BACKBONES[name].endpoints`; several joined by "+"), by
    default at its last maps. `size` is the input side in pixels, by default the backbone's own;
    `weights` are `"imagenet"`, a path, or None for random ones. Videos that have their features are
    left alone. Raises `DataError` when the folder holds features that were made in another way or a
    record is damaged, `UserError` when another process writes there.
    """
    if backbone not in BACKBONES:
        raise UsageError(f"no backbone {backbone!r}; there are {', '.join(BACKBONES)}")
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}")
    entry = BACKBONES[backbone]
    if not entry.per_frame:
        raise UsageError(
            f"backbone {backbone}: sees the frames of a clip together, so nothing of a single "
            "frame can be cached; train it with --set cached=false"
        )
    size = entry.size if size is None else size
    endpoint = endpoint or entry.endpoint
    keras.utils.set_random_seed(0)  # weights=None must give the same backbone when taken up again
    try:
        model = build_backbone(backbone, size=size, weights=weights, endpoint=endpoint)
    except ValueError as error:
        raise UsageError(str(error)) from error
    shape = tuple(model.output_shape[1:])
    store = FeatureStore(data, backbone, size, endpoint)
    store.claim(
        {
            "backbone": backbone,
            "endpoint": endpoint,
            "size": size,
            "shape": list(shape),
            "weights": None if weights is None else str(weights),
            "weights_sha256": weights_hash(model),
            "preprocessing": entry.preprocessing,
            "geometry": f"whole frame squeezed to {size} x {size}",
            "records": record_index.read_provenance(data),
        }
    )
    busy = f"{store.folder}: another process makes these features; wait for it, or stop it"
    with locked(store.folder, busy) as held:
        if held:
            remove_leftovers(store.folder)
        with staging(store.weights_path) as beside:
            model.save_weights(beside)
        return _fill(store, model, shape, batch_size, progress)


def _fill(store, model, shape, batch_size, progress):
    rows = record_index.read_index(store.data)
    kept = store.kept(shape)
    todo = [row for row in rows if row.id not in kept]
    record_index.check_contents(store.data, todo)
    sources = {row.id: row.sha256 for row in tables.read_manifest(store.data)}
    with IndexWriter(store, dict(kept)) as index:
        for number, row in enumerate(rows, 1):
            if row.id not in kept:
                pieces = maps(model, row.path, store.size, batch_size)
                store.write(row.id, pieces, row.frames, shape)
                index.add(row.id, row.frames, sources[row.id])
            if progress:
                progress(number, len(rows), row.id)
    frames = sum(row.frames for row in rows)
    return FeaturesSummary(store.folder, len(todo), len(rows) - len(todo), frames, shape)


def maps(model, path, size, batch_size):
    """The maps of a record, `batch_size` frames at a time; the last piece is filled up and cut,
    because a model is compiled again for each size of a batch."""
    encoded = pipeline.encoded_frames(tf.io.read_file(str(path)))

    def read(jpeg):
        return pipeline.picture(jpeg, size)

    dataset = (
        tf.data.Dataset.from_tensor_slices(encoded)
        .map(read, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(2)
    )
    for pictures in dataset:
        count = len(pictures)
        filled = tf.pad(pictures, [(0, batch_size - count), (0, 0), (0, 0), (0, 0)])
        yield model.predict_on_batch(filled)[:count]
