"""Score the videos of a subset of the data with a trained run, and write the report."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_attn.data import batches, records
from keras_attn.data.source import Source, open_source
from keras_attn.datasets import tables
from keras_attn.errors import DataError, UsageError, require
from keras_attn.inference.loading import load_recognizer
from keras_attn.metrics import classification
from keras_attn.metrics.scores import Scores, log_probabilities, write_scores
from keras_attn.training import runs
from keras_attn.utils.files import write_json
from keras_attn.visualization import overlay
from keras_attn.visualization.report import Report, VideoCard, report_dict, write_report


@dataclass(frozen=True)
class Evaluation:
    """The numbers of an evaluation, and the folder with `scores.npz`, `metrics.json` and
    `report.html`."""

    folder: Path
    subset: str
    summary: classification.Summary

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    def lines(self) -> list[str]:
        summary = self.summary
        interval = ""
        if summary.interval:
            low, high = summary.interval
            interval = f" ({summary.interval_level:.0%} interval {low:.1%} to {high:.1%})"
        return [
            f"{self.subset}: {summary.correct} of {summary.videos} videos right, accuracy "
            f"{summary.accuracy:.1%}{interval}, "
            f"mean over classes {summary.mean_class_accuracy:.1%}",
            f"always answering the most frequent class: {summary.largest_class_share:.1%}",
            f"report: {self.report}",
        ]

    def as_dict(self) -> dict:
        numbers = dataclasses.asdict(self.summary)
        numbers["confusion"] = self.summary.confusion.tolist()
        return {"folder": str(self.folder), "subset": self.subset, **numbers}


def evaluate(
    run, *, data=None, subset: str = "test", examples: int = 4, progress=None
) -> Evaluation:
    """Score every video of `subset` by its clips and write `RUN/evaluation/<subset>/`.

    Clip scores are means over the steps, a video's label the majority over its clips (Quan et al.
    2020, eq. 13-15). `data` is the data folder, by default the one of the training. `examples` is
    how many of the best and of the worst videos the report shows. Raises `DataError` when the
    subset is empty, or the data or its split are not those the run was trained on.
    """
    if examples < 0:
        raise UsageError(f"examples must be at least 0, got {examples}")
    if examples:  # said before the work, not after it
        require("cv2", "drawing the report's pictures (none with examples=0)")
    run = runs.open_run(run)
    recognizer = load_recognizer(run.path)
    source = open_source(data or run.facts["data"], run.recipe, run.facts["fold"], read=(subset,))
    _check_source(run, source, subset)
    videos = source.subsets[subset]
    answers = []
    for done, video in enumerate(videos):
        answers.append(_answer(recognizer, source, video)["clip_probabilities"][0].numpy())
        if progress:
            progress(done + 1, len(videos), video.id)
    scores = _scores(run, subset, videos, answers)
    groups = {row.id: row.group for row in tables.read_manifest(source.data)}
    grouped = [groups[video.id] or video.id for video in videos]
    summary = classification.summarize(scores, grouped if any(groups.values()) else None)
    folder = run.path / "evaluation" / subset
    evaluation = Evaluation(folder, subset, summary)
    write_scores(folder / "scores.npz", scores)
    pictures = _examples(recognizer, source, scores, subset, examples)
    report = _report(run, source, evaluation, *pictures)
    write_json(folder / "metrics.json", report_dict(report))
    write_report(evaluation.report, report)
    return evaluation


def _check_source(run, source: Source, subset):
    if source.classes != run.classes:
        raise DataError(
            f"{source.data}: its {len(source.classes)} classes are not the {len(run.classes)} that "
            f"{run.path} was trained on ({', '.join(run.classes[:5])}, ...)"
        )
    if source.provenance != run.facts["input"]:
        raise DataError(
            f"{source.data}: its features or records were made in another way than those that "
            f"{run.path} was trained on; compare provenance.json there with run.json"
        )
    if source.facts()["split_sha256"] != run.facts["split_sha256"] and _same_data(run, source):
        raise DataError(
            f"{source.data}/split.csv: was made anew since {run.path} was trained, so that videos "
            "of its training may be in any subset now. Train again, or bring the old split back."
        )
    if not source.subsets.get(subset):
        there = ", ".join(f"{name} ({len(videos)})" for name, videos in source.subsets.items())
        raise DataError(f"{source.data}: no videos in the subset {subset!r}; there are {there}")


def _same_data(run, source):
    return str(source.data.resolve()) == run.facts["data"]


def _answer(recognizer, source: Source, video):
    if source.feature_shape:
        features = np.load(video.path, allow_pickle=False)
        return recognizer.answer_features(features[None].astype("float32"))
    if not source.stream.reads_flow:
        jpegs = batches.encoded_frames(tf.io.read_file(video.path))
        return recognizer.answer_jpegs(jpegs[None])
    planes = batches.decoded_planes(batches.encoded_planes(tf.io.read_file(video.flow)))
    if source.stream.reads_frames:
        frames = batches.decoded_frames(batches.encoded_frames(tf.io.read_file(video.path)))
    else:
        frames = tf.zeros((len(planes) + 1, 1, 1, 3), tf.uint8)  # only their number matters
    return recognizer.answer_planes(frames[None], planes[None])


def _scores(run, subset, videos, answers) -> Scores:
    ids = [video.id for video in videos]
    video_of_clip = np.repeat(np.arange(len(videos)), [len(clips) for clips in answers])
    together = classification.video_scores(np.concatenate(answers), video_of_clip, ids)
    return Scores(
        ids=ids,
        labels=np.array([video.label for video in videos]),
        class_names=run.classes,
        probabilities=together.probabilities,
        logits=np.stack([log_probabilities(clips).mean(0) for clips in answers]),
        votes=together.votes,
        predicted=together.predicted,
        model=run.recipe.model,
        input=run.recipe.input,
        subset=subset,
    )


def _examples(recognizer, source: Source, scores: Scores, subset, count):
    """Pictures of the surest right and the surest wrong answers, and what to say of them."""
    if not count:
        return [], [], []
    try:
        paths = {record.id: record.path for record in records.read_index(source.data)}
    except DataError as error:
        return [], [], [f"No pictures, because the frames of the videos are not there: {error}"]
    videos = {video.id: video for video in source.subsets[subset]}
    right = scores.predicted == scores.labels
    sureness = scores.probabilities[np.arange(len(right)), scores.predicted]
    order = np.argsort(-sureness, kind="stable")

    def pictures(rows):
        return [_example(recognizer, source, videos, paths, scores, row) for row in rows[:count]]

    return pictures(order[right[order]]), pictures(order[~right[order]]), []


def _example(recognizer, source, videos, paths, scores, row):
    video = videos[scores.ids[row]]
    where = _answer(recognizer, source, video)["where"][0].numpy()
    encoded = batches.encoded_frames(tf.io.read_file(paths[video.id])).numpy()
    chosen = overlay.key_frames(len(encoded), 6)
    frames = np.stack([tf.io.decode_jpeg(encoded[i], channels=3).numpy() for i in chosen])
    picture = overlay.strip(frames, where[chosen], count=len(chosen))
    answer, truth = scores.predicted[row], scores.labels[row]
    verdict = "" if answer == truth else f", truth: {scores.class_names[truth]}"
    probability = scores.probabilities[row, answer]
    title = f"{scores.class_names[answer]} ({probability:.0%}){verdict}"
    return VideoCard(title, video.id, overlay.jpeg_data_uri(picture))


def _report(run, source: Source, evaluation, best, worst, remarks) -> Report:
    results = run.read_results()
    recipe = runs.flat(run.facts["recipe"])
    subsets = [{"subset": name, "videos": len(videos)} for name, videos in source.subsets.items()]
    rows = tables.read_manifest(source.data)
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
        recipe=[(key, str(value), "") for key, value in recipe.items()],
        best=best,
        worst=worst,
        environment=list(run.facts["versions"].items()),
    )


def _notes(run, source):
    """What a reader must know to judge the numbers."""
    notes = []
    if run.recipe.arguments.get("logit_tanh"):
        largest = 1 / (1 + (len(run.classes) - 1) * math.exp(-2))
        notes.append(
            "The logits of this model are bounded by -1 and 1 (Quan et al. 2020, eq. 7), so with "
            f"{len(run.classes)} classes no probability can exceed {largest:.1%}. They rank the "
            "classes, but the calibration error is large by construction."
        )
    if not _same_data(run, source):
        notes.append(
            f"Scored on {source.data}, trained on {run.facts['data']}: whether the two share "
            "videos was not checked."
        )
    return notes


def _unused(rows, source):
    used = sum(len(videos) for videos in source.subsets.values())
    return sum(row.usable for row in rows) - used
