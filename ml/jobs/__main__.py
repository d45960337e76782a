"""Entry of the executor process: `python -m ml.jobs [--threads N] [--device D]`.

The profile's variables must be set before torch is imported, so this file imports nothing heavy
itself.
"""

from __future__ import annotations

import argparse
import sys


def main() -> int:
    """Fix the environment and the profile, then serve frames until stdin ends."""
    from ml.jobs.limits import (
        ADDRESS_SPACE_MIB,
        clean_environment,
        limit_resources,
        lower_priority,
    )
    from ml.train.profile import apply_profile, native_profile

    parser = argparse.ArgumentParser(prog="python -m ml.jobs", description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="threads of the profile")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    sys.dont_write_bytecode = True
    clean_environment()
    lower_priority()
    # CUDA reserves far more address space than memory, so no address limit fits it.
    limit_resources(0 if options.device == "cuda" else ADDRESS_SPACE_MIB)
    profile = native_profile(options.threads, options.device)
    apply_profile(profile)

    from ml.jobs.executor import serve

    return serve(profile)


if __name__ == "__main__":
    raise SystemExit(main())
