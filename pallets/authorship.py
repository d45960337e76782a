"""Authorship: who made a block, and whose turns passed without one.

The leader of a view writes its claim (epoch, view) into the header before execution; consensus
votes only for headers whose claim is true. From the claim and the epoch's schedule follow the
author and the leaders of the views that were skipped since the parent. The author is written into
the header as well, where wallets and explorers look for it. Blocks without a claim, as a
solo author makes them, have no author on chain and count no missed view; what a solo author says of
itself in the header is its own word.
"""

from __future__ import annotations

from typing import Final, Protocol

from pallets import weights
from runtime.codec.compact import DecodeError
from runtime.codec.scale import codec, scale, u32, u64
from runtime.frame.pallet import Const, Needs, Pallet, api
from runtime.frame.storage import DefaultMap, OptionalValue, Value, default
from runtime.shared.finality import ENGINE, AuthoritySet, Claim
from runtime.shared.leaders import VIEWS_MAX, schedule_of
from runtime.types.primitives import (
    ZERO_HASH,
    AccountId,
    Consensus,
    DigestItem,
    PreRuntime,
    Weight,
)

MISSED_MAX: Final = 256
"""Skipped views that one block accounts for; those after them are forgiven."""
AUTHOR_ENGINE: Final = b"nmbs"
"""The id under which clients of Substrate chains (Nimbus) read the account of a block's author."""
NO_VALIDATORS: Final = AuthoritySet(0, ZERO_HASH, ())


@scale
class Turn:
    """The view in which the latest block with a claim was first proposed."""

    epoch: u64 = 0
    view: u64 = 0


@scale
class Performance:
    """How often a validator made the block of its turn, and how often there was none."""

    account: AccountId
    authored: u32
    missed: u32


class Blocks(Protocol):
    """The part of System that Authorship calls."""

    def logs(self) -> tuple[DigestItem, ...]: ...
    def deposit_log(self, item: DigestItem) -> None: ...


class Validators(Protocol):
    """The part of Session that Authorship calls."""

    def epoch(self) -> int: ...
    def set_of(self, epoch: int) -> AuthoritySet | None: ...


class Rewards(Protocol):
    """The part of Staking that Authorship calls."""

    def note_author(self, account: AccountId) -> None: ...


class Downtime(Protocol):
    """The part of Offences that Authorship calls."""

    def note_missed(self, account: AccountId) -> None: ...


class Authorship(Pallet, index=13):
    """The author of each block, and how often validators made theirs."""

    maximum_missed: Const[u32] = MISSED_MAX
    """The most skipped views that one block counts as missed; later ones are forgiven."""

    system: Needs[Blocks]
    session: Needs[Validators]
    staking: Needs[Rewards | None] = None
    offences: Needs[Downtime | None] = None

    block_author: OptionalValue[AccountId]
    """The validator that made the block that is executed, or the latest one; none if unknown."""
    latest: Value[Turn] = default(Turn())
    """Epoch and view of the latest block with a claim."""
    authored: DefaultMap[AccountId, u32] = default(0)
    """The number of blocks that a validator has made, by account."""
    missed: DefaultMap[AccountId, u32] = default(0)
    """The number of views that a validator has led without a block, by account."""

    # -------------------------------------------------------------------------- runtime API

    @api("AuthorshipApi")
    def performance(self) -> tuple[Performance, ...]:
        """Return how the validators of this epoch have done, since they first validated."""
        return tuple(
            Performance(who, self.authored.get(who), self.missed.get(who))
            for who in (authority.account for authority in self._authorities().authorities)
        )

    # ------------------------------------------------------------------- for other pallets

    def author(self) -> AccountId | None:
        """Return the author of the block being executed, or of the latest one; None if unknown."""
        return self.block_author.get()

    # ------------------------------------------------------------------------------- hooks

    def on_initialize(self) -> Weight:
        """Read the author from the claim; count it, and the leaders of the skipped views."""
        if self.block_author.get() is not None:
            self.block_author.clear()
        claim = self._claim()
        if claim is None:
            return weights.AUTHORSHIP_NO_CLAIM
        authorities = self._authorities()
        if not authorities.authorities or self._fault(claim) is not None:
            return weights.AUTHORSHIP_IMPOSSIBLE_CLAIM
        schedule = schedule_of(authorities)
        first = self._latest_view() + 1
        skipped = range(first, min(claim.view, first + MISSED_MAX))
        for view in skipped:
            self._note_missed(authorities.authorities[schedule.leader(view)].account)
        self._note_author(authorities.authorities[schedule.leader(claim.view)].account)
        return weights.authorship_on_initialize(len(skipped))

    def on_finalize(self) -> None:
        """Demand that a claim is possible, and remember it for the next block."""
        claim = self._claim()
        if claim is None or not self._authorities().authorities:
            return
        assert self.block_author.get() is not None, self._fault(claim)
        before = [item for item in self.system.logs() if isinstance(item, PreRuntime)]
        # Explorers believe the first item that names an author: a leader shall not add another.
        assert len(before) == 1, "a block with a claim has no other item from before its execution"
        self.latest.put(Turn(claim.epoch, claim.view))

    def check_invariants(self) -> None:
        """The author of the block is counted as one."""
        author = self.block_author.get()
        assert author is None or self.authored.get(author) > 0, "an author has made a block"

    # ------------------------------------------------------------------------------ internal

    def _claim(self) -> Claim | None:
        for item in self.system.logs():
            if isinstance(item, PreRuntime) and item.engine == ENGINE:
                try:
                    return codec(Claim).decode(item.payload)
                except DecodeError:
                    return None
        return None

    def _authorities(self) -> AuthoritySet:
        return self.session.set_of(self.session.epoch()) or NO_VALIDATORS

    def _latest_view(self) -> int:
        """Return the view of the latest block of this epoch; 0 while there is none."""
        latest = self.latest.get()
        return latest.view if latest.epoch == self.session.epoch() else 0

    def _fault(self, claim: Claim) -> str | None:
        """Return why a claim is impossible, or None where it is possible."""
        epoch, former = self.session.epoch(), self._latest_view()
        if claim.epoch != epoch:
            return f"the claim is of epoch {claim.epoch}, the block of epoch {epoch}"
        if not former < claim.view <= VIEWS_MAX:
            return f"the claim is of view {claim.view}, the parent of view {former}"
        return None

    def _note_author(self, account: AccountId) -> None:
        self.block_author.put(account)
        self.system.deposit_log(Consensus(AUTHOR_ENGINE, account))
        self.authored.put(account, self.authored.get(account) + 1)
        if self.staking is not None:
            self.staking.note_author(account)

    def _note_missed(self, account: AccountId) -> None:
        self.missed.put(account, self.missed.get(account) + 1)
        if self.offences is not None:
            self.offences.note_missed(account)
