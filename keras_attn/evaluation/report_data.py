"""The data of the report of an evaluation: its tables, notes and pictures."""

import math

import numpy as np

from keras_attn.data import batches, records
from keras_attn.data.record_format import encoded_frames
from keras_attn.data.source import Source
from keras_attn.errors import DataError
from keras_attn.metrics.scores import Scores
from keras_attn.training import runs
from keras_attn.visualization import overlay
from keras_attn.visualization.report import Report, VideoCard


def examples(source: Source, scores: Scores, subset: str, count: int, where):
    """Pictures of the surest right and the surest wrong answers, and remarks about them.

    `where(video)` returns the attention over a video, `(T, h, w)`.
    """
    if not count:
        return [], [], []
    try:
        index = records.read_index(source.data, list(source.folder.rows.values()))
        paths = {record.id: record.path for record in index}
    except DataError as error:
        return [], [], [f"No pictures, because the frames of the videos are not there: {error}"]
    videos = {video.id: video for video in source.subsets[subset]}
    right = scores.predicted == scores.labels
    sureness = scores.probabilities[np.arange(len(right)), scores.predicted]
    order = np.argsort(-sureness, kind="stable")

    def pictures(rows):
        found = [(videos[scores.ids[row]], row) for row in rows[:count]]
        return [_example(where, video, paths, source, scores, row) for video, row in found]

    return pictures(order[right[order]]), pictures(order[~right[order]]), []


def _example(where, video, paths, source, scores, row):
    maps = where(video)
    chosen = overlay.key_frames(len(maps), 6)
    shown = source.frame_numbers(video, chosen)
    frames = batches.decoded_frames(encoded_frames(paths[video.id], shown)).numpy()
    picture = overlay.strip(frames, maps[chosen], count=len(chosen))
    answer, truth = scores.predicted[row], scores.labels[row]
    verdict = "" if answer == truth else f", truth: {scores.class_names[truth]}"
    probability = scores.probabilities[row, answer]
    title = f"{scores.class_names[answer]} ({probability:.0%}){verdict}"
    return VideoCard(title, video.id, overlay.jpeg_data_uri(picture))


def report(run, source: Source, evaluation, best, worst, remarks) -> Report:
    results = run.read_results()
    recipe = runs.flat(run.facts["recipe"])
    changed = {
        name.replace("model.", "arguments."): str(new) for name, new in evaluation.changes.items()
    }
    subsets = [{"subset": name, "videos": len(videos)} for name, videos in source.subsets.items()]
    rows = source.folder.manifest
    unusable = sum(not row.usable for row in rows)
    accounting = [*subsets, {"subset": "not in the split", "videos": _unused(rows, source)}]
    accounting.append({"subset": "unusable files", "videos": unusable})
    return Report(
        title=f"{run.path.resolve().name}: {evaluation.subset}",
        subtitle=f"{run.facts['recipe']['model']}, {len(run.classes)} classes, "
        f"{len(rows)} files found",
        notes=[*_notes(run, source), *remarks],
        metrics=evaluation.summary,
        data=accounting,
        history=results["history"],
        recipe=[
            (key, changed.get(key, str(value)), f"trained with {value}" if key in changed else "")
            for key, value in (dict.fromkeys(changed) | recipe).items()
        ],
        best=best,
        worst=worst,
        environment=list(run.facts["versions"].items()),
    )


def _notes(run, source):
    """Facts that a reader needs to judge the numbers."""
    notes = []
    if run.recipe.arguments.get("logit_tanh"):
        largest = 1 / (1 + (len(run.classes) - 1) * math.exp(-2))
        notes.append(
            "The logits of this model are bounded by -1 and 1 (Quan et al. 2020, eq. 7), so with "
            f"{len(run.classes)} classes no probability can exceed {largest:.1%}. They rank the "
            "classes, but the calibration error is large by construction."
        )
    if not same_data(run, source):
        notes.append(
            f"Scored on {source.data}, trained on {run.facts['data']}: whether the two share "
            "videos was not checked."
        )
    return notes


def _unused(rows, source):
    used = sum(len(videos) for videos in source.subsets.values())
    return sum(row.usable for row in rows) - used


def same_data(run, source: Source) -> bool:
    """Whether `source` is the data folder of the training."""
    return str(source.data.resolve()) == run.facts["data"]
