"""Authorship, Randomness, Offences, Staking and Session at their worst cases."""

from __future__ import annotations

from functools import partial
from typing import Final

from benchmarks.weights.case import Benchmarks, Work
from benchmarks.weights.stage import BLOCK, GENESIS_HASH, VALIDATORS, WeighingStage
from pallets.authorship import MISSED_MAX, Authorship
from pallets.balances import Balances, HoldReason
from pallets.offences import Offence, Offences, PendingSlash, Turns
from pallets.randomness import WAIT_EPOCHS, Commitment, Commitments, Randomness
from pallets.session import Session, SessionKeys, prove_possession
from pallets.staking import Parameters, Payee, Staking, ValidatorPrefs, election, eras
from pallets.staking.eras import ActiveEraInfo
from pallets.staking.records import (
    NOMINATORS_MAX,
    PAYOUTS_PER_BLOCK,
    RATE_ONE,
    TARGETS_MAX,
    UNLOCKING_MAX,
    VALIDATORS_MAX,
    Earnings,
    Exposure,
    IndividualExposure,
    Nominations,
    Position,
    StakingLedger,
    Sweep,
    UnlockChunk,
    bond_of,
)
from pallets.transaction_payment import FEE_POT
from runtime.codec.scale import codec
from runtime.crypto.hashing import blake2b_256
from runtime.shared.finality import (
    ENGINE,
    Authority,
    AuthoritySet,
    Ballot,
    Claim,
    Equivocation,
    Kind,
    Vote,
    payload,
)
from runtime.types.primitives import OPEN, ZERO_HASH, AccountId, Hash, Id, PreRuntime

AUTHORSHIP: Final = Benchmarks("Authorship")
RANDOMNESS: Final = Benchmarks("Randomness")
OFFENCES: Final = Benchmarks("Offences")
STAKING: Final = Benchmarks("Staking")
SESSION: Final = Benchmarks("Session")

EPOCH: Final = 7
"""An epoch in which no era begins and none is planned, and neither does in the next one."""
ERA: Final = 40
STAKE: Final = 10_000 * OPEN
EARNED: Final = OPEN
WAITING_SLASHES: Final = 32
"""Slashes that wait while one of them is cancelled."""


def _authorities(stage: WeighingStage, epoch: int, count: int) -> AuthoritySet:
    """Put a set of validators into an epoch and make it the current one."""
    session, members = stage.pallet(Session), []
    for at in range(count):
        pair = stage.pair(f"validator {at}")
        who = stage.account(f"validator {at}")
        session.next_keys.put(who, SessionKeys(pair.account))
        session.key_owner.put(pair.account, who)
        members.append(Authority(who, pair.account, STAKE))
    authorities = AuthoritySet(epoch, ZERO_HASH, tuple(members))
    session.authorities.put(authorities)
    session.history.put(epoch, authorities)
    session.current_index.put(epoch)
    session.validators.put(tuple(member.account for member in members))
    return authorities


# --------------------------------------------------------------------------------------- Authorship


@AUTHORSHIP.constant
def authorship_no_claim(stage: WeighingStage) -> Work:
    stage.pallet(Authorship).block_author.put(stage.account("author"))
    return stage.pallet(Authorship).on_initialize


@AUTHORSHIP.constant
def authorship_impossible_claim(stage: WeighingStage) -> Work:
    _authorities(stage, EPOCH, VALIDATORS)
    stage.pallet(Authorship).block_author.put(stage.account("author"))
    _claim(stage, EPOCH + 1, 1)
    return stage.pallet(Authorship).on_initialize


@AUTHORSHIP.linear(skipped_views=(0, MISSED_MAX))
def authorship_on_initialize(stage: WeighingStage, skipped_views: int) -> Work:
    """Return the weight of Authorship.on_initialize for a possible claim."""
    _authorities(stage, EPOCH, MISSED_MAX)
    stage.pallet(Offences).counted_epoch.put(EPOCH)
    stage.pallet(Authorship).block_author.put(stage.account("author"))
    _claim(stage, EPOCH, 1 + skipped_views)
    return stage.pallet(Authorship).on_initialize


def _claim(stage: WeighingStage, epoch: int, view: int) -> None:
    stage.logs = (PreRuntime(ENGINE, codec(Claim).encode(Claim(epoch, view, ZERO_HASH))),)


# --------------------------------------------------------------------------------------- Randomness


@RANDOMNESS.constant
def randomness_commit(stage: WeighingStage) -> Work:
    _committed(stage, Hash(blake2b_256(b"tip")))
    return stage.inherent("Randomness", "commit", tip=Hash(blake2b_256(b"next tip")))


