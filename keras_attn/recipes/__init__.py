"""Recipes: everything that decides a training run, as frozen values."""

from keras_attn.recipes import structured_attention
from keras_attn.recipes.base import Clips, Recipe, check_model, from_dict, override

RECIPES = {
    "structured_attention": structured_attention.PAPER,
    "structured_attention_mobilenet": structured_attention.MOBILENET,
    "structured_attention_tiny": structured_attention.TINY,
}

__all__ = ["RECIPES", "Clips", "Recipe", "check_model", "from_dict", "override"]
