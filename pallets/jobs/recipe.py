"""Training recipes: their bounds and their number of steps."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from runtime.shared.documents import Recipe

TARGETS: Final = Recipe().targets
"""The projections of a base that LoRA can adapt."""

RECIPE_MIN: Final = Recipe(
    learning_rate_nano=1,
    epochs=1,
    max_steps=0,
    batch_rows=1,
    micro_batch_rows=1,
    rank=1,
    alpha=1,
    dropout_permille=0,
    targets=(),
    max_tokens=8,
    warmup_steps=0,
    weight_decay_nano=0,
    seed=0,
    evaluation_permille=0,
    checkpoint_steps=1,
)
RECIPE_MAX: Final = Recipe(
    learning_rate_nano=100_000_000,
    epochs=100,
    max_steps=100_000,
    batch_rows=1_024,
    micro_batch_rows=1_024,
    rank=256,
    alpha=1_024,
    dropout_permille=500,
    targets=TARGETS,
    max_tokens=8_192,
    warmup_steps=10_000,
    weight_decay_nano=1_000_000_000,
    seed=2**64 - 1,
    evaluation_permille=500,
    checkpoint_steps=10_000,
)

STEPS_MAX: Final = 1_000_000
"""The most steps of a training job, whatever the number of its rows."""


def is_valid(recipe: Recipe) -> bool:
    """Return whether every setting lies within its bounds and the settings fit one another."""
    numbers = [field.name for field in fields(recipe) if field.name != "targets"]
    within = all(
        getattr(RECIPE_MIN, name) <= getattr(recipe, name) <= getattr(RECIPE_MAX, name)
        for name in numbers
    )
    targets = recipe.targets
    exist = bool(targets) and all(target in TARGETS for target in targets)
    distinct = len(set(targets)) == len(targets)
    return within and exist and distinct and recipe.batch_rows % recipe.micro_batch_rows == 0


def steps_of(recipe: Recipe, rows: int) -> int:
    """Return how many optimizer steps a recipe takes over that many rows, at most."""
    return recipe.max_steps or recipe.epochs * -(-rows // recipe.batch_rows)