@RANDOMNESS.constant
def randomness_reveal(stage: WeighingStage) -> Work:
    link = Hash(blake2b_256(b"link"))
    _committed(stage, Hash(blake2b_256(link)))
    return stage.inherent("Randomness", "reveal", link=link)


def _committed(stage: WeighingStage, tip: Hash) -> None:
    author = stage.account("author")
    stage.pallet(Authorship).block_author.put(author)
    stage.pallet(Session).current_index.put(EPOCH)
    waiting = Commitment(1, EPOCH - WAIT_EPOCHS, tip)
    commitments = Commitments(Commitment(0, 0, tip), waiting)
    stage.pallet(Randomness).commitments.put(author, commitments)


# ----------------------------------------------------------------------------------------- Offences


@OFFENCES.constant
def offences_convict(stage: WeighingStage) -> Work:
    return stage.inherent("Offences", "convict", evidence=_evidence(stage))


@OFFENCES.constant
def offences_report(stage: WeighingStage) -> Work:
    evidence = _evidence(stage)
    return stage.signed(stage.account("reporter"), "Offences", "report", evidence=evidence)


@OFFENCES.constant
def offences_cancel_slash(stage: WeighingStage) -> Work:
    evidence = _evidence(stage)
    stage.inherent("Offences", "convict", evidence=evidence)()
    _wait(stage, WAITING_SLASHES - 1)
    stash = stage.account("validator 0")
    offence = Offence.Equivocation
    return stage.root("Offences", "cancel_slash", offence=offence, epoch=EPOCH, stash=stash)


@OFFENCES.linear(validators=(0, VALIDATORS_MAX))
def offences_on_initialize(stage: WeighingStage, validators: int) -> Work:
    """Return the weight of Offences.on_initialize, which judges the turns of an epoch."""
    authorities = _authorities(stage, EPOCH, max(validators, 1))
    offences, staking = stage.pallet(Offences), stage.pallet(Staking)
    if validators:
        stage.pallet(Session).current_index.put(EPOCH + 1)
    offences.counted_epoch.put(EPOCH)
    for authority in authorities.authorities:
        offences.turns.put(authority.account, Turns(led=0, missed=10))
        _bond(stage, authority.account)
        staking.validators.put(authority.account, ValidatorPrefs())
    staking.counter_for_validators.put(len(authorities.authorities))
    return offences.on_initialize


@OFFENCES.linear(backers=(1, NOMINATORS_MAX))
def offences_apply_slash(stage: WeighingStage, backers: int) -> Work:
    """Return the weight of one slash in Offences.on_initialize."""
    staking, offences = stage.pallet(Staking), stage.pallet(Offences)
    stage.pallet(Session).current_index.put(EPOCH)
    offences.counted_epoch.put(EPOCH)
    stash = stage.account("stash")
    others = tuple(IndividualExposure(who, STAKE) for who in stage.accounts("backer", backers - 1))
    for who in (stash, *(other.who for other in others)):
        _bond(stage, who)
    era = EPOCH // staking.sessions_per_era.get()
    staking.exposures.put((era, stash), Exposure(STAKE * backers, STAKE, 0, others))
    slash = PendingSlash(
        offence=Offence.Absence, epoch=EPOCH, stash=stash, fraction=70_000_000, due_epoch=EPOCH
    )
    offences.unapplied_slashes.put((slash,))
    return offences.on_initialize


def _evidence(stage: WeighingStage) -> Equivocation:
    """Return two conflicting votes of a validator; its set is the largest that stake elects."""
    _authorities(stage, EPOCH, VALIDATORS_MAX)
    stage.pallet(Offences).counted_epoch.put(EPOCH)
    stash = stage.account("validator 0")
    _bond(stage, stash)
    staking = stage.pallet(Staking)
    staking.validators.put(stash, ValidatorPrefs())
    staking.counter_for_validators.put(staking.counter_for_validators.get() + 1)
    _wait(stage, WAITING_SLASHES)
    pair, votes = stage.pair("validator 0"), []
    for digest in (b"\1" * 32, b"\2" * 32):
        ballot = Ballot(EPOCH, 5, Kind.NOTARIZE, Hash(digest))
        votes.append(Vote(ballot, 0, pair.sign(payload(GENESIS_HASH, ballot))))
    return Equivocation(votes[0], votes[1])


def _wait(stage: WeighingStage, count: int) -> None:
    """Let slashes of others wait."""
    waiting = stage.pallet(Offences).unapplied_slashes
    others = tuple(
        PendingSlash(
            offence=Offence.Absence, epoch=EPOCH, stash=who, fraction=1, due_epoch=EPOCH + 2
        )
        for who in stage.accounts("offender", count)
    )
    waiting.put((*waiting.get(), *others))


