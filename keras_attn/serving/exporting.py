"""Export a run as a SavedModel that TF Serving loads: staged, verified, published by a rename."""

import contextlib
import dataclasses
import logging
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from keras_attn.data.streams import flow_name, in_graph
from keras_attn.errors import UsageError, UserError
from keras_attn.inference.loading import changed_recipe, fusion_weights, load_fused
from keras_attn.inference.saved_model import version_numbers, write_assets
from keras_attn.serving.reference import (
    check_reference,
    make_reference,
    read_reference,
    reference_path,
    write_reference,
)
from keras_attn.serving.verification import Verification, verify_folder
from keras_attn.training import runs
from keras_attn.utils.files import flush, locked


def export(
    run: Path | str | Sequence[Path | str],
    destination: Path | str,
    *,
    weights: Sequence[float] | None = None,
    changes: dict[str, object] | None = None,
) -> Verification:
    """Write a SavedModel for TF Serving.

    It has these signatures, for B videos of the same T >= 1 frames of any size:

    - `serving_default`: `frames` uint8 `(B, T, H, W, 3)`;
    - `jpeg_frames`: `jpeg_frames` strings `(B, T)`, each a JPEG file;
    - `features`: `features` float32 `(B, T, ...)`, unless the backbone sees several frames at once;
    - `explain`: `frames` as above; besides the scores it answers `where (B, T, h, w)`,
      `when (B, T)` and `step_probabilities (B, T, K)`, and for each of W clips
      `clip_positions (B, W, n)`, `clip_probabilities (B, W, K)` and the attention that the model
      itself gives, as `spatial_attention (B, W, n, h, w)`; of several runs each has its own, with
      its number at the end.

    - `..._with_lengths`, one for each of these: besides, `lengths` int32 `(B,)`, the number of
      frames of each video, from 1 to T; the others of it are padding, whatever they hold. A video
      is answered as one of that length by itself; the answers for padded frames are zero, and there
      are none for clips.

    A model of features that were made elsewhere has `features` alone, which is also its
    `serving_default`, with the answers of `explain`.

    The scores are `decision`, whose largest entry is the answer (the mean of the clips, or their
    vote, by the model), `probabilities`, `logits` and `votes`, each `(B, K)`; the class names lie
    in `assets/classes.txt`. A model of flow computes it from the frames, by TV-L1; one of another
    flow cannot be exported.

    The version is one above the highest there. A version folder is complete and verified when it
    appears; nothing is left when verification fails. What killed exports left (`.staging-*`, which
    TF Serving does not look at) is removed.

    Args:
        run: Run folder; several, as of RGB and of flow, become one model that averages their
            probabilities.
        destination: Model folder, as in saved_models/NAME, which gets a new version.
        weights: Weight of each of several runs, in their order; those of the papers for their
            inputs if not given.
        changes: Fields of the recipe of each run that need no training and their values, such as
            `clips.test_frames` or `model.test_pooling`; chosen with `evaluate`, say.

    Returns:
        The verification of the new version folder.

    Raises:
        UsageError: For weights or changes that do not fit and for a run as `destination`.
        UserError: When the run is not finished, its flow needs OpenCV, it answers NaN, or the
            export answers differently from it.
    """
    opened = runs.open_runs(run)
    weights = fusion_weights(opened, weights)
    _check_flow(opened)
    recognizer = load_fused(opened, weights, changes)
    destination = _model_folder(destination)
    with _staging(destination) as staged:
        reference = make_reference(recognizer)
        check_reference(reference, ", ".join(str(run.path) for run in opened))
        _write(recognizer, staged)
        training = {
            "recipes": [dataclasses.asdict(changed_recipe(run, changes)) for run in opened],
            "changes": changes or {},
            "weights": weights,
            "short_side": max(run.short_side for run in opened),
            "encoder": opened[0].encoder,
        }
        write_assets(staged, opened[0].classes, training)
        write_reference(reference_path(staged), reference)
        verification = verify_folder(staged, read_reference(reference_path(staged)))
        if not verification.passed:
            raise UserError(
                f"{destination}: the export answers differently from the run, so it was not "
                f"published. {'; '.join(verification.lines()[1:])}"
            )
        _flush_all(staged)
        return verification.at(_publish(staged, destination))


def _check_flow(opened):
    for run in opened:
        flow = run.facts["input"].get("flow")
        if not in_graph(flow):
            name = flow_name(flow["method"], flow["warped"])
            raise UserError(
                f"{run.path}: sees flow by {name}, which needs OpenCV and cannot be computed in a "
                "SavedModel. Train it with input=flow and flow_method=tvl1, or use the run itself "
                "(keras-attn predict)"
            )


def _model_folder(destination):
    destination = Path(destination)
    if (destination / "run.json").exists():
        raise UsageError(
            f"{destination}: is a run, where a model folder was expected; give the destination "
            "last, as in saved_models/NAME"
        )
    if (destination / "saved_model.pb").exists():
        raise UserError(
            f"{destination}: is one version of a model; give the folder above it, "
            f"{destination.parent}, which gets a new version"
        )
    try:
        destination.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{destination}: is not a folder, or lies below a file ({error})") from None
    return destination


@contextlib.contextmanager
def _staging(destination):
    """Yield a folder to write to, which is removed unless it was renamed.

    One export at a time writes to `destination`, so that what lies staged there when it begins was
    left by a killed one. The lock ends with the process, however it ends.
    """
    staged = destination / f".staging-{secrets.token_hex(4)}"
    busy = f"{destination}: another process exports there; wait for it, or stop it"
    with locked(destination, busy) as held:
        for remains in destination.glob(".staging-*") if held else ():
            shutil.rmtree(remains)
        try:
            yield staged
            flush(destination)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def _flush_all(folder):
    """Bring everything to the disk before the rename, so that a power cut leaves no empty files."""
    for path in (folder, *folder.rglob("*")):
        flush(path)


def _write(recognizer, folder):
    archive = keras.export.ExportArchive()
    for model in recognizer.models:
        archive.track(model)
    for name, signature in recognizer.signatures().items():
        archive.add_endpoint(name, _only(signature), list(signature.specs))
    logger = tf.get_logger()
    before = logger.level
    logger.setLevel(logging.WARNING)  # its notes name the staged folder, which is gone afterwards
    try:
        archive.write_out(str(folder), verbose=False)
    finally:
        logger.setLevel(before)


def _only(signature):
    """The function of a signature, which is traced once for all that share it, with its keys."""

    def answer(*inputs):
        answers = signature.function(*inputs)
        return {key: answers[key] for key in signature.keys}

    return answer


def _publish(staged, destination):
    """Rename the staged folder to the next free version; another export may be doing the same."""
    while True:
        target = destination / str(max(version_numbers(destination), default=0) + 1)
        try:
            return staged.rename(target)
        except OSError:
            if not target.exists():
                raise
