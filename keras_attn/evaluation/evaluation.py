"""Score the videos of a subset of the data with a trained run, and write the report."""

import dataclasses
import hashlib
import typing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_attn.data import batches
from keras_attn.data.record_format import encoded_frames, encoded_planes
from keras_attn.data.source import Source, open_source
from keras_attn.errors import DataError, UsageError, require
from keras_attn.evaluation import report_data
from keras_attn.inference import loading
from keras_attn.inference.answers import finite
from keras_attn.metrics import classification
from keras_attn.metrics.scores import Scores, log_probabilities, write_scores
from keras_attn.training import runs
from keras_attn.utils.files import write_json
from keras_attn.visualization.report import report_dict, write_report


@dataclass(frozen=True)
class Evaluation:
    """The summary of an evaluation, and its folder with scores.npz, metrics.json, report.html."""

    folder: Path
    subset: str
    summary: classification.Summary
    changes: dict = dataclasses.field(default_factory=dict)

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
        return {
            "folder": str(self.folder),
            "subset": self.subset,
            "changes": self.changes,
        } | numbers


def evaluate(
    run: Path | str,
    *,
    data: Path | str | None = None,
    changes: dict[str, object] | None = None,
    subset: str = "test",
    examples: int = 4,
    check: typing.Literal["quick", "full"] = "quick",
    progress=None,
) -> Evaluation:
    """Score a subset of the videos and write the report.

    The clips of a video become one answer by the rule of the model's paper, or of the recipe
    (`clip_aggregation`). The files go to `RUN/evaluation/SUBSET/`, those of changes or of other
    data to a folder next to it that names them.

    Args:
        run: Run folder.
        data: Data folder; the one that the run was trained on if not given.
        changes: Fields of the recipe that need no training and their values, such as
            `clips.test_frames` or `model.test_pooling`.
        subset: Subset of the split, as train, validation or test.
        examples: Number of the best and of the worst videos shown in the report.
        check: Which data files to verify by checksum first: those whose size or time stamp
            changed since the last check ("quick"), or all of them ("full").
        progress: Called with the number of files checked or of videos scored, that of all, and the
            id of one.

    Returns:
        The summary, with the folder that was written.

    Raises:
        UsageError: For a negative number of `examples`.
        DataError: When the subset is empty, or the data or its split are not those of the training.
        UserError: When the run is not finished, or its model answers NaN.
    """
    if examples < 0:
        raise UsageError(f"`examples` must be at least 0, got {examples}")
    if examples:  # before the work, not after it
        require("cv2", "drawing the report's pictures (none with `examples=0`)")
    run = runs.open_run(run)
    recipe = loading.changed_recipe(run, changes)
    recognizer = loading.load_recognizer(run.path, changes)
    source = open_source(
        data or run.facts["data"],
        recipe,
        run.facts["fold"],
        read=(subset,),
        training=False,
        check=check,
        progress=progress,
    )
    _check_source(run, source, subset)
    videos = source.subsets[subset]
    answers = []
    for done, video in enumerate(videos):
        answer = finite(recognizer.ask(**_inputs(recognizer, source, video)), run.path)
        answers.append(answer["clip_probabilities"])
        if progress:
            progress(done + 1, len(videos), video.id)
    scores = _scores(run, recipe.aggregation, subset, videos, answers)
    groups = {row.id: row.group for row in source.folder.manifest}
    grouped = [groups[video.id] or video.id for video in videos]
    summary = classification.summarize(scores, grouped if any(groups.values()) else None)
    folder = run.path / "evaluation" / _folder_name(run, source, subset, changes)
    evaluation = Evaluation(folder, subset, summary, dict(changes or {}))
    write_scores(folder / "scores.npz", scores)

    def where(video):
        return recognizer.ask(**_inputs(recognizer, source, video))["where"]

    examples = report_data.examples(source, scores, subset, examples, where)
    report = report_data.report(run, source, evaluation, *examples)
    write_json(folder / "metrics.json", report_dict(report))
    write_report(evaluation.report, report)
    return evaluation


def _folder_name(run, source: Source, subset, changes):
    """`SUBSET`, and what differs from the run: another evaluation must not overwrite its own."""
    differences = [f"{name}={value}" for name, value in sorted((changes or {}).items())]
    if not report_data.same_data(run, source):
        path = source.data.resolve()
        digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]  # folders of one name
        differences.append(f"data={path.name}-{digest}")
    return "+".join([subset, *differences])


def _check_source(run, source: Source, subset):
    if source.classes != run.classes:
        raise DataError(
            f"{source.data}: its {len(source.classes)} classes are not the {len(run.classes)} that "
            f"{run.path} was trained on ({', '.join(run.classes[:5])}, ...)"
        )
    if source.provenance != run.facts["input"]:
        raise DataError(
            f"{source.data}: its features or records were created with different settings than "
            f"those that {run.path} was trained on; compare provenance.json there with run.json"
        )
    changed = source.facts()["split_sha256"] != run.facts["split_sha256"]
    if changed and report_data.same_data(run, source):
        raise DataError(
            f"{source.data}/split.csv: was written again since {run.path} was trained, so that "
            "videos of its training may be in any subset now. Train again, or restore the old split"
        )
    if not source.subsets.get(subset):
        there = ", ".join(f"{name} ({len(videos)})" for name, videos in source.subsets.items())
        raise DataError(f"{source.data}: no videos in the subset {subset!r}; there are {there}")


def _inputs(recognizer, source: Source, video) -> dict:
    """The arguments of `recognizer.ask` for a video of `source`."""
    if source.features:
        positions = recognizer.positions(video.length)
        features = source.features.read(video.path, positions, video.length)
        return {"features": features.astype("float32"), "length": video.length}
    if not source.stream.reads_flow:
        return {"jpegs": encoded_frames(video.path)}
    planes = batches.decoded_planes(encoded_planes(video.flow))
    if not source.stream.reads_frames:
        return {"planes": planes}
    frames = batches.decoded_frames(encoded_frames(video.path))
    return {"planes": planes, "frames": frames}


def _scores(run, aggregation, subset, videos, answers) -> Scores:
    ids = [video.id for video in videos]
    video_of_clip = np.repeat(np.arange(len(videos)), [len(clips) for clips in answers])
    together = classification.video_scores(np.concatenate(answers), video_of_clip, ids, aggregation)
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
        clip_aggregation=aggregation,
    )
