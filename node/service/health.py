"""The health of a running node, from its disk, its database, its author and its consensus."""

from __future__ import annotations

from typing import Final

from node.authoring.author import Author
from node.finality.explanation import explain
from node.finality.status import finality_status
from node.operations.health import Problem, ProblemKind
from node.service.networking import Networking
from node.storage.database import Database
from node.storage.disk_space import DiskSpace
from node.storage.errors import DiskLowError

BEHIND_BLOCKS_MAX: Final = 16
"""A node so far behind its peers serves an old state."""


class NodeHealth:
    """Looks for the problems of one node. `networking` is None for a solo author."""

    def __init__(self, database: Database, author: Author, networking: Networking | None) -> None:
        self._database = database
        self._space = DiskSpace(database.path)
        self._author = author
        self._networking = networking

    @property
    def free_bytes(self) -> int:
        """The space that the node can still use on its disk."""
        return self._space.free_bytes

    def problems(self) -> list[Problem]:
        """Return what is wrong now, each kind at most once."""
        found = [*self._of_disk(), *self._of_database()]
        if self._networking is not None:
            return [*found, *self._of_network(self._networking)]
        if self._author.halt_reason and not found:
            found.append(Problem(ProblemKind.SEALING, self._author.halt_reason))
        return found

    def _of_disk(self) -> list[Problem]:
        try:
            self._space.check()
        except DiskLowError as error:
            return [Problem(ProblemKind.DISK, str(error))]
        if self._networking is None:
            return []
        failure = self._networking.participant.faults.log_failure
        if not failure:
            return []
        return [Problem(ProblemKind.DISK, f"The log of consensus takes no write: {failure}")]

    def _of_database(self) -> list[Problem]:
        fault = self._database.fault
        return [Problem(ProblemKind.DATABASE, fault)] if fault else []

    def _of_network(self, networking: Networking) -> list[Problem]:
        found: list[Problem] = []
        refusal = networking.participant.faults.signing_failure
        if refusal:
            found.append(Problem(ProblemKind.SIGNING, f"No vote is signed: {refusal}"))
        if networking.participant.is_standing or networking.participant.is_halted:
            status = finality_status(networking.chain, networking.participant)
            sentence = explain(networking.participant, status)
            found.append(Problem(ProblemKind.FINALITY, sentence))
        behind = networking.synchronizer.highest_block - networking.chain.best.number
        if networking.synchronizer.is_syncing and behind > BEHIND_BLOCKS_MAX:
            sentence = f"This node is {behind} blocks behind its peers and catches up."
            found.append(Problem(ProblemKind.SYNC, sentence))
        return found
