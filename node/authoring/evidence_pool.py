"""Evidence that this node has found and that is not on chain yet, kept over restarts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from ml.durable_file import write_durably
from runtime.codec.scale import DecodeError, codec
from runtime.shared.finality import Equivocation

EVIDENCE_MAX: Final = 256

logger = logging.getLogger(__name__)
_all = codec(tuple[Equivocation, ...])


class EvidencePool:
    """One piece of evidence for each voter of an epoch: a second one would change nothing."""

    def __init__(self, path: Path) -> None:
        """Read the file; an unreadable one is replaced, because evidence can be found again."""
        self._path = path
        self._held: dict[tuple[int, int], Equivocation] = {}
        if path.exists():
            try:
                self._held = {
                    _key(evidence): evidence for evidence in _all.decode(path.read_bytes())
                }
            except DecodeError as error:
                logger.error("evidence-unreadable path=%s cause=%r", path, str(error))

    def add(self, evidence: Equivocation) -> None:
        """Keep evidence, durably; the oldest goes when there is too much."""
        if _key(evidence) in self._held:
            return
        self._held[_key(evidence)] = evidence
        while len(self._held) > EVIDENCE_MAX:
            del self._held[next(iter(self._held))]
        self._save()

    def discard(self, evidence: Equivocation) -> None:
        """Forget evidence that is on chain, or that convicts no validator any more."""
        if self._held.pop(_key(evidence), None) is not None:
            self._save()

    def all(self) -> tuple[Equivocation, ...]:
        """Return what is kept, oldest first."""
        return tuple(self._held.values())

    def _save(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(self._path, _all.encode(self.all()))
        except OSError as error:  # the next one is written with it; until then it is in memory
            logger.error("evidence-not-written path=%s cause=%r", self._path, str(error))


def _key(evidence: Equivocation) -> tuple[int, int]:
    return evidence.first.ballot.epoch, evidence.first.voter
