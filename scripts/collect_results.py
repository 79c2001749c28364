"""Collect the results of whole recipes from docs/results for `keras-attn list-recipes`.

    python scripts/collect_results.py

Writes keras_attn/recipes/results.json: of each table the rows of a recipe as it is, apart from
changes of its fields, which are told; a variant of a model is not the recipe.
"""

import json
from pathlib import Path

from compare_attention import VARIANTS
from compare_streams import STREAMS

from keras_attn.recipes import RECIPES, override

ROOT = Path(__file__).parents[1]
OUT = ROOT / "keras_attn" / "recipes" / "results.json"


def collect() -> list[dict]:
    """One dict per recipe, data and changes."""
    found = []
    for path in sorted((ROOT / "docs" / "results").rglob("*.json")):
        table = json.loads(path.read_text(encoding="utf-8"))
        if "runs" not in table.get("rows", [{}])[0]:
            continue  # the costs of layers, not of recipes
        rows = {row["name"]: row for row in table["rows"]}
        for name, recipe, changes in _recipes(table["settings"], rows):
            found.append(_result(path, recipe, changes, rows[name]))
    return sorted(found, key=lambda result: (result["recipe"], result["data"]))


def _recipes(settings, rows):
    """The name of each row that is a recipe, the recipe's, and the fields that were changed."""
    changes = dict(change.split("=", 1) for change in settings["set"])
    if "recipe" in settings:
        recipe = RECIPES[settings["recipe"]]
        names = [name for name in rows if _is_whole(recipe, VARIANTS[recipe.model].get(name))]
        return [(name, settings["recipe"], changes) for name in names]
    found = []
    for name, (recipe, kind) in STREAMS.items():
        own = {"clips.size": str(settings["size"])}
        own |= {"input": kind} if kind.endswith("flow") and kind != "rgb_and_flow" else {}
        own |= {} if kind == "rgb" else {"flow_method": settings["flow_method"]}
        found.append((name, recipe, own | changes))
    return found


def _is_whole(recipe, arguments):
    """Whether a variant, if it is one, has the arguments of the recipe."""
    changes = {f"model.{name}": value for name, value in (arguments or {}).items()}
    return arguments is not None and override(recipe, changes) == recipe


def _result(path, recipe, changes, row):
    place = path.relative_to(ROOT / "docs" / "results")
    # Streams were interrupted, so that their seconds say nothing; see docs/results.md.
    seconds = None if place.stem == "streams" else row["seconds"]
    return {
        "recipe": recipe,
        "data": place.parts[0],
        "changes": changes,
        "runs": row["runs"],
        "accuracy": round(row["accuracy"], 4),
        "fold_spread": round(row["fold_spread"], 4),
        "seconds": None if seconds is None else round(seconds, 1),
        "memory_gib": row.get("memory"),
        "source": f"docs/results/{place.as_posix()}",
    }


if __name__ == "__main__":
    OUT.write_text(json.dumps(collect(), indent=2) + "\n", encoding="utf-8")
