"""The ends of all epochs: what a light client needs to walk from genesis to now.

A state knows its own authority set and few older ones, and old states are pruned. So each set is
kept in a record of its own as soon as its epoch begins; headers and certificates are kept anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

import trio

from node.chain.chain import Chain
from node.chain.errors import ChainError
from node.chain.events import FinalChanged
from node.storage.database import Database
from node.storage.errors import DatabaseWriteError
from p2p.protocols.sync_messages import EpochEnd
from runtime.codec.scale import Codec, codec
from runtime.shared.finality import AuthoritySet, Certificate
from runtime.types.primitives import Hash, Header

SET_RECORD: Final = "epoch/{}"
"""The metadata record of an epoch's set."""
END_RECORD: Final = "epoch-end/{}"
"""The record of an epoch's last header and certificate, where this node has not the block."""
NEWEST_RECORD: Final = "epoch-newest"
"""The record of the newest set that fast sync has followed to."""

logger = logging.getLogger(__name__)
_set = codec(AuthoritySet)
_header = codec(Header)
_certificate = codec(Certificate)
_end: Codec[tuple[Header, Certificate]] = codec(tuple[Header, Certificate])


class EpochView(Protocol):
    """The epoch of a block's children (node/chain/epochs.py)."""

    @property
    def authorities(self) -> AuthoritySet: ...
    @property
    def root_number(self) -> int: ...
    @property
    def last_number(self) -> int: ...


EpochAfter = Callable[[Hash], EpochView]
"""Returns the epoch of a block's children; called on the event loop."""


def set_record(authorities: AuthoritySet) -> dict[str, bytes | None]:
    """Return the metadata records of the set of the newest epoch."""
    encoded = _set.encode(authorities)
    return {SET_RECORD.format(authorities.epoch): encoded, NEWEST_RECORD: encoded}


def end_record(epoch: int, header: Header, certificate: Certificate) -> dict[str, bytes | None]:
    """Return the metadata record of an epoch's end."""
    return {END_RECORD.format(epoch): _end.encode((header, certificate))}


def newest_set(database: Database) -> AuthoritySet | None:
    """Return the newest set that fast sync has followed to, None before its first."""
    raw = database.metadata(NEWEST_RECORD)
    return None if raw is None else _set.decode(raw)


def stored_end(database: Database, epoch: int) -> Header | None:
    """Return the last header of an epoch that fast sync has followed."""
    raw = database.metadata(END_RECORD.format(epoch))
    return None if raw is None else _end.decode(raw)[0]


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
                    if (
                        isinstance(event, FinalChanged)
                        and not event.header.number % self.epoch_blocks
                    ):
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
            record = SET_RECORD.format(epoch), _set.encode(authorities)
            try:
                await trio.to_thread.run_sync(self._chain.database.put_metadata, *record)
            except DatabaseWriteError as error:  # it is tried again when the next epoch begins
                logger.error("epoch-set-not-kept epoch=%d cause=%r", epoch, str(error))
                return
            epoch -= 1

    def ends(self, first: int, count: int) -> tuple[EpochEnd, ...]:
        """Return the ends of up to `count` epochs from `first` on, as far as they are final."""
        ends = []
        for epoch in range(first, first + count):
            end = _end_of(self._chain.database, epoch, (epoch + 1) * self.epoch_blocks)
            if end is None:
                break
            ends.append(end)
        return tuple(ends)


def _end_of(database: Database, epoch: int, number: int) -> EpochEnd | None:
    authorities = database.metadata(SET_RECORD.format(epoch + 1))
    if authorities is None:
        return None
    header, justification = database.header(number), database.justification(number)
    if header is not None and justification is not None:
        ended = _header.decode(header), _certificate.decode(justification)
    else:
        record = database.metadata(END_RECORD.format(epoch))
        if record is None:
            return None
        ended = _end.decode(record)
    return EpochEnd(*ended, _set.decode(authorities))
