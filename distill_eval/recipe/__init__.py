"""Recipe: one config per stage, read strictly from TOML.

A recipe says the teacher, the data and the output folder once; from them every stage's config is made whole.
"""

from distill_eval.recipe.known import KNOWN, SIZES, STAGES
from distill_eval.recipe.load import Overrides, load, shipped
from distill_eval.recipe.recipe import Recipe
from distill_eval.recipe.table import resolve

__all__ = ["KNOWN", "SIZES", "STAGES", "Overrides", "Recipe", "load", "resolve", "shipped"]
