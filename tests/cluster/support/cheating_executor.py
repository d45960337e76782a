"""A node whose executor lies: the program of a node that reveals a loss it did not reach.

python cheating_executor.py node start ...   exactly like `openledger node start ...`
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cli import main
from ml.jobs.frames import Failed, Result
from node.jobs.answer_store import JobAnswer
from node.jobs.executor import Executor
from pallets.jobs.job import JobEntry, Slot
from runtime.codec.scale import codec
from runtime.shared.documents import JobOutput, Trained

honest_answer = Executor._answer_of
_output = codec(JobOutput)


def flatter(
    self: Executor, entry: JobEntry, slot: Slot, answer: Result | Failed, folder: Path
) -> JobAnswer:
    """Answer with a better adapter than the one that was trained."""
    honest = honest_answer(self, entry, slot, answer, folder)
    output = _output.decode(honest.output) if honest.output else None
    if not isinstance(output, Trained):
        return honest
    better = replace(output, adapter_loss_micronats=output.adapter_loss_micronats - 1)
    return replace(honest, output=_output.encode(better))


if __name__ == "__main__":
    Executor._answer_of = flatter  # type: ignore[method-assign]
    main()
