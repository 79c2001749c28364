"""List the recipes, each with the results that were measured with it."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from keras_attn.recipes import RECIPES
from keras_attn.recipes.untrained import untrained

# Written by `scripts/collect_results.py` from `docs/results`.
RESULTS = Path(__file__).with_name("results.json")
PAPERS = {
    "structured_attention": "Quan et al., CVIU 2020",
    "sta_cnn": "Yang et al., TIP 2020",
    "temporal_attention": "Liu et al., ICIP 2017",
    "where_and_when": "Meng et al., 2018",
    "pyramid_attention": "Hu et al., journal version of ECCV 2018",
    "attention_fusion": "Hu et al., journal version of ECCV 2018",
    "frame_classifier": "baseline of Meng et al. 2018, backbones of Liu et al. 2017",
}


@dataclass(frozen=True)
class Result:
    """The mean of some runs of a recipe, each trained and tested on another fold or seed.

    `data` is a section of `docs/results.md`, `changes` are the fields that differed from the
    recipe. `accuracy` is over videos and `fold_spread` its standard deviation over the folds;
    `seconds` are those of one training, `memory_gib` the peak of one, and None if not measured.
    """

    data: str
    changes: dict[str, str]
    runs: int
    accuracy: float
    fold_spread: float
    seconds: float | None
    memory_gib: float | None
    source: str

    def line(self) -> str:
        parts = [f"accuracy {self.accuracy:.3f} (sd over folds {self.fold_spread:.3f})"]
        parts += [f"{self.seconds:.0f} s per run"] if self.seconds is not None else []
        parts += [f"{self.memory_gib:.2f} GiB"] if self.memory_gib is not None else []
        parts += [f"{self.runs} runs"]
        changes = ", ".join(f"{field}={text}" for field, text in self.changes.items())
        return f"{self.data}{f', {changes}' if changes else ''}: {', '.join(parts)}"


@dataclass(frozen=True)
class RecipeSummary:
    """The main settings of a recipe, its paper, its results, if any, and what is `untrained`."""

    name: str
    model: str
    paper: str
    input: str
    backbone: str
    frames: int
    epochs: int
    results: tuple[Result, ...]
    untrained: tuple[str, ...]

    def lines(self) -> list[str]:
        clips = RECIPES[self.name].clips
        frames = f"clips of {self.frames} frames every {clips.stride}"
        if clips.sampling == "segments":
            frames = f"{self.frames} segments per video"
        if clips.sampling == "dense":
            frames = f"a clip of {self.frames} frames per video, {clips.test_clips} in use"
        settings = f"{frames}, {self.epochs} epochs"
        head = f"{self.name}: {self.model} on {self.backbone} ({self.input}), {settings}"
        found = [f"    {result.line()}" for result in self.results] or ["    not run"]
        notices = [f"    note: {text}" for text in self.untrained]
        return [f"{head}; {self.paper}", *found, *notices]


COMPARE = "Compare results within one table of docs/results.md, not between recipes."


@dataclass(frozen=True)
class RecipeList:
    """All recipes, in the order of `RECIPES`."""

    recipes: tuple[RecipeSummary, ...]

    def lines(self) -> list[str]:
        lines = [line for recipe in self.recipes for line in recipe.lines()]
        return [*lines, COMPARE]

    def as_dict(self) -> dict:
        """Name -> all fields of the recipe, its `paper`, its `results` and what is `untrained`."""
        return {
            summary.name: dataclasses.asdict(RECIPES[summary.name])
            | {
                "paper": summary.paper,
                "untrained": list(summary.untrained),
                "results": [dataclasses.asdict(result) for result in summary.results],
            }
            for summary in self.recipes
        }


def list_recipes() -> RecipeList:
    """Show the recipes and the results measured with them.

    Results are those of `docs/results`: small data sets, a few folds and seeds, and the changes of
    fields that are shown. No published number has been reproduced.

    Returns:
        The recipes, with `lines()` for a reader and `as_dict()` for a program.
    """
    found: dict[str, list[Result]] = {}
    for entry in json.loads(RESULTS.read_text(encoding="utf-8")):
        found.setdefault(entry.pop("recipe"), []).append(Result(**entry))
    return RecipeList(
        tuple(
            RecipeSummary(
                name=name,
                model=recipe.model,
                paper=PAPERS[recipe.model],
                input=recipe.input,
                backbone=recipe.backbone,
                frames=recipe.clips.frames,
                epochs=recipe.epochs,
                results=tuple(found.get(name, ())),
                untrained=untrained(recipe),
            )
            for name, recipe in RECIPES.items()
        )
    )
