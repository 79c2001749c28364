"""The run folder: its files, and how a run is started, resumed and read."""

import dataclasses
import importlib
import json
import platform
from dataclasses import dataclass
from pathlib import Path

from keras_attn.errors import UserError
from keras_attn.recipes import Recipe, from_dict
from keras_attn.utils.files import leftovers, read_json, write_json

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

    @property
    def short_side(self) -> int:
        """Pixels of the short side of the frames that the run was trained on."""
        provenance = self.facts["input"]
        return 256 if self.encoder else provenance.get("records", provenance)["short_side"]

    @property
    def encoder(self) -> str | None:
        """The encoder of the features that the model takes, if another program computed them."""
        provenance = self.facts["input"]
        if "encoder" not in provenance:
            return None
        return f"{provenance['encoder']} (revision {provenance['revision']})"

    checkpoint = property(lambda self: self.path / "checkpoint.npz")
    best = property(lambda self: self.path / "best.weights.h5")
    history = property(lambda self: self.path / "history.csv")
    model = property(lambda self: self.path / "model.keras")
    results = property(lambda self: self.path / "results.json")

    def read_results(self) -> dict:
        return read_json(self.results)

    def lines(self) -> list[str]:
        results = self.read_results()
        time = f"{results['epochs']} epochs in {results['seconds'] / 60:.1f} minutes"
        return [f"{self.path}: trained {time}; {self.model}"]

    def as_dict(self) -> dict:
        return self.read_results()

    def finished(self) -> bool:
        return self.model.exists() and self.results.exists()


def claim(path, recipe: Recipe, facts: dict, resume: bool) -> Run:
    """The run to begin in `path`, or with `resume` the one to continue; nothing is written yet.

    With `resume`, a folder without a run begins one: a run that was killed early left nothing.
    Raises `UserError` if the folder holds a run and `resume` is not set, if it holds anything else,
    or if the run was started with other settings or data (the message names each difference).
    """
    path = Path(path)
    # As JSON has it, so that a tuple does not differ from the list that was read back.
    facts = json.loads(json.dumps({"recipe": dataclasses.asdict(recipe), **facts}))
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file; choose another workdir.")
    if (path / "run.json").exists():
        if not resume:
            raise UserError(
                f"{path}: already holds a run. Go on with it (`resume=True`), or choose another "
                "workdir."
            )
        run = open_run(path)
        _refuse_changes(path, run.facts, facts)
        return run
    if path.exists() and set(path.iterdir()) - leftovers(path):
        raise UserError(f"{path}: is not empty and holds no run; choose another workdir.")
    return Run(path, facts | {"versions": package_versions()})


def begin(run: Run) -> None:
    """Write `run.json`, unless it is there."""
    if not (run.path / "run.json").exists():
        write_json(run.path / "run.json", run.facts)


def _refuse_changes(path, old, new):
    # A field that is newer than the run has its default there.
    recipe = json.loads(json.dumps(dataclasses.asdict(from_dict(old["recipe"]))))
    old, new = flat(old | {"recipe": recipe}), flat(new | {"versions": package_versions()})
    different = [
        f"{key}: was {_short(old, key)}, is {_short(new, key)}"
        for key in dict.fromkeys([*new, *old])
        if key not in old or key not in new or old[key] != new[key]
    ]
    if different:
        raise UserError(
            f"{path}: cannot resume, the run was started with different settings. "
            f"{'; '.join(different)}. Resume with the same settings, data and versions, or choose "
            "another workdir."
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


def _short(values, key):
    text = repr(values[key]) if key in values else "absent"
    return text if len(text) <= 60 else text[:57] + "..."


def open_run(path) -> Run:
    """The run in `path`; `UserError` when there is none."""
    path = Path(path)
    if not (path / "run.json").exists():
        raise UserError(f"{path}: holds no run (no run.json). Name the workdir of a training run.")
    return Run(path, read_json(path / "run.json"))


def open_runs(paths) -> list[Run]:
    """Open one run folder, or each of several, as `open_run` does."""
    return [open_run(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]


def package_versions() -> dict[str, str]:
    """The versions of the software that a result depends on."""
    found = {name: importlib.import_module(name).__version__ for name in PACKAGES}
    return found | {"python": platform.python_version(), "machine": platform.machine()}
