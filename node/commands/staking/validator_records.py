"""The keys, set-up and standing of a validator, as commands print them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from node.client import Client
from node.commands.base.documents import Planck
from node.commands.base.suggestions import with_options
from node.commands.staking.records import STANDING, activity_of
from pallets.offences import Turns
from pallets.staking.records import ChilledValidator, EraEntry
from runtime.codec.hexadecimal import to_hex
from runtime.crypto import ss58
from runtime.shared.finality import AuthoritySet
from runtime.types.primitives import AccountId


@dataclass(frozen=True, slots=True)
class SessionKeyDocument:
    """A session key: its name among the node's keys, and its public half."""

    name: str
    public_key: str
    file: str | None
    is_new: bool


@dataclass(frozen=True, slots=True)
class StepLine:
    """A step of becoming a validator: `state` is done, sent, or to do."""

    step: str
    state: str
    detail: str


@dataclass(frozen=True, slots=True)
class SetupDocument:
    """How far an account is on its way to validate; the steps to do are one transaction."""

    stash: str
    session_key: str
    steps: tuple[StepLine, ...]
    transaction: str | None
    fee_planck: Planck | None
    votes_from_epoch: int | None
    node_start: str
    unit: str | None


@dataclass(frozen=True, slots=True)
class StandingDocument:
    """Whether a validator votes, with which key and since when, and the turns that it missed.

    `votes_from_epoch` is the first epoch of its present key, past or to come. What the node hears
    of it is absent where the node makes its blocks alone. `chilled_epoch` is that in which it
    missed most of its turns and lost its candidacy, until it stands again.
    """

    stash: str
    sentence: str
    epoch: int
    registered_key: str | None
    voting_key: str | None
    is_standing: bool
    is_in_current_set: bool
    is_in_next_set: bool
    is_tombstoned: bool
    chilled_epoch: int | None
    votes_from_epoch: int | None
    stake_planck: Planck
    made: int
    missed: int
    missed_this_epoch: int
    last_view: int | None
    heard_seconds_ago: float | None
    is_silent: bool | None
    LABELS: ClassVar[Mapping[str, str]] = {**STANDING, "stake_planck": "elected stake"}


def next_election(era: EraEntry, epoch: int) -> int:
    """Return the first epoch in which an account that is not elected yet can vote.

    An era is planned one epoch ahead, so it is the next era that begins after the next epoch.
    """
    return -(-(epoch + 2) // era.sessions_per_era) * era.sessions_per_era


def standing_of(client: Client, who: AccountId) -> StandingDocument:
    """Return whether an account validates, and how."""
    current: AuthoritySet = client.api("SessionApi_current_authorities")
    queued: AuthoritySet = client.api("SessionApi_next_authorities")
    era: EraEntry = client.api("StakingApi_era")
    registered: bytes | None = client.api("SessionApi_registered_key", who)
    voting, following = _key_in(current, who), _key_in(queued, who)
    is_standing = client.api("StakingApi_prefs_of", who) is not None
    convictions: int = client.query("Staking", "tombstones", who)
    chilled: ChilledValidator | None = client.query("Staking", "chilled_validators", who)
    exposure = client.api("StakingApi_exposure", era.active, who)
    turns: Turns = client.query("Offences", "turns", who)
    activity = (activity_of(client) or {}).get(who)
    since = _votes_from(client, era, who, registered, is_standing=is_standing)
    document = StandingDocument(
        stash=ss58.encode(who),
        sentence="",
        epoch=current.epoch,
        registered_key=_hex_or_none(registered),
        voting_key=_hex_or_none(voting),
        is_standing=is_standing,
        is_in_current_set=voting is not None,
        is_in_next_set=following is not None,
        is_tombstoned=bool(convictions),
        chilled_epoch=None if chilled is None else chilled.epoch,
        votes_from_epoch=None if convictions and voting is None else since,
        stake_planck=Planck(exposure.total if exposure is not None else 0),
        made=client.query("Authorship", "authored", who),
        missed=client.query("Authorship", "missed", who),
        missed_this_epoch=turns.missed,
        last_view=None if activity is None else activity.last_view,
        heard_seconds_ago=None if activity is None else activity.seconds_ago,
        is_silent=None if activity is None else activity.is_silent,
    )
    return replace(document, sentence=with_options(_sentence(document)))


def _sentence(standing: StandingDocument) -> str:
    if standing.is_tombstoned:
        return "Convicted of signing twice: this account can never be elected again."
    if standing.chilled_epoch is not None:
        still = " It votes until it leaves the set." if standing.is_in_current_set else ""
        return (
            f"It was chilled at epoch {standing.chilled_epoch} for absence: it missed most of its "
            f"turns.{still} See that its node runs and has caught up; then run "
            "`openledger validator unjail --from ACCOUNT` to stand for election again."
        )
    if standing.is_in_current_set:
        leaving = "" if standing.is_in_next_set else " It is not in the next set."
        if standing.registered_key != standing.voting_key:
            return f"It votes with a former key; the new one waits one whole epoch.{leaving}"
        if standing.is_silent:
            return f"It is elected, but this node does not hear its votes.{leaving}"
        return f"It votes since epoch {standing.votes_from_epoch}.{leaving}"
    if not standing.is_standing:
        return "It does not stand for election. Begin with `openledger validator setup`."
    if standing.registered_key is None:
        return (
            "It stands for election, but no session key is registered, so it is not elected. "
            "Register one with `openledger validator set-keys`."
        )
    if standing.is_in_next_set:
        return f"It is elected and votes from epoch {standing.votes_from_epoch} on."
    return (
        f"It stands for election and can vote from epoch {standing.votes_from_epoch} on, if its "
        "stake is among the largest."
    )


def _votes_from(
    client: Client,
    era: EraEntry,
    who: AccountId,
    registered: bytes | None,
    *,
    is_standing: bool,
) -> int | None:
    """Return the first epoch of the registered key; None where it will not vote."""
    current: AuthoritySet = client.api("SessionApi_current_authorities")
    queued: AuthoritySet = client.api("SessionApi_next_authorities")
    if registered is None:
        return None
    if _key_in(current, who) == registered:
        return _since(client, who, registered, current.epoch)
    if _key_in(queued, who) == registered:
        return queued.epoch
    if not is_standing:
        return None
    if _key_in(queued, who) is not None:
        return queued.epoch + 1  # elected already: the next rotation takes the new key
    return next_election(era, current.epoch)


def _since(client: Client, who: AccountId, key: bytes, epoch: int) -> int:
    """Return the first of the consecutive epochs in which a key votes, as far as is known."""
    while epoch > 0:
        before: AuthoritySet | None = client.api("SessionApi_authorities_of", epoch - 1)
        if before is None or _key_in(before, who) != key:
            return epoch
        epoch -= 1
    return epoch


def _key_in(authorities: AuthoritySet, who: AccountId) -> bytes | None:
    return next(
        (authority.key for authority in authorities.authorities if authority.account == who), None
    )


def _hex_or_none(key: bytes | None) -> str | None:
    return None if key is None else to_hex(key)
