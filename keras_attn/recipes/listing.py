"""List the recipes."""

import dataclasses
from dataclasses import dataclass

from keras_attn.recipes import RECIPES, Recipe


@dataclass(frozen=True)
class RecipeList:
    """Recipes by their names."""

    recipes: dict[str, Recipe]

    def lines(self) -> list[str]:
        return [f"{name}: {_line(recipe)}" for name, recipe in self.recipes.items()]

    def as_dict(self) -> dict:
        return {name: dataclasses.asdict(recipe) for name, recipe in self.recipes.items()}


def list_recipes() -> RecipeList:
    """List the recipes."""
    return RecipeList(RECIPES)


def _line(recipe):
    clips = recipe.clips
    frames = f"clips of {clips.frames} frames every {clips.stride}"
    if clips.sampling == "segments":
        frames = f"{clips.frames} segments per video"
    return f"{recipe.model} on {recipe.backbone} ({recipe.input}), {frames}, {recipe.epochs} epochs"
