"""The ends of all epochs: what a light client needs to walk from genesis to now.

A state knows its own authority set and few older ones, and old states are pruned. So each set is
kept in a record of its own as soon as its epoch begins; headers and certificates are kept anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

import trio

from node.chain import Chain, ChainError, Finalized
from node.database import Database
from p2p.protocols.sync import EpochEnd
from runtime.finality import AuthoritySet, Certificate
from runtime.primitives import Hash, Header
from runtime.scale import codec

SET_RECORD: Final = "epoch/{}"
"""The metadata record of an epoch's set."""

logger = logging.getLogger(__name__)
_set = codec(AuthoritySet)
_header = codec(Header)
_certificate = codec(Certificate)


class EpochView(Protocol):
    """The epoch of a block's children (node/epochs.py)."""

    @property
    def authorities(self) -> AuthoritySet: ...
    @property
    def root_number(self) -> int: ...
    @property
    def last_number(self) -> int: ...


EpochAfter = Callable[[Hash], EpochView]
"""Returns the epoch of a block's children; called on the event loop."""


def set_records(sets: tuple[AuthoritySet, ...]) -> dict[str, bytes | None]:
    """Return the metadata records of authority sets."""
    return {SET_RECORD.format(each.epoch): _set.encode(each) for each in sets}


class EpochArchive:
    """Keeps the authority set of every epoch, and answers with the ends of epochs."""

    def __init__(self, chain: Chain, epoch_after: EpochAfter) -> None:
        self._chain = chain
        self._epoch_after = epoch_after
        now = epoch_after(chain.finalized.hash)
        self.epoch_blocks = now.last_number - now.root_number

    async def run(self) -> None:
        """Keep each set from its epoch's beginning on, until cancelled."""
        while True:
            async with self._chain.events() as events:
                await self.keep()
                async for event in events:
                    if isinstance(event, Finalized) and not event.header.number % self.epoch_blocks:
                        await self.keep()
            await trio.lowlevel.checkpoint()

    async def keep(self) -> None:
        """Keep the sets that are not kept yet, up to the one after the finalized block."""
        epoch = self._chain.finalized.number // self.epoch_blocks
        while epoch >= 0 and self._chain.database.metadata(SET_RECORD.format(epoch)) is None:
            block = self._chain.hash_of(epoch * self.epoch_blocks)
            try:
                assert block is not None, "a finalized block has a hash"
                authorities = self._epoch_after(block).authorities
            except ChainError as error:
                # The states are pruned: light clients cannot pass this epoch here, but elsewhere.
                logger.warning("epoch-set-not-kept epoch=%d cause=%r", epoch, str(error))
                return
            record = set_records((authorities,))[SET_RECORD.format(epoch)]
            await trio.to_thread.run_sync(
                self._chain.database.put_metadata, SET_RECORD.format(epoch), record
            )
            epoch -= 1

    def ends(self, first: int, count: int) -> tuple[EpochEnd, ...]:
        """Return the ends of up to `count` epochs from `first` on, as far as they are final."""
        found = []
        for epoch in range(first, first + count):
            end = _end(self._chain.database, epoch, (epoch + 1) * self.epoch_blocks)
            if end is None:
                break
            found.append(end)
        return tuple(found)


def _end(database: Database, epoch: int, number: int) -> EpochEnd | None:
    header, justification = database.header(number), database.justification(number)
    authorities = database.metadata(SET_RECORD.format(epoch + 1))
    if header is None or justification is None or authorities is None:
        return None
    return EpochEnd(
        _header.decode(header), _certificate.decode(justification), _set.decode(authorities)
    )
