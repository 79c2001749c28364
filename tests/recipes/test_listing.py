"""Every recipe is listed, with the results that were measured with it and with no others."""

import json
import sys
from pathlib import Path

from keras_attn.recipes import RECIPES, override
from keras_attn.recipes.listing import RESULTS, list_recipes

ROOT = Path(__file__).parents[2]


def test_every_recipe_has_a_row():
    listed = list_recipes()
    assert [recipe.name for recipe in listed.recipes] == list(RECIPES)
    lines = listed.lines()
    for recipe in listed.recipes:
        place = next(i for i, line in enumerate(lines) if line.startswith(f"{recipe.name}: "))
        assert (lines[place + 1] == "    not run") == (not recipe.results)
    found = json.loads(json.dumps(listed.as_dict()))
    assert found["sta_cnn"]["clips"]["frames"] == 9 and found["sta_cnn"]["results"] == []


def test_the_table_is_that_of_the_documentation(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import collect_results

    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert found == collect_results.collect()
    for name in ("collect_results", "compare_attention", "compare_streams"):
        sys.modules.pop(name)


def test_a_result_names_what_was_changed():
    (attention,) = (r for r in list_recipes().recipes if r.name == "sta_cnn_mobilenet")
    result = attention.results[0]
    assert (result.data, result.runs, result.accuracy) == ("ucf101_20", 6, 0.7629)
    assert result.line() == (
        "ucf101_20, epochs=30, decay_epochs=[20]: accuracy 0.763 (sd over folds 0.036), "
        "67 s per run, 1.28 GiB, 6 runs"
    )
    for recipe in list_recipes().recipes:
        for result in recipe.results:
            assert (ROOT / result.source).exists()
            assert override(RECIPES[recipe.name], result.changes) or not result.changes


def test_seconds_of_runs_that_were_interrupted_are_not_told():
    streams = [
        result
        for recipe in list_recipes().recipes
        for result in recipe.results
        if result.source.endswith("streams.json")
    ]
    assert streams and all(result.seconds is None for result in streams)
