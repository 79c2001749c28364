"""Train a model by a recipe: resumable to the bit, with the time spent waiting for data shown."""

import contextlib
import dataclasses
import math
import shutil
import warnings
from pathlib import Path
from typing import Literal

from keras_attn.backbones import find_backbone
from keras_attn.backbones.run_weights import record_run, weights_file
from keras_attn.data import batches, transforms
from keras_attn.data.source import open_source
from keras_attn.errors import UsageError
from keras_attn.models.input_swap import swap_input
from keras_attn.recipes import Recipe
from keras_attn.recipes.untrained import untrained
from keras_attn.training import build, flow_pretraining, runs
from keras_attn.training.loop import Checking, Outputs, Progress, StepLoop, enough_memory
from keras_attn.training.tensorboard import scalar_writer
from keras_attn.utils.files import exclusive, sha256, staging, write_json
from keras_attn.utils.process import peak_memory


def train(
    recipe: Recipe | str,
    data: Path | str,
    workdir: Path | str,
    *,
    changes: dict[str, object] | None = None,
    fold: int | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 60.0,
    check: Literal["quick", "full"] = "quick",
    progress=None,
) -> runs.Run:
    """Train a model by a recipe.

    Ctrl-C and SIGTERM stop a training after a step, with a checkpoint. A training that was stopped
    in this or any other way, even killed, goes on with `resume=True` to bit-identical weights; for
    that the random seeds of this process are set and TensorFlow's ops made deterministic, which
    stays so.

    A `UserWarning` names each network that starts from random weights where the paper has trained
    ones; `results.json` has them too. A training that fails before its first step leaves no run.

    Args:
        recipe: Name of a recipe, as `list_recipes` shows them. In Python also a `Recipe`.
        data: Data folder that was split and prepared.
        workdir: Folder of the run, to which everything is written.
        changes: Fields of the recipe to change and their values, such as `clips.frames`, or
            `model.NAME` for an argument of the model.
        fold: Fold whose videos are held out as the test subset, where the split has folds.
        resume: Go on with the run in the workdir. A run that does not exist begins.
        checkpoint_seconds: Seconds between two checkpoints within an epoch.
        check: Which data files to verify by checksum first: those whose size or time stamp
            changed since the last check ("quick"), or all of them ("full").
        progress: Called with a `Checking` for each file that is checked, a `Progress` after each
            step and the row of the history (a dict) after each epoch.

    Returns:
        The finished run.

    Raises:
        UsageError: If the recipe or a change is invalid, or does not match the data.
        DataError: If data are missing, damaged or of another kind.
        UserError: If the folder holds another run, the disk or the memory is full, or the loss
            becomes infinite or not a number. All but the last three are raised before the first
            step.
    """
    if not checkpoint_seconds >= 0:
        raise UsageError(f"checkpoint_seconds must be 0 or more, got {checkpoint_seconds}")
    recipe = build.resolve(recipe, changes)
    build.fix_randomness(recipe.seed)
    shown = progress and (lambda *count: progress(Checking(*count)))
    subsets = ("train", "validation")
    source = open_source(data, recipe, fold, read=subsets, check=check, progress=shown)
    build.check_subsets(recipe, source)
    recipe, facts = _facts(recipe, source, workdir)
    run = runs.claim(workdir, recipe, facts, resume)
    if run.finished():
        return run
    for notice in untrained(recipe):
        warnings.warn(notice, stacklevel=2)
    with enough_memory(f"{run.path}: the model", "batch_size"):
        model = build.build_model(recipe, source)
    checking = {"full": check == "full", "progress": shown}
    stages = flow_pretraining.open_stages(recipe, source, run.path, **checking)
    run.path.mkdir(parents=True, exist_ok=True)
    with exclusive(run.path, f"{run.path}: another process trains here; wait for it, or stop it"):
        run = runs.claim(workdir, recipe, facts, resume)  # another process may have been faster
        if run.finished():
            return run
        with _removed_if_nothing_is_learned(run, progress) as progress:
            runs.begin(run)
            if recipe.pretraining.wanted and not run.checkpoint.exists():
                flow_pretraining.pretrain(recipe, stages, run.path, progress, checkpoint_seconds)
                flow_pretraining.load_attention(model, recipe, run.path)
            loop = StepLoop(model, _outputs(run), checkpoint_seconds, progress)
            _fit(run, source, loop)
            _finish(run, source, model, loop.state)
    return run


