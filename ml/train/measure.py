"""Measure how fast this machine trains a base under a profile: `python -m ml.train.measure`.

Three steps on rows of full length, after the golden training has warmed everything up. Prints one
JSON object: the profile, its golden hash, and how long so many parameter-tokens took. The figure is
for whoever registers the profile; nothing is computed by it.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from typing import Final

STEPS: Final = 3
ROWS: Final = 16
TOKENS: Final = 192
WORDS: Final = 400


def measure(base: str | None, device: str) -> tuple[int, float]:
    """Return how many parameter-tokens were trained on, and in how many seconds."""
    from ml.base.base import load_base
    from ml.rows.row import Row
    from ml.train.golden import RECIPE
    from ml.train.loop import train

    model, tokenizer = load_base(base)
    rows = [Row(f"row {i}", " ".join(f"{i * j}" for j in range(WORDS))) for i in range(ROWS)]
    recipe = replace(
        RECIPE, max_steps=STEPS, batch_rows=ROWS, micro_batch_rows=ROWS, max_tokens=TOKENS
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    began = time.perf_counter()
    train(model, tokenizer, rows, recipe, device=device)
    return STEPS * ROWS * TOKENS * parameters, time.perf_counter() - began


def main() -> None:
    """Set the process up for the profile, measure, print."""
    from ml.train.profile import apply_profile, native_profile

    parser = argparse.ArgumentParser(prog="python -m ml.train.measure", description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--base", default="")
    options = parser.parse_args()
    profile = native_profile(options.threads, options.device)
    apply_profile(profile)

    from ml.train.golden import golden_hash

    golden = golden_hash(options.device)
    parameter_tokens, seconds = measure(options.base or None, options.device)
    print(
        json.dumps(
            {
                "profile": profile.id.hex(),
                "golden": golden.hex(),
                "parameter_tokens": parameter_tokens,
                "seconds": seconds,
            }
        )
    )


if __name__ == "__main__":
    main()
