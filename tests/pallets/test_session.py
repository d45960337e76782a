"""Session: keys with proofs, epochs of blocks, sets that change only at their boundary."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pallets import session as session_module
from pallets.session import (
    EPOCH_BLOCKS_DEFAULT,
    Genesis,
    GenesisValidator,
    Session,
    possession_payload,
    prove_possession,
)
from runtime.frame.dispatch import Error
from runtime.frame.executive import InvalidBlockError
from runtime.shared.finality import ENGINE, Authority, AuthoritySet, next_set_of
from runtime.types.primitives import OPEN, ZERO_HASH, AccountId, Consensus, Digest, Hash, Header
from tests.pallets.support.ledger import GENESIS_HASH, Ledger
from tests.pallets.support.validators import EPOCH_BLOCKS, PAIRS, SPARE, STASHES, Committee
from tests.runtime.support.blocks import Blocks

# ---------------------------------------------------------------------------------------- keys


def test_a_key_is_registered_with_a_proof_of_possession() -> None:
    with Committee() as committee:
        committee.call_set_keys(STASHES[5], SPARE[0])
        assert committee.session.registered_key(STASHES[5]) == SPARE[0].account
        assert committee.events(Session.KeysSet) == [Session.KeysSet(STASHES[5], SPARE[0].account)]


def test_a_key_without_its_own_signature_is_refused() -> None:
    bad = [
        bytes(64),
        prove_possession(GENESIS_HASH, STASHES[5], SPARE[1]),
        prove_possession(GENESIS_HASH, STASHES[4], SPARE[0]),
        prove_possession(Hash(bytes(32)), STASHES[5], SPARE[0]),
        SPARE[0].sign(possession_payload(GENESIS_HASH, STASHES[5])[1:]),
    ]
    with Committee() as committee:
        for proof in bad:
            with pytest.raises(Session.InvalidProof):
                committee.call_set_keys(STASHES[5], SPARE[0], proof)
        assert committee.session.registered_key(STASHES[5]) is None


def test_a_key_never_belongs_to_two_validators() -> None:
    with Committee() as committee:
        with pytest.raises(Session.DuplicatedKey):
            committee.call_set_keys(STASHES[5], PAIRS[0])
        committee.call_set_keys(STASHES[5], SPARE[0])
        committee.call_set_keys(STASHES[5], SPARE[1])
        committee.sign(STASHES[5], "Session", "purge_keys")
        for freed in SPARE[:2]:
            with pytest.raises(Session.DuplicatedKey):
                committee.call_set_keys(STASHES[6], freed)


def test_a_validator_may_return_to_a_former_key() -> None:
    with Committee() as committee:
        for pair in (SPARE[0], SPARE[1], SPARE[0]):
            committee.call_set_keys(STASHES[5], pair)
        assert committee.session.registered_key(STASHES[5]) == SPARE[0].account


def test_keys_that_are_not_there_cannot_be_purged() -> None:
    with Committee() as committee, pytest.raises(Session.NoKeys):
        committee.sign(STASHES[5], "Session", "purge_keys")


# -------------------------------------------------------------------------------------- epochs


def test_an_epoch_ends_with_its_last_block() -> None:
    with Committee(with_staking=False) as committee:
        for number in range(1, 3 * EPOCH_BLOCKS + 1):
            assert committee.number == number
            assert committee.session.epoch() == (number - 1) // EPOCH_BLOCKS
            assert committee.current.epoch == committee.session.epoch()
            assert committee.session.current_index.get() == committee.session.epoch()
            committee.next_block()
        assert committee.events(Session.NewSession) == [Session.NewSession(e) for e in (1, 2, 3)]


def test_the_boundary_header_carries_the_hash_of_the_next_set() -> None:
    with Committee() as committee:
        for number in range(1, 2 * EPOCH_BLOCKS + 1):
            assert committee.system.logs() == ()
            for pallet in committee.machine.pallets.values():
                pallet.on_finalize()
            digest = committee.system.finalize((), 0)
            header = Header(ZERO_HASH, number, ZERO_HASH, ZERO_HASH, digest)
            if number % EPOCH_BLOCKS:
                assert digest == Digest(())
            else:
                assert next_set_of(header) == committee.current.hash
                assert [type(item) for item in digest.logs] == [Consensus]
            committee._begin_block()


def test_others_execute_a_boundary_block_alike_and_refuse_another_next_set() -> None:
    blocks = Blocks()
    blocks.add_empty(EPOCH_BLOCKS_DEFAULT - 1)
    built = blocks.build()
    header = built.header
    assert next_set_of(header) is not None
    assert blocks.execute(header, built.extrinsics).changes == built.changes
    forged = Consensus(ENGINE, bytes(32))
    for logs in ((), (forged,), (forged, *header.digest.logs), header.digest.logs * 2):
        with pytest.raises(InvalidBlockError):
            blocks.execute(replace(header, digest=Digest(logs)), built.extrinsics)
    blocks.keep(built)
    plain = blocks.build()
    with pytest.raises(InvalidBlockError):
        blocks.execute(replace(plain.header, digest=Digest((forged,))), plain.extrinsics)


def test_whoever_is_elected_waits_one_whole_epoch() -> None:
    with Committee(2) as committee:
        committee.call_set_keys(STASHES[5], PAIRS[5])
        committee.elect(STASHES[0], STASHES[5])
        committee.end_epoch()
        assert committee.accounts() == [STASHES[0], STASHES[1]]
        assert [a.account for a in committee.session.next_authorities().authorities] == [
            STASHES[0],
            STASHES[5],
        ]
        committee.end_epoch()
        assert committee.accounts() == [STASHES[0], STASHES[5]]


def test_a_changed_key_counts_after_one_whole_epoch_also_without_staking() -> None:
    for with_staking in (True, False):
        with Committee(2, with_staking=with_staking) as committee:
            committee.call_set_keys(STASHES[0], SPARE[0])
            committee.end_epoch()
            assert committee.current.authorities[0].key == PAIRS[0].account
            committee.end_epoch()
            assert committee.current.authorities[0].key == SPARE[0].account


def test_a_set_within_an_epoch_never_changes() -> None:
    with Committee() as committee:
        before = committee.current
        committee.elect(STASHES[0])
        committee.call_set_keys(STASHES[0], SPARE[0])
        committee.session.disable(STASHES[1])
        committee.next_block(EPOCH_BLOCKS - 1)
        assert committee.current == before


def test_who_has_no_key_or_no_stake_is_not_elected() -> None:
    with Committee(3) as committee:
        committee.sign(STASHES[1], "Session", "purge_keys")
        committee.elect(STASHES[0], STASHES[1], STASHES[6])
        committee.end_epoch(2)
        assert committee.accounts() == [STASHES[0]]
        committee.elect(STASHES[0], weight=0)
        committee.end_epoch(2)
        assert committee.accounts() == [STASHES[0]]


def test_an_empty_election_keeps_the_set() -> None:
    with Committee(3) as committee:
        committee.end_epoch(3)
        assert committee.accounts() == list(STASHES[:3])


def test_the_weight_is_the_elected_stake() -> None:
    with Committee(2, weights=(3, 5)) as committee:
        assert [one.weight for one in committee.current.authorities] == [3, 5]
        committee.elect(STASHES[1], STASHES[0], weight=7)
        committee.end_epoch(2)
        assert committee.current.authorities == (
            Authority(STASHES[1], PAIRS[1].account, 7),
            Authority(STASHES[0], PAIRS[0].account, 7),
        )


def test_each_epoch_has_a_seed_of_its_own() -> None:
    with Committee() as committee:
        seeds = {committee.current.seed}
        for _ in range(5):
            committee.end_epoch()
            seeds.add(committee.current.seed)
        assert len(seeds) == 6


def test_recent_sets_are_known_by_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "HISTORY_EPOCHS", 3)
    with Committee(2) as committee:
        sets = []
        for _ in range(6):
            sets.append(committee.current)
            committee.end_epoch()
        known = [committee.session.set_of(epoch) for epoch in range(8)]
        assert known == [None, None, None, None, *sets[4:], committee.current, None]


def test_a_disabled_validator_is_left_out_of_the_next_two_elections() -> None:
    with Committee(3) as committee:
        committee.elect(*STASHES[:3])
        committee.session.disable(STASHES[1])
        committee.session.disable(STASHES[1])
        committee.session.disable(STASHES[6])
        assert committee.events(Session.ValidatorDisabled) == [
            Session.ValidatorDisabled(STASHES[1])
        ]
        for _ in range(2):
            committee.end_epoch()
            assert committee.accounts() == [STASHES[0], STASHES[2]]
        committee.end_epoch()
        assert committee.accounts() == list(STASHES[:3])


def test_a_set_of_offenders_stays_until_others_are_elected() -> None:
    with Committee(2) as committee:
        committee.call_set_keys(STASHES[4], PAIRS[4])
        for stash in STASHES[:2]:
            committee.session.disable(stash)
        committee.elect(*STASHES[:2], STASHES[4])
        committee.end_epoch()
        assert committee.accounts() == list(STASHES[:2])
        committee.end_epoch()
        assert committee.accounts() == [STASHES[4]]


# ------------------------------------------------------------------------------------- genesis


def test_a_chain_without_validators_stays_inert() -> None:
    with Committee(0) as committee:
        committee.call_set_keys(STASHES[0], PAIRS[0])
        committee.elect(STASHES[0])
        committee.end_epoch(3)
        assert committee.current == AuthoritySet(0, ZERO_HASH, ())
        assert committee.system.logs() == ()
        assert committee.events(Session.NewSession) == []


def genesis_of(*validators: GenesisValidator, epoch_blocks: int = 4) -> Genesis:
    return Genesis(validators, epoch_blocks)


@pytest.mark.parametrize(
    ("genesis", "reason"),
    [
        (genesis_of(epoch_blocks=0), "one block"),
        (genesis_of(*[GenesisValidator(STASHES[0], STASHES[0])] * 2), "twice"),
        (
            genesis_of(*(GenesisValidator(stash, STASHES[0]) for stash in STASHES[:2])),
            "two validators",
        ),
        (genesis_of(GenesisValidator(STASHES[0], STASHES[0], 0)), "weight"),
    ],
)
def test_a_genesis_that_makes_no_set_is_refused(genesis: Genesis, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        Ledger(Session=genesis)


def test_the_state_of_a_new_epoch_is_what_clients_read() -> None:
    with Committee(3) as committee:
        committee.end_epoch()
        assert committee.session.validators.get() == STASHES[:3]
        assert committee.session.current_authorities() == committee.current
        assert committee.session.authorities_of(0) is not None
        assert committee.session.blocks_per_epoch() == EPOCH_BLOCKS


# ------------------------------------------------------------------------------ against a model


class SessionLife(RuleBasedStateMachine):
    """Random keys, elections and blocks; the model is three lists."""

    @initialize(count=strategies.integers(1, 4))
    def begin(self, count: int) -> None:
        self.committee = Committee(count, epoch_blocks=3)
        self.keys = {stash: bytes(stash) for stash in STASHES[:count]}
        self.owners = {bytes(stash): stash for stash in STASHES[:count]}
        self.current = [(stash, bytes(stash), OPEN) for stash in STASHES[:count]]
        self.queued = list(self.current)
        self.elected: list[tuple[AccountId, int]] = []
        self.disabled: list[AccountId] = []
        self.number = 1

    def teardown(self) -> None:
        if hasattr(self, "committee"):
            self.committee.close()

    @rule(who=strategies.sampled_from(STASHES), pair=strategies.sampled_from((*PAIRS, *SPARE[:2])))
    def set_keys(self, who: AccountId, pair: object) -> None:
        assert isinstance(pair, type(PAIRS[0]))
        try:
            self.committee.call_set_keys(who, pair)
        except Error:
            assert self.owners[pair.account] != who
        else:
            assert self.owners.setdefault(pair.account, who) == who
            self.keys[who] = pair.account

    @rule(who=strategies.sampled_from(STASHES))
    def purge(self, who: AccountId) -> None:
        try:
            self.committee.sign(who, "Session", "purge_keys")
        except Error:
            assert who not in self.keys
        else:
            del self.keys[who]

    @rule(
        chosen=strategies.lists(strategies.sampled_from(STASHES), unique=True),
        weight=strategies.integers(0, 3),
    )
    def elect(self, chosen: list[AccountId], weight: int) -> None:
        self.elected = [(who, weight) for who in chosen]
        self.committee.elect(*chosen, weight=weight)

    @rule(who=strategies.sampled_from(STASHES))
    def disable(self, who: AccountId) -> None:
        self.committee.session.disable(who)
        if who in {stash for stash, _, _ in (*self.current, *self.queued)}:
            self.disabled.append(who)

    @rule(count=strategies.integers(1, 4))
    def go_on(self, count: int) -> None:
        for _ in range(count):
            self.committee.next_block()
            if self.number % 3 == 0:
                self.rotate()
            self.number += 1

    def rotate(self) -> None:
        allowed = [one for one in self.queued if one[0] not in self.disabled]
        self.current = allowed or self.queued
        chosen = [
            (who, self.keys[who], weight)
            for who, weight in self.elected
            if who in self.keys and weight and who not in self.disabled
        ]
        staying = [(who, self.keys.get(who, key), weight) for who, key, weight in self.current]
        self.queued = chosen or staying
        self.disabled = []

    @precondition(lambda self: hasattr(self, "committee"))
    @invariant()
    def agrees_with_the_model(self) -> None:
        self.committee.check()
        session = self.committee.session
        assert session.epoch() == (self.number - 1) // 3
        for stored, expected in (
            (session.authorities.get(), self.current),
            (session.queued.get(), self.queued),
        ):
            assert [(a.account, a.key, a.weight) for a in stored.authorities] == expected


SessionLife.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_random_sessions_agree_with_the_rules = SessionLife.TestCase
