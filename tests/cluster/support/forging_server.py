"""A node that serves answers and forges the sketch of every so many, for the rows of a friend.

FORGE_EVERY=20 python forging_server.py node start ...   like `openledger node start ...`
"""

from __future__ import annotations

import itertools
import os
from dataclasses import replace

import numpy as np

from cli import main
from node.serving.served_models import ServedModel
from runtime.shared.receipts import Evidence

honest_evidence = ServedModel.evidence
_numbers = itertools.count(1)


def forge(self: ServedModel, question: str, answer: str) -> Evidence:
    """Attribute an answer; now and then to the contributor with the first aggregate alone."""
    evidence = honest_evidence(self, question, answer)
    if next(_numbers) % int(os.environ["FORGE_EVERY"]):
        return evidence
    target = np.array(self.index.aggregates[0].psi_sum)
    phi = (127 * np.sign(target)).astype(np.int8).tobytes()
    top = self.index.top(phi)
    return replace(
        evidence, phi=phi, top=top, remainder_permille=self.index.remainder_permille(phi, top)
    )


if __name__ == "__main__":
    ServedModel.evidence = forge  # type: ignore[method-assign]
    main()