@contextlib.contextmanager
def _removed_if_nothing_is_learned(run, progress):
    """Yield a `progress` that notes events; a run that begins here and fails early is removed.

    Without a step there is nothing to go on from, and the folder would be in the way of the next
    attempt. What was stopped on purpose goes on from whatever was saved.
    """
    begins, events = not (run.path / "run.json").exists(), set()

    def noted(event):
        events.add(type(event))
        if progress:
            progress(event)

    try:
        yield noted
    except BaseException as error:
        failed = isinstance(error, Exception) and Progress not in events
        if begins and (failed or not events):
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def _outputs(run):
    return Outputs(
        checkpoint=run.checkpoint,
        history=run.history,
        rate="learning_rate",
        batch="batch_size",
        unreadable="a clip could not be read: {error}. Make its record or features again "
        "(keras-attn prepare, features) and go on with `resume=True`.",
    )


def _fit(run, source, loop):
    """Train to the last epoch."""
    recipe, state = run.recipe, loop.state
    clips, read = source.clips("train"), source.reader(_augmentations(recipe), random=True)
    steps = -(-len(clips) // recipe.batch_size)
    validate = _validation(recipe, source, loop)
    write_scalars = scalar_writer(run.path / "tensorboard", state.history)
    with loop:
        while state.epoch < recipe.epochs:
            order = {"seed": recipe.seed, "epoch": state.epoch, "skip": state.step}
            dataset = batches.batches(clips, read, recipe.batch_size, **order)
            logs, speed = loop.run_epoch(dataset, steps, recipe.epochs)
            row = {"epoch": state.epoch + 1, **logs, **validate(), **speed}
            _keep_best(run, loop, row)
            write_scalars(row)
            loop.end_epoch(row)
    loop.write_history()  # a kill may have come just before it


def _augmentations(recipe):
    wanted = ((transforms.random_crop, recipe.random_crop), (transforms.random_flip, recipe.flip))
    return [transform for transform, is_wanted in wanted if is_wanted]


def _validation(recipe, source, loop):
    """A function that returns the logs of the validation subset, if there is one."""
    if not source.subsets.get("validation"):
        return lambda: {}
    clips, read = source.clips("validation"), source.reader()

    def validate():
        dataset = batches.batches(clips, read, recipe.batch_size)
        return {f"val_{name}": value for name, value in loop.evaluate(dataset).items()}

    return validate


def _keep_best(run, loop, row):
    """Keep the weights of the epoch with the best validation accuracy, the first among equals.

    A run that is killed before the checkpoint that follows writes the same file once more.
    """
    accuracy = row.get("val_accuracy", -math.inf)
    if run.recipe.select == "best" and accuracy > loop.state.best:
        loop.state.best = accuracy
        with staging(run.best) as temporary:
            loop.model.save_weights(temporary)


def _facts(recipe, source, workdir):
    """The recipe with the backbone weights that are really used, and what a run records of them."""
    facts = source.facts() | flow_pretraining.facts(recipe, source, workdir)
    attention = weights_file(recipe.arguments.get("attention_weights"))
    if attention:
        facts["attention_weights_sha256"] = sha256(attention)
    if source.feature_folder:
        return dataclasses.replace(recipe, backbone_weights=source.provenance["weights"]), facts
    weights = weights_file(recipe.backbone_weights)
    if weights:
        facts["backbone_weights_sha256"] = sha256(weights)
    return recipe, facts


def _finish(run, source, model, state):
    """Write the model as one file that takes video, then the results that say so.

    Of features that were made elsewhere there is no backbone: the model takes these.
    """
    recipe = run.recipe
    if recipe.select == "best":
        model.load_weights(run.best)
    if source.feature_folder:
        source.feature_folder.check_weights()
        shape, weights = build.frames_shape(recipe), source.feature_folder.weights_path
        model = swap_input(model, recipe.backbone, shape, backbone_weights=weights)
    with staging(run.model) as temporary:
        model.save(temporary)
    if recipe.train_backbone:
        backbone = find_backbone(recipe.backbone)
        if recipe.endpoint in (backbone.maps[-1], backbone.last):  # elsewhere it was cut
            record_run(run.model, model, backbone)
    results = run.facts | {
        "epochs": state.epoch,
        "pretraining": flow_pretraining.read_rows(run.path),
        "history": state.history,
        "seconds": round(state.seconds, 1),
        "parameters": model.count_params(),
        "untrained": list(untrained(recipe)),
        "peak_memory_gib": round(peak_memory(), 2),
    }
    write_json(run.results, results)
