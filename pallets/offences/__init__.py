"""Offences: proven faults of validators, and their punishment.

*Equivocation* is proven by two conflicting votes that are signed. The author of a block puts the
proof in (`convict`), or any account reports it. The set of the epoch in which it happened names the
stash, whatever keys were registered since. The offender is chilled, left out of the next sets and
tombstoned at once; what was exposed behind it is slashed SLASH_DELAY_EPOCHS later:

    min(1, (3 k / n)^2)                    for k offenders of the epoch in its set of n

so one fault of many costs little, and a third of the set everything. k is counted when the slash is
applied; where another offender of the epoch is convicted later, those slashed before pay the rest.

*Absence* is seen on chain: leaders whose views passed without their block. Who missed more than
half of its turns, and at least MISSED_MIN, in an epoch is chilled: at most a third of the set, and
never so many that fewer than SET_MIN are left, because a set of four is the least that bears a
fault. Only those that staking elected: a validator by genesis weight would have no way back. Only
absence of more than a tenth of the set is slashed, of all absent ones:

    7 % * min(1, 3 (k - n / 10 - 1) / n)   for k absent ones of n

Root may cancel a slash until it is applied; cancelling a conviction lifts the tombstone too.
Source: Web3 Foundation, "Slashing mechanisms", and pallet_im_online for absence.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pallets import weights
from pallets.offences.records import (
    SET_MIN,
    Offence,
    Offender,
    PendingSlash,
    Turns,
    absence_fraction,
    equivocation_fraction,
)
from pallets.offences.required_pallets import Authors, Stakes, Validators
from pallets.required_system import BlockHashes
from pallets.staking.records import EVIDENCE_EPOCHS, SLASH_DELAY_EPOCHS
from runtime.codec.scale import u32, u64
from runtime.frame.dispatch import Error, Inherent, Root, Signed
from runtime.frame.pallet import Const, Event, Needs, Pallet, api, call
from runtime.frame.storage import DefaultMap, Hasher, Value, default
from runtime.shared.finality import (
    BadEvidenceError,
    Ballot,
    Equivocation,
    check_evidence,
    conflict,
)
from runtime.types.primitives import ZERO_HASH, AccountId, Balance, Weight

__all__ = [
    "Offence",
    "Offences",
    "PendingSlash",
    "Turns",
    "absence_fraction",
    "equivocation_fraction",
]

CONVICTIONS_PER_BLOCK: Final = 4
SLASHES_PER_BLOCK: Final = 2
"""A slash touches everybody behind a validator, so a block applies few."""
NO_WEIGHT: Final = Weight(0, 0)
PRUNE_AFTER_EPOCHS: Final = 2 * (EVIDENCE_EPOCHS + SLASH_DELAY_EPOCHS)


class Offences(Pallet, index=12):
    """Proven faults of validators: convictions, absence, deferred slashes."""

    evidence_epochs: Const[u32] = EVIDENCE_EPOCHS
    """The number of epochs after an offence in which evidence of it counts."""
    slash_delay_epochs: Const[u32] = SLASH_DELAY_EPOCHS
    """The number of epochs between a conviction and its slash, in which root may cancel it."""
    convictions_per_block: Const[u32] = CONVICTIONS_PER_BLOCK
    """The most validators that one block may convict."""

    system: Needs[BlockHashes]
    session: Needs[Validators]
    staking: Needs[Stakes]
    authorship: Needs[Authors | None] = None

    offenders: DefaultMap[u64, tuple[Offender, ...]] = default((), Hasher.TWOX_64_CONCAT)
    """The validators convicted of equivocation, with the fraction they have lost, by the epoch of
    the offence."""
    unapplied_slashes: Value[tuple[PendingSlash, ...]] = default(())
    """The slashes that wait for their epoch, the next first."""
    convictions_in_block: Value[u32] = default(0)
    """The number of convictions in this block."""
    counted_epoch: Value[u64] = default(0)
    """The epoch whose turns are counted in `Turns`."""
    turns: DefaultMap[AccountId, Turns] = default(Turns())
    """The turns that a validator has led and missed in the counted epoch, by account."""

    class Convicted(Event, index=0):
        """A validator has signed two conflicting votes; here they are."""

        stash: AccountId
        first: Ballot
        second: Ballot

    class Absent(Event, index=1):
        """A validator has missed most of its turns in an epoch."""

        stash: AccountId
        epoch: u64
        missed: u32
        led: u32
        is_chilled: bool

    class SlashDeferred(Event, index=2):
        """A slash waits until an epoch; root may cancel it before."""

        offence: Offence
        epoch: u64
        stash: AccountId
        due_epoch: u64

    class SlashApplied(Event, index=3):
        """A fraction (parts of 10**9) of what stood behind a validator was slashed and burned."""

        offence: Offence
        epoch: u64
        stash: AccountId
        fraction: u32
        burned: Balance

    class SlashCancelled(Event, index=4):
        """Root has cancelled a slash."""

        offence: Offence
        epoch: u64
        stash: AccountId

    class NoOffence(Error, index=0):
        """An honest voter may sign both votes. Give two votes of one voter, view and epoch that
        exclude each other."""

    class UnknownEpoch(Error, index=1):
        """There is no set of validators of the epoch. Compare it with the epoch of the chain."""

    class EvidenceTooOld(Error, index=2):
        """The offence happened too many epochs ago. Its stake may have left already."""

    class NotInSet(Error, index=3):
        """The set of the epoch has no such voter. Compare the index with the set."""

    class ForgedSignature(Error, index=4):
        """A vote is not signed by the voter's key of that epoch. Nothing is proven."""

    class AlreadyConvicted(Error, index=5):
        """The validator was convicted for this epoch already. Nothing more is to be done."""

    class TooManyConvictions(Error, index=6):
        """This block has convicted as many as it may. Put the evidence into the next one."""

    class NoSuchSlash(Error, index=7):
        """No such slash waits. It was applied or cancelled, or there never was one."""

    # ------------------------------------------------------------------------------- calls

    @call(0, weights.OFFENCES_CONVICT)
    def convict(self, origin: Inherent, evidence: Equivocation) -> None:
        """Convict a validator by two of its votes; put in by the author of a block."""
        self._convict(evidence)

    @call(1, weights.OFFENCES_REPORT)
    def report(self, who: Signed, evidence: Equivocation) -> Weight:
        """Convict a validator by two of its votes; the weight fee is refunded when it convicts."""
        self._convict(evidence)
        return Weight(0, 0)

    @call(2, weights.OFFENCES_CANCEL_SLASH, operational=True)
    def cancel_slash(self, origin: Root, offence: Offence, epoch: u64, stash: AccountId) -> None:
        """Cancel a slash before it is applied; for a conviction, lift the tombstone as well."""
        pending = self.unapplied_slashes.get()
        remaining = tuple(
            slash
            for slash in pending
            if (slash.offence, slash.epoch, slash.stash) != (offence, epoch, stash)
        )
        if len(remaining) == len(pending):
            raise self.NoSuchSlash
        self.unapplied_slashes.put(remaining)
        if offence is Offence.Equivocation:
            self._note_offender(epoch, stash, is_lifted=True)
            self.staking.lift_tombstone(stash)
        self.emit(self.SlashCancelled(offence, epoch, stash))

    # -------------------------------------------------------------------------- runtime API

    @api("OffencesApi")
    def is_reportable(self, evidence: Equivocation) -> bool:
        """Return whether evidence would convict a validator now. Authors ask before they put it in,
        because a block with evidence that fails is invalid."""
        try:
            self._check(evidence)
        except Error:
            return False
        return True

    @api("OffencesApi")
    def pending_slashes(self) -> tuple[PendingSlash, ...]:
        """Return the slashes that wait, the next first."""
        return self.unapplied_slashes.get()

    @api("OffencesApi")
    def offenders_of(self, epoch: u64) -> tuple[Offender, ...]:
        """Return who was convicted for an epoch, and what it has lost by that."""
        return self.offenders.get(epoch)

    # ------------------------------------------------------------------- for other pallets

    def note_missed(self, account: AccountId) -> None:
        """Count a turn that passed without a block."""
        self._enter_epoch()
        turns = self.turns.get(account)
        self.turns.put(account, replace(turns, missed=turns.missed + 1))

    # ------------------------------------------------------------------------------- hooks

    def on_initialize(self) -> Weight:
        """Judge the absent ones of an epoch that is over, and apply slashes that are due."""
        self.convictions_in_block.clear()
        judged = self._enter_epoch()
        return weights.offences_on_initialize(judged) + self._apply_due()

    def on_finalize(self) -> None:
        """Count the turn that this block's author took."""
        author = self.authorship.author() if self.authorship is not None else None
        if author is not None:
            turns = self.turns.get(author)
            self.turns.put(author, replace(turns, led=turns.led + 1))

    def check_invariants(self) -> None:
        """Slashes that wait are of convictions that stand; none is convicted twice."""
        for epoch, offenders in self.offenders.items():
            stashes = {offender.stash for offender in offenders}
            assert len(stashes) == len(offenders), f"epoch {epoch}"
        for pending in self.unapplied_slashes.get():
            if pending.offence is Offence.Equivocation:
                (offender,) = self._offenders(pending.epoch, pending.stash)
                assert not offender.is_lifted, "a cancelled slash does not wait"

    # ------------------------------------------------------------------------------ internal

    def _check(self, evidence: Equivocation) -> AccountId:
        """Return the stash that evidence convicts. Raises the failure that says why not."""
        first, second = evidence.first, evidence.second
        if first.voter != second.voter or not conflict(first.ballot, second.ballot):
            raise self.NoOffence
        epoch, now = first.ballot.epoch, self.session.epoch()
        if epoch + EVIDENCE_EPOCHS < now:
            raise self.EvidenceTooOld
        authorities = self.session.set_of(epoch) if epoch <= now else None
        if authorities is None:
            raise self.UnknownEpoch
        if first.voter >= len(authorities.authorities):
            raise self.NotInSet
        stash = authorities.authorities[first.voter].account
        if self._offenders(epoch, stash):
            raise self.AlreadyConvicted
        try:
            check_evidence(self.system.hash_of(0) or ZERO_HASH, authorities, evidence)
        except BadEvidenceError as error:
            raise self.ForgedSignature from error
        return stash

    def _convict(self, evidence: Equivocation) -> None:
        count = self.convictions_in_block.get()
        if count >= CONVICTIONS_PER_BLOCK:
            raise self.TooManyConvictions
        stash, epoch = self._check(evidence), evidence.first.ballot.epoch
        self.convictions_in_block.put(count + 1)
        self.offenders.put(epoch, (*self.offenders.get(epoch), Offender(stash)))
        self.staking.tombstone(stash)
        self.session.disable(stash)
        self.emit(self.Convicted(stash, evidence.first.ballot, evidence.second.ballot))
        self._defer(Offence.Equivocation, epoch, stash, 0)

    def _defer(self, offence: Offence, epoch: int, stash: AccountId, fraction: int) -> None:
        due = self.session.epoch() + SLASH_DELAY_EPOCHS
        pending = PendingSlash(
            offence=offence, epoch=epoch, stash=stash, fraction=fraction, due_epoch=due
        )
        self.unapplied_slashes.put((*self.unapplied_slashes.get(), pending))
        self.emit(self.SlashDeferred(offence, epoch, stash, due))

    def _apply_due(self) -> Weight:
        """Apply the next slashes that are due, a few in each block; returns the weight used."""
        used = NO_WEIGHT
        now, pending = self.session.epoch(), self.unapplied_slashes.get()
        due = [slash for slash in pending if slash.due_epoch <= now][:SLASHES_PER_BLOCK]
        if due:
            self.unapplied_slashes.put(tuple(slash for slash in pending if slash not in due))
        for slash in due:
            epoch, stash, fraction = slash.epoch, slash.stash, slash.fraction
            if slash.offence is Offence.Equivocation:
                fraction = self._raise_fraction(slash)
            used += weights.offences_apply_slash(self.staking.backer_count(epoch, stash))
            burned = self.staking.slash(epoch, stash, fraction)
            self.emit(
                self.SlashApplied(
                    offence=slash.offence,
                    epoch=epoch,
                    stash=stash,
                    fraction=fraction,
                    burned=burned,
                )
            )
        return used

    def _raise_fraction(self, pending: PendingSlash) -> int:
        """Return the fraction that is still to slash; queue those who have lost too little."""
        epoch, now = pending.epoch, self.session.epoch()
        authorities = self.session.set_of(epoch)
        assert authorities is not None, "sets are known for longer than a slash waits"
        guilty = [offender for offender in self.offenders.get(epoch) if not offender.is_lifted]
        fraction = equivocation_fraction(len(guilty), len(authorities.authorities))
        waiting = self.unapplied_slashes.get()
        queued = {(slash.offence, slash.epoch, slash.stash) for slash in waiting}
        again = tuple(
            PendingSlash(
                offence=Offence.Equivocation,
                epoch=epoch,
                stash=offender.stash,
                fraction=0,
                due_epoch=now,
            )
            for offender in guilty
            if offender.stash != pending.stash
            and 0 < offender.applied < fraction
            and (Offence.Equivocation, epoch, offender.stash) not in queued
        )
        self.unapplied_slashes.put((*waiting, *again))
        (own,) = self._offenders(epoch, pending.stash)
        self._note_offender(epoch, pending.stash, applied=max(own.applied, fraction))
        return max(0, fraction - own.applied)

    def _enter_epoch(self) -> int:
        """Judge the turns of the epoch that is over, once; returns how many validators it had.

        Authorship may count the first missed turns of an epoch before this pallet's hook runs.
        """
        former, now = self.counted_epoch.get(), self.session.epoch()
        if former == now:
            return 0
        self.counted_epoch.put(now)
        for epoch in range(former - PRUNE_AFTER_EPOCHS, now - PRUNE_AFTER_EPOCHS):
            if epoch >= 0:
                self.offenders.remove(epoch)
        authorities = self.session.set_of(former)
        members = authorities.authorities if authorities else ()
        accounts = [authority.account for authority in members]
        self._judge_absence(former, accounts)
        return len(accounts)

    def _judge_absence(self, epoch: int, accounts: list[AccountId]) -> None:
        absent: list[tuple[AccountId, Turns]] = []
        for account in accounts:
            turns = self.turns.get(account)
            if turns.is_absent:
                absent.append((account, turns))
            if turns != Turns():
                self.turns.remove(account)
        size = len(accounts)
        may_go = max(0, min((size - 1) // 3, size - SET_MIN))
        absent.sort(key=lambda entry: (-entry[1].missed, entry[0]))
        for account, turns in absent:
            is_chilled = may_go > 0 and self.staking.chill_absent(account, epoch)
            if is_chilled:
                may_go -= 1
                self.session.disable(account)
            self.emit(
                self.Absent(
                    stash=account,
                    epoch=epoch,
                    missed=turns.missed,
                    led=turns.led,
                    is_chilled=is_chilled,
                )
            )
        fraction = absence_fraction(len(absent), size) if absent else 0
        for account, _ in absent if fraction else ():
            self._defer(Offence.Absence, epoch, account, fraction)

    def _offenders(self, epoch: int, stash: AccountId) -> tuple[Offender, ...]:
        return tuple(entry for entry in self.offenders.get(epoch) if entry.stash == stash)

    def _note_offender(
        self, epoch: int, stash: AccountId, *, applied: int | None = None, is_lifted: bool = False
    ) -> None:
        self.offenders.put(
            epoch,
            tuple(
                entry
                if entry.stash != stash
                else Offender(
                    stash,
                    entry.applied if applied is None else applied,
                    entry.is_lifted or is_lifted,
                )
                for entry in self.offenders.get(epoch)
            ),
        )