# ------------------------------------------------------------------------------------------ Staking


def _bond(stage: WeighingStage, who: AccountId, ledger: StakingLedger | None = None) -> None:
    """Bond stake of an account, with a hold of another reason beside it."""
    staking, balances = stage.pallet(Staking), stage.pallet(Balances)
    made = ledger or bond_of(who, STAKE)
    balances.hold(HoldReason.JobBond, who, OPEN)
    balances.hold(HoldReason.Staking, who, made.total)
    staking.ledger.put(who, made)
    staking.payee.put(who, Payee.Staked)


def _earn(stage: WeighingStage, who: AccountId) -> None:
    """Let an account have earned behind as many validators as it may nominate."""
    staking = stage.pallet(Staking)
    validators = stage.accounts("backed", TARGETS_MAX)
    for validator in validators:
        staking.rates.put(validator, RATE_ONE // 1_000)
        staking.validators.put(validator, ValidatorPrefs())
    positions = tuple(Position(validator, STAKE // TARGETS_MAX, 0) for validator in validators)
    staking.earnings.put(who, Earnings(EARNED, positions))
    staking.owed.put(staking.owed.get() + STAKE)


def _staker(stage: WeighingStage, *, unlocking: int = 0) -> AccountId:
    """Return a nominator that has earned; half of its unlocking chunks are free."""
    who, staking = stage.account("staker"), stage.pallet(Staking)
    now = UNLOCKING_MAX
    staking.active_era.put(ActiveEraInfo(now))
    first = now - unlocking // 2
    chunks = tuple(UnlockChunk(OPEN, first + at) for at in range(unlocking))
    _bond(stage, who, bond_of(who, STAKE, chunks))
    _earn(stage, who)
    staking.nominators.put(who, Nominations(stage.accounts("backed", TARGETS_MAX), 0))
    staking.counter_for_nominators.put(1)
    return who


@STAKING.constant
def staking_bond(stage: WeighingStage) -> Work:
    who = stage.account("staker")
    return stage.signed(who, "Staking", "bond", value=STAKE, payee=Payee.Staked)


@STAKING.constant
def staking_bond_extra(stage: WeighingStage) -> Work:
    return stage.signed(_staker(stage), "Staking", "bond_extra", max_additional=OPEN)


@STAKING.constant
def staking_unbond(stage: WeighingStage) -> Work:
    who = _staker(stage, unlocking=UNLOCKING_MAX)
    return stage.signed(who, "Staking", "unbond", value=STAKE // 2)


@STAKING.constant
def staking_withdraw_unbonded(stage: WeighingStage) -> Work:
    return stage.signed(_staker(stage, unlocking=UNLOCKING_MAX), "Staking", "withdraw_unbonded")


@STAKING.constant
def staking_rebond(stage: WeighingStage) -> Work:
    who = _staker(stage, unlocking=UNLOCKING_MAX)
    return stage.signed(who, "Staking", "rebond", value=UNLOCKING_MAX * OPEN)


@STAKING.constant
def staking_set_payee(stage: WeighingStage) -> Work:
    return stage.signed(_staker(stage), "Staking", "set_payee", payee=Payee.Stash)


@STAKING.constant
def staking_validate(stage: WeighingStage) -> Work:
    return stage.signed(_staker(stage), "Staking", "validate", prefs=ValidatorPrefs(100))


@STAKING.constant
def staking_nominate(stage: WeighingStage) -> Work:
    who, staking = _staker(stage), stage.pallet(Staking)
    staking.nominators.remove(who)
    staking.validators.put(who, ValidatorPrefs())
    staking.counter_for_validators.put(1)
    targets = tuple(Id(target) for target in stage.accounts("backed", TARGETS_MAX))
    return stage.signed(who, "Staking", "nominate", targets=targets)


@STAKING.constant
def staking_chill(stage: WeighingStage) -> Work:
    return stage.signed(_staker(stage), "Staking", "chill")


@STAKING.constant
def staking_set_parameters(stage: WeighingStage) -> Work:
    return stage.root("Staking", "set_parameters", parameters=Parameters())


@STAKING.constant
def staking_on_initialize(stage: WeighingStage) -> Work:
    stage.pallet(Staking).sweep.put(Sweep(1, 0, 0, is_done=True))
    return stage.pallet(Staking).on_initialize


@STAKING.linear(payouts=(1, PAYOUTS_PER_BLOCK))
def staking_sweep(stage: WeighingStage, payouts: int) -> Work:
    """Return the weight of Staking.on_initialize, which pays earnings."""
    staking, era = stage.pallet(Staking), 1
    stash = stage.account("stash")
    others = tuple(IndividualExposure(who, STAKE) for who in stage.accounts("backer", payouts - 1))
    for who in (stash, *(other.who for other in others)):
        _bond(stage, who)
        _earn(stage, who)
    staking.era_validators.put(era, (stash,))
    staking.exposures.put((era, stash), Exposure(STAKE * payouts, STAKE, 0, others))
    staking.sweep.put(Sweep(era, is_done=False))
    return staking.on_initialize


@STAKING.linear(validators=(4, VALIDATORS_MAX), nominators=(0, NOMINATORS_MAX))
def staking_plan_era(stage: WeighingStage, validators: int, nominators: int) -> Work:
    """Return the weight of the election for an era."""
    _electorate(stage, validators, nominators)
    return partial(election.plan, stage.pallet(Staking), ERA + 1)


@STAKING.linear(validators=(4, VALIDATORS_MAX), nominators=(0, NOMINATORS_MAX))
def staking_begin_era(stage: WeighingStage, validators: int, nominators: int) -> Work:
    """Return the weight of the change of eras: what one pays, and the positions of the next."""
    _electorate(stage, validators, nominators)
    return partial(election.begin, stage.pallet(Staking), ERA + 1)


@STAKING.linear(validators=(4, VALIDATORS_MAX), slashes=(0, NOMINATORS_MAX))
def staking_forget_era(stage: WeighingStage, validators: int, slashes: int) -> Work:
    """Return the weight of removing what is known of an era, each slash of it as well."""
    staking = stage.pallet(Staking)
    members = stage.accounts("validator", validators)
    for who in members:
        staking.exposures.put((ERA, who), Exposure(STAKE, STAKE, 0, ()))
        staking.claimed_rewards.put((ERA, who), (eras.PAGE,))
        eras.add_point(staking, ERA, who)
    for who in stage.accounts("backer", slashes):
        eras.note_slash(staking, ERA, members[0], who, 1, STAKE)
    staking.era_validators.put(ERA, tuple(members))
    staking.eras_validator_reward.put(ERA, STAKE)
    return partial(eras.forget, staking, ERA)


def _electorate(stage: WeighingStage, validators: int, nominators: int) -> None:
    """Let validators stand, nominators back as many of them as they may, and plan two eras."""
    staking, balances = stage.pallet(Staking), stage.pallet(Balances)
    members = _authorities(stage, EPOCH, validators).authorities
    accounts = [member.account for member in members]
    standing = list(staking.validators.keys())
    for who in standing:
        staking.validators.remove(who)
    for who in accounts:
        _bond(stage, who)
        staking.validators.put(who, ValidatorPrefs(1_000))
    for number, who in enumerate(stage.accounts("nominator", nominators)):
        _bond(stage, who)
        targets = tuple(
            accounts[(number + at) % validators] for at in range(min(TARGETS_MAX, validators))
        )
        staking.nominators.put(who, Nominations(targets, 0))
    staking.parameters.put(Parameters(validator_count=VALIDATORS_MAX))
    for era in (ERA, ERA + 1):
        election.plan(staking, era)
    staking.active_era.put(ActiveEraInfo(ERA))
    for who in accounts:
        eras.add_point(staking, ERA, who)
    balances.transfer(accounts[0], FEE_POT, STAKE)


# ------------------------------------------------------------------------------------------ Session


@SESSION.constant
def session_set_keys(stage: WeighingStage) -> Work:
    who, pair = stage.account("validator"), stage.pair("session key")
    proof = prove_possession(GENESIS_HASH, who, pair)
    return stage.signed(who, "Session", "set_keys", key=pair.account, proof=proof)


@SESSION.constant
def session_purge_keys(stage: WeighingStage) -> Work:
    who, pair = stage.account("validator"), stage.pair("session key")
    proof = prove_possession(GENESIS_HASH, who, pair)
    stage.signed(who, "Session", "set_keys", key=pair.account, proof=proof)()
    return stage.signed(who, "Session", "purge_keys")


@SESSION.constant
def session_on_initialize(stage: WeighingStage) -> Work:
    stage.pallet(Session).epoch_blocks.put(BLOCK + 1)
    return stage.pallet(Session).on_initialize


@SESSION.linear(validators=(4, VALIDATORS_MAX))
def session_rotate(stage: WeighingStage, validators: int) -> Work:
    """Return the weight of the end of an epoch in Session.on_finalize, elections apart."""
    session = stage.pallet(Session)
    session.epoch_blocks.put(BLOCK)
    authorities = _authorities(stage, EPOCH, validators)
    session.queued.put(AuthoritySet(EPOCH + 1, ZERO_HASH, authorities.authorities))
    session.disabled.put(tuple(one.account for one in authorities.authorities[: validators // 3]))
    return session.on_finalize
