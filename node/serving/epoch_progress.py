"""How far the epoch of a model is, as its server keeps it and tells it to the operator."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from runtime.types.primitives import Hash


class Stage(enum.StrEnum):
    """Where the current epoch of a model stands here."""

    WAITING = "waiting"
    DRAWING = "drawing"
    CLOSING = "closing"
    SETTLING = "settling"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a model's epoch is: `since` is the final height at which the stage began, `epoch`
    the number that is closed, `reason` why it waits or has stopped."""

    stage: Stage
    since: int
    epoch: int = 0
    reason: str = ""
    targets: dict[int, int] | None = None
    sends: int = 0
    transaction: Hash | None = None
    """The last one that closes the epoch."""
    accepts_missing: bool = False
    """Whether the operator has said that what is due may be left out."""
    is_due: bool = False
    """Whether a model that waits is to be closed from the height `since` on."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What the operator is told of a model."""

    model: int
    epoch: int
    stage: Stage
    reason: str
