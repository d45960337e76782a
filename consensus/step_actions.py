"""The actions of one step of the engine, collected while the step runs.

Persists come before all other actions, so that the caller may write them in one go. Within each of
the two kinds the order is that in which they were emitted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from consensus.messages import Action, Persist
from consensus.write_ahead_log import Record, encode_record


@dataclass(slots=True)
class StepActions:
    """What the engine and its epoch's state ask the caller to do."""

    records: list[Persist] = field(default_factory=list)
    effects: list[Action] = field(default_factory=list)

    def persist(self, record: Record) -> None:
        """Append a record to the log, before any effect of this step."""
        self.records.append(Persist(encode_record(record)))

    def emit(self, *actions: Action) -> None:
        """Append actions that follow the records."""
        self.effects += actions

    def take(self) -> list[Action]:
        """Return the actions collected so far, and go on with none."""
        actions = [*self.records, *self.effects]
        self.records, self.effects = [], []
        return actions
