"""Epochs: which validators decide the blocks after a given one, read from its state."""

from __future__ import annotations

from dataclasses import dataclass

from node.chain.chain import Chain
from node.chain.state_reader import StateReader
from runtime.errors import ExitCode, OpenLedgerError
from runtime.frame.dispatch import Call
from runtime.shared.finality import AuthoritySet, Equivocation
from runtime.types.primitives import AccountId, Hash


class NoAuthoritiesError(OpenLedgerError):
    """The chain has no validators, so no network can decide its blocks."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Epoch:
    """The set that decides the block after a given one, and the heights that it decides."""

    authorities: AuthoritySet
    root: Hash
    """The last block of the epoch before; genesis for the first epoch."""
    root_number: int
    last_number: int
    """The height of this epoch's last block."""

    @property
    def number(self) -> int:
        """Which epoch this is, from 0 on."""
        return self.authorities.epoch


class Epochs:
    """Reads what consensus needs from states."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._reader = StateReader(chain)

    def after(self, block: Hash) -> Epoch:
        """Return the epoch of a block's children. Raises NoAuthoritiesError, ChainError."""
        with self._reader.at(block) as state:
            authorities = state.session.authorities.get()
            blocks = state.session.epoch_blocks.get()
            number, first = state.system.current_number(), authorities.epoch * blocks
            # The state knows it even where the chain begins in the middle of an epoch.
            root = block if number == first else state.system.hash_of(first)
        if not authorities.authorities:
            raise NoAuthoritiesError(
                f"The chain {self._chain.name} has no validators in its state, so no network can "
                "make its blocks. Start it with --sealing instant, or use a spec with validators."
            )
        root = root or self._chain.hash_of(first)
        assert root is not None, "the block before the epoch is among the recent ones"
        return Epoch(authorities, root, first, first + blocks)

    def reportable(self, block: Hash, evidence: Equivocation) -> bool:
        """Return whether evidence still convicts its validator in the block after this one."""
        with self._reader.at(block) as state:
            return state.offences.is_reportable(evidence)

    def authorities_after(self, block: Hash) -> AuthoritySet:
        """Return the set that decides a block's children. Raises NoAuthoritiesError, ChainError."""
        return self.after(block).authorities

    def contribution(self, block: Hash, author: AccountId, secret: bytes) -> tuple[Call, ...]:
        """Return the calls by which an author feeds the randomness in a child of a block."""
        with self._reader.at(block) as state:
            return state.randomness.contribution(author, secret)

    def timestamp_ms(self, block: Hash) -> int:
        """Return the time of a block, in milliseconds since 1970."""
        with self._reader.at(block) as state:
            return state.timestamp.now.get()
