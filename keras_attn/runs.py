"""A run folder: what lies where, and how it is started, resumed and read."""

import dataclasses
import importlib
import platform
from dataclasses import dataclass
from pathlib import Path

from keras_attn.errors import UserError
from keras_attn.files import read_json, write_json
from keras_attn.recipes import Recipe, from_dict

PACKAGES = ("keras_attn", "tensorflow", "keras", "numpy", "av")


@dataclass(frozen=True)
class Run:
    """A training run on disk. `facts` is the content of `run.json`."""

    path: Path
    facts: dict

    @property
    def recipe(self) -> Recipe:
        return from_dict(self.facts["recipe"])

    @property
    def classes(self) -> list[str]:
        return self.facts["classes"]

    checkpoint = property(lambda self: self.path / "checkpoint.npz")
    best = property(lambda self: self.path / "best.weights.h5")
    history = property(lambda self: self.path / "history.csv")
    model = property(lambda self: self.path / "model.keras")
    results = property(lambda self: self.path / "results.json")

    def read_results(self) -> dict:
        return read_json(self.results)

    def finished(self) -> bool:
        return self.model.exists() and self.results.exists()


def start(path, recipe: Recipe, facts: dict, resume: bool) -> Run:
    """Begin a run in `path`, or take one up again.

    Raises `UserError` when the folder holds a run and `resume` is not set, when there is nothing to
    resume, or when the run was started with other settings or data (each difference is named).
    """
    path = Path(path)
    facts = {"recipe": dataclasses.asdict(recipe), **facts}
    recorded = path / "run.json"
    if recorded.exists():
        if not resume:
            raise UserError(
                f"{path}: already holds a run. Go on with it (--resume) or choose another workdir."
            )
        _refuse_changes(path, read_json(recorded), facts)
        return open_run(path)
    if path.exists() and any(path.iterdir()):
        raise UserError(f"{path}: is not empty and holds no run; choose another workdir.")
    write_json(recorded, facts | {"versions": versions()})
    return open_run(path)


def _refuse_changes(path, old, new):
    old, new = flat(old), flat(new)
    different = [
        f"{key}: was {_short(old.get(key))}, is {_short(value)}"
        for key, value in new.items()
        if old.get(key) != value
    ]
    if different:
        raise UserError(
            f"{path}: cannot resume, the run was started otherwise. {'; '.join(different)}. "
            "Resume with the same settings and data, or choose another workdir."
        )


def flat(values: dict, prefix: str = "") -> dict:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    result = {}
    for key, value in values.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[prefix + key] = value
    return result


def _short(value):
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def open_run(path) -> Run:
    """The run in `path`; `UserError` when there is none."""
    path = Path(path)
    if not (path / "run.json").exists():
        raise UserError(f"{path}: holds no run (no run.json). Give the workdir of keras-attn train.")
    return Run(path, read_json(path / "run.json"))


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    found = {name: importlib.import_module(name).__version__ for name in PACKAGES}
    return found | {"python": platform.python_version(), "machine": platform.machine()}
