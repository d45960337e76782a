"""Stakes, validators and slashes as commands print them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import ClassVar, Final

from node.client import Client, RequestRefusedError
from node.commands.base.command import refuse
from node.commands.base.documents import Planck
from pallets.offences import Offence, Offences, PendingSlash, equivocation_fraction
from pallets.staking.records import (
    BILLION,
    EraEntry,
    Exposure,
    Payee,
    StakingLedger,
    ValidatorPrefs,
    bond_of,
)
from pallets.staking.rewards import backers_of
from runtime.crypto import ss58
from runtime.shared.finality import AuthoritySet
from runtime.types.primitives import AccountId

PERCENT: Final = BILLION // 100
"""One percent in parts of 10**9, in which commissions and slashes are given."""
STANDING: Final = {"is_standing": "stands for election"}
"""The heading that tells a candidate from finality that stands still."""


@dataclass(frozen=True, slots=True)
class UnbondingLine:
    """Stake on its way out: it can be withdrawn in `free_in_era`, from `free_at_block` on."""

    amount_planck: Planck
    free_in_era: int
    free_at_block: int
    is_free: bool


@dataclass(frozen=True, slots=True)
class NominationLine:
    """A validator that an account backs, and with how much in this era."""

    validator: str
    exposed_planck: Planck
    is_standing: bool
    LABELS: ClassVar[Mapping[str, str]] = STANDING


@dataclass(frozen=True, slots=True)
class PendingSlashLine:
    """A slash that waits until an epoch; its size is what it would be now.

    A proven double vote costs more the more validators are convicted for the same epoch.
    """

    offence: str
    validator: str
    epoch: int
    applied_in_epoch: int
    percent: float
    amount_planck: Planck


@dataclass(frozen=True, slots=True)
class AppliedSlashLine:
    """What an offence has cost; the amount and block are known where the block was searched."""

    offence: str
    validator: str
    epoch: int
    percent: float
    is_cancelled: bool
    amount_planck: Planck | None
    block_number: int | None


@dataclass(frozen=True, slots=True)
class StakeDocument:
    """What an account has staked, in which role, what it earns and what it may lose."""

    account: str
    role: str
    bonded_planck: Planck
    active_planck: Planck
    free_planck: Planck
    pending_rewards_planck: Planck
    rewards_go_to: str
    commission_percent: float | None
    era: int
    unbonding: tuple[UnbondingLine, ...]
    nominations: tuple[NominationLine, ...]
    pending_slashes: tuple[PendingSlashLine, ...]


@dataclass(frozen=True, slots=True)
class ValidatorRow:
    """A validator: its stake and points of this era, its turns since it first validated.

    `is_silent` is what the node hears; it is absent where the node makes its blocks alone.
    """

    account: str
    stake_planck: Planck
    own_planck: Planck
    commission_percent: float
    points: int
    backers: int
    votes: bool
    is_standing: bool
    made: int
    missed: int
    is_silent: bool | None
    is_disabled: bool
    LABELS: ClassVar[Mapping[str, str]] = STANDING


@dataclass(frozen=True, slots=True)
class ValidatorsDocument:
    """Who validates in this era or stands for the next."""

    era: int
    epoch: int
    validators: tuple[ValidatorRow, ...]


@dataclass(frozen=True, slots=True)
class SlashesDocument:
    """Slashes that wait, and those that were applied or cancelled."""

    epoch: int
    pending: tuple[PendingSlashLine, ...]
    applied: tuple[AppliedSlashLine, ...]


@dataclass(frozen=True, slots=True)
class Activity:
    """The activity of a validator in the current epoch, as a node of the network saw it."""

    is_this_node: bool
    is_silent: bool
    last_view: int
    seconds_ago: float | None


def parse_commission(text: str) -> int:
    """Return parts of 10**9 for percents such as `5`, `2.5%`. Raises UsageError."""
    try:
        parts = Decimal(text.strip().removesuffix("%")) * PERCENT
    except InvalidOperation:
        parts = Decimal("NaN")
    if not parts.is_finite() or parts != int(parts) or not 0 <= parts <= BILLION:
        refuse(f"The commission {text!r} is no percentage from 0 to 100, such as 5 or 2.5%.")
    return int(parts)


def percent_of(parts: int) -> float:
    """Return parts of 10**9 in percent."""
    return parts / PERCENT


def first_block_of(client: Client, era: EraEntry, number: int) -> int:
    """Return the first block in which an era is the active one for calls."""
    return int(number * era.sessions_per_era * client.api("SessionApi_blocks_per_epoch")) + 1


def stake_document(client: Client, who: AccountId) -> StakeDocument:
    """Return the stake of an account. An account without a bond has zeros."""
    ledger: StakingLedger = client.api("StakingApi_ledger_of", who) or bond_of(who, 0)
    era: EraEntry = client.api("StakingApi_era")
    prefs: ValidatorPrefs | None = client.api("StakingApi_prefs_of", who)
    nominations = _nominations(client, era, who)
    if prefs is not None:
        role = "validator"
    elif nominations:
        role = "nominator"
    else:
        role = "idle" if ledger.total else "none"
    payee = client.query("Staking", "payee", who)
    return StakeDocument(
        account=ss58.encode(who),
        role=role,
        bonded_planck=Planck(ledger.total),
        active_planck=Planck(ledger.active),
        free_planck=Planck(client.balance(who).free),
        pending_rewards_planck=Planck(client.api("StakingApi_pending_rewards", who)),
        rewards_go_to="bond" if payee is Payee.Staked else "free balance",
        commission_percent=None if prefs is None else percent_of(prefs.commission),
        era=era.active,
        unbonding=tuple(
            UnbondingLine(
                Planck(chunk.value),
                chunk.era,
                first_block_of(client, era, chunk.era),
                chunk.era <= era.active,
            )
            for chunk in ledger.unlocking
        ),
        nominations=nominations,
        pending_slashes=pending_slashes(client, who),
    )


def validators_document(client: Client) -> ValidatorsDocument:
    """Return who validates or stands for election, the largest stake first."""
    era: EraEntry = client.api("StakingApi_era")
    current: AuthoritySet = client.api("SessionApi_current_authorities")
    voting = {authority.account for authority in current.authorities}
    turns = {turn.account: turn for turn in client.api("AuthorshipApi_performance")}
    disabled = client.query("Session", "disabled")
    activity = activity_of(client)
    rows = []
    for entry in client.api("StakingApi_validator_entries"):
        who, done = entry.stash, turns.get(entry.stash)
        last_activity = activity.get(who) if activity is not None else None
        rows.append(
            ValidatorRow(
                account=ss58.encode(who),
                stake_planck=Planck(entry.total),
                own_planck=Planck(entry.own),
                commission_percent=percent_of(entry.commission),
                points=entry.points,
                backers=entry.nominators,
                votes=who in voting,
                is_standing=entry.is_candidate,
                made=done.authored if done is not None else 0,
                missed=done.missed if done is not None else 0,
                is_silent=None if last_activity is None else last_activity.is_silent,
                is_disabled=who in disabled,
            )
        )
    rows.sort(key=lambda row: (-row.stake_planck, row.account))
    return ValidatorsDocument(era.active, current.epoch, tuple(rows))


def activity_of(client: Client) -> dict[AccountId, Activity] | None:
    """Return the activity of each validator; None where the node is a solo author."""
    try:
        status = client.call("openledger_consensus")
    except RequestRefusedError:
        return None
    authorities: AuthoritySet | None = client.api("SessionApi_authorities_of", status["epoch"])
    if authorities is None:
        return {}
    return {
        authorities.authorities[validator["index"]].account: Activity(
            is_this_node=validator["isMe"],
            is_silent=validator["isSilent"],
            last_view=validator["lastView"],
            seconds_ago=validator["heardSecondsAgo"],
        )
        for validator in status["validators"]
    }


def slashes_document(client: Client, blocks: int) -> SlashesDocument:
    """Return all slashes; the events of so many newest blocks are searched for amounts."""
    epoch: int = client.query("Session", "current_index")
    events = _applied_in(client, blocks)
    lines = list(events.values())
    for of_epoch, offenders in client.entries("Offences", "offenders"):
        for offender in offenders:
            has_event = (Offence.Equivocation, of_epoch, offender.stash) in events
            if (offender.applied or offender.is_lifted) and not has_event:
                lines.append(
                    AppliedSlashLine(
                        offence=Offence.Equivocation.name.lower(),
                        validator=ss58.encode(offender.stash),
                        epoch=of_epoch,
                        percent=percent_of(offender.applied),
                        is_cancelled=offender.is_lifted,
                        amount_planck=None,
                        block_number=None,
                    )
                )
    lines.sort(key=lambda line: (line.epoch, line.validator, line.offence))
    return SlashesDocument(epoch, pending_slashes(client), tuple(lines))


def pending_slashes(client: Client, who: AccountId | None = None) -> tuple[PendingSlashLine, ...]:
    """Return the slashes that wait; for an account those that it bears a part of, its part."""
    length = client.query("Staking", "sessions_per_era")
    lines = []
    for slash in client.api("OffencesApi_pending_slashes"):
        exposure = client.api("StakingApi_exposure", slash.epoch // length, slash.stash)
        exposed = _exposed(exposure, slash.stash, who)
        if who is not None and who != slash.stash and not exposed:
            continue
        parts = _fraction_now(client, slash)
        lines.append(
            PendingSlashLine(
                offence=slash.offence.name.lower(),
                validator=ss58.encode(slash.stash),
                epoch=slash.epoch,
                applied_in_epoch=slash.due_epoch,
                percent=percent_of(parts),
                amount_planck=Planck(exposed * parts // BILLION),
            )
        )
    return tuple(lines)


def _exposed(exposure: Exposure | None, stash: AccountId, who: AccountId | None) -> int:
    if exposure is None:
        return 0  # it validated by its genesis weight, without stake
    backers = backers_of(stash, exposure)
    return sum(value for backer, value in backers if who is None or backer == who)


def _fraction_now(client: Client, slash: PendingSlash) -> int:
    """Return the fraction that a slash would take if it were applied now, in parts of 10**9."""
    if slash.offence is Offence.Absence:
        return slash.fraction
    offenders = client.api("OffencesApi_offenders_of", slash.epoch)
    authorities: AuthoritySet | None = client.api("SessionApi_authorities_of", slash.epoch)
    if authorities is None:
        return slash.fraction
    guilty = sum(not offender.is_lifted for offender in offenders)
    own = (offender.applied for offender in offenders if offender.stash == slash.stash)
    applied = next(own, 0)
    return max(0, equivocation_fraction(guilty, len(authorities.authorities)) - applied)


def _applied_in(
    client: Client, blocks: int
) -> dict[tuple[Offence, int, AccountId], AppliedSlashLine]:
    """Return the slashes that the newest blocks applied; those of one offence are added up."""
    lines: dict[tuple[Offence, int, AccountId], AppliedSlashLine] = {}
    best = client.header().number
    for number in range(max(1, best - blocks + 1), best + 1) if blocks else ():
        for record in client.events(number):
            event = record.event
            if not isinstance(event, Offences.SlashApplied):
                continue
            key = (event.offence, event.epoch, event.stash)
            before = lines.get(key)
            lines[key] = AppliedSlashLine(
                offence=event.offence.name.lower(),
                validator=ss58.encode(event.stash),
                epoch=event.epoch,
                percent=percent_of(event.fraction) + (before.percent if before else 0.0),
                is_cancelled=False,
                amount_planck=Planck(event.burned + ((before.amount_planck or 0) if before else 0)),
                block_number=number,
            )
    return lines


def _nominations(client: Client, era: EraEntry, who: AccountId) -> tuple[NominationLine, ...]:
    lines = []
    for target in client.api("StakingApi_nominations_of", who):
        exposure = client.api("StakingApi_exposure", era.active, target)
        lines.append(
            NominationLine(
                ss58.encode(target),
                Planck(_exposed(exposure, target, who)),
                client.api("StakingApi_prefs_of", target) is not None,
            )
        )
    return tuple(lines)
