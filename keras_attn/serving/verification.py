"""Verify an exported SavedModel in a process that cannot import this package."""

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_attn.errors import UserError
from keras_attn.inference.loading import load_fused
from keras_attn.inference.saved_model import read_assets, version_folder
from keras_attn.serving.reference import (
    Case,
    answered_anew,
    check_reference,
    read_reference,
    reference_path,
    write_reference,
)
from keras_attn.training.runs import open_runs

TOLERANCE = 1e-5
LOADERS = ("tf.saved_model.load", "tf.compat.v1.saved_model.loader")


@dataclass(frozen=True)
class Verification:
    """The largest absolute difference of each signature under each loader: (loader, signature)."""

    path: Path
    differences: dict[tuple[str, str], float]

    @property
    def passed(self) -> bool:
        return all(difference <= TOLERANCE for difference in self.differences.values())

    def at(self, path) -> "Verification":
        return dataclasses.replace(self, path=Path(path))

    def lines(self) -> list[str]:
        verdict = "answers as its run does" if self.passed else "DIFFERS from its run"
        return [f"{self.path}: {verdict}", *map(self._line, LOADERS)]

    def _line(self, loader):
        """What differs too much; if nothing does, the largest difference."""
        rows = {name: x for (by, name), x in self.differences.items() if by == loader}
        wrong = {name: x for name, x in rows.items() if not x <= TOLERANCE}
        if wrong:
            each = ", ".join(f"{name} by {x:.1e}" for name, x in wrong.items())
            return f"{loader}: differs by more than {TOLERANCE}: {each}"
        return f"{loader}: {len(rows)} signatures, largest difference {max(rows.values()):.1e}"

    def as_dict(self) -> dict:
        rows = [
            {"loader": loader, "signature": signature, "difference": difference}
            for (loader, signature), difference in self.differences.items()
        ]
        return {"path": str(self.path), "passed": self.passed, "differences": rows}


def verify(
    saved_model: Path | str, *, run: Path | str | Sequence[Path | str] | None = None
) -> Verification:
    """Compare a SavedModel with its run in a clean process.

    Both loaders of TensorFlow load the export, and every signature answers the requests that the
    export carries.

    Args:
        saved_model: Version folder, or model folder, of which the highest version is taken.
        run: Run folder to compute the expected answers with; several for a model that was exported
            from several. The export carries those of its run.

    Returns:
        The largest difference of each signature under each loader.

    Raises:
        UserError: When the folder holds no SavedModel, carries no whole reference, cannot be
            loaded, or was exported from another kind of model than `run`, or `run` answers NaN.
    """
    folder = version_folder(saved_model)
    reference = read_reference(reference_path(folder))
    if run is not None:
        opened = open_runs(run)
        reference = answered_anew(_recognizer(folder, opened, reference), reference)
        check_reference(reference, ", ".join(str(run.path) for run in opened))
    return verify_folder(folder, reference)


def _recognizer(folder, runs, reference):
    """The recognizer of the runs that a model in a folder was exported from."""
    training = read_assets(folder)[1]
    weights = training.get("weights")
    if weights is None:
        raise UserError(f"{folder}: was exported by an earlier version; export the run again")
    if len(weights) != len(runs):
        raise UserError(
            f"{folder}: was exported from {len(weights)} runs, got {len(runs)} to compare it with"
        )
    recognizer = load_fused(runs, weights, training.get("changes"))
    served = {case.signature: case.request.shape[2:] for case in reference}
    shape = recognizer.feature_shape if recognizer.per_frame else "none"
    if served.get("features", shape) != shape:
        raise UserError(
            f"{folder}: takes features {served['features']}, but the run {runs[0].path} has "
            f"{shape}; it was exported from another run"
        )
    unknown = sorted(set(served) - set(recognizer.signatures()))
    if unknown:
        raise UserError(
            f"{folder}: has the signatures {', '.join(unknown)}, which {runs[0].path} cannot "
            "have, because its flow needs OpenCV; it was exported from another run"
        )
    return recognizer


def verify_folder(folder, reference: list[Case]) -> Verification:
    """Verify one version folder against a reference."""
    with tempfile.TemporaryDirectory() as scratch:
        requests, answers = Path(scratch) / "requests.npz", Path(scratch) / "answers.npz"
        write_reference(requests, reference)
        script = Path(__file__).with_name("clean_process.py")
        # -I: neither the present folder nor PYTHONPATH can bring the package in.
        process = subprocess.run(
            [sys.executable, "-I", str(script), str(folder), str(requests), str(answers)],
            capture_output=True,
            text=True,
            check=False,
            # This process may hold all memory of the GPU, so the other one does without.
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        )
        if process.returncode:
            last = (process.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{folder}: could not be loaded and asked in a clean process: {last}")
        with np.load(answers, allow_pickle=False) as found:
            return Verification(Path(folder), _differences(reference, found))


def _differences(reference, found):
    differences: dict[tuple[str, str], float] = {}
    for loader in LOADERS:
        for i, case in enumerate(reference):
            for key, value in case.expected.items():
                difference = _difference(found.get(f"{loader}/{i}/{key}"), value)
                pair = (loader, case.signature)
                differences[pair] = max(differences.get(pair, 0.0), difference)
    return differences


def _difference(answer, expected):
    """The largest one; infinite when there is no such answer, or no number in it."""
    if answer is None or answer.shape != expected.shape:
        return np.inf
    largest = float(np.max(np.abs(answer - expected)))
    return np.inf if np.isnan(largest) else largest
