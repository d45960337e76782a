"""System: accounts, nonces, block hashes and remarks."""

from __future__ import annotations

import pytest

from pallets.system import System
from runtime.crypto.hashing import blake2b_256
from runtime.frame.dispatch import ROOT, DispatchClass, DispatchFailed
from runtime.types.primitives import AccountInfo, Digest, Hash, Weight
from tests.pallets.support.ledger import ALICE, GENESIS_HASH, NOBODY, Ledger


def test_a_remark_changes_nothing(ledger: Ledger) -> None:
    before = ledger.machine.overlay.changes()
    ledger.sign(ALICE, "System", "remark", remark=b"hello")
    assert ledger.machine.overlay.changes() == before


def test_a_remark_with_event_tells_its_hash(ledger: Ledger) -> None:
    ledger.sign(ALICE, "System", "remark_with_event", remark=b"hello")
    assert ledger.events(System.Remarked) == [System.Remarked(ALICE, Hash(blake2b_256(b"hello")))]


def test_root_signs_no_remark(ledger: Ledger) -> None:
    with pytest.raises(DispatchFailed, match="BadOrigin"):
        ledger.dispatch(ROOT, "System", "remark", remark=b"")


def test_counting_a_nonce_raises_it_by_one(ledger: Ledger) -> None:
    system = ledger.pallet(System)
    system.count_nonce(ALICE)
    system.count_nonce(ALICE)
    assert system.account_nonce(ALICE) == system.nonce(ALICE) == 2


def test_an_unknown_account_reads_as_all_zero(ledger: Ledger) -> None:
    assert ledger.pallet(System).get_account(NOBODY) == AccountInfo()


def test_the_genesis_hash_is_known_from_the_first_block_on(ledger: Ledger) -> None:
    assert ledger.pallet(System).hash_of(0) == GENESIS_HASH


def test_old_block_hashes_are_forgotten_but_for_the_genesis_hash(ledger: Ledger) -> None:
    system = ledger.pallet(System)
    count = system.block_hash_count
    for number in range(2, count + 4):
        system.initialize(number, Hash(number.to_bytes(32, "big")), Digest(()))
    assert system.hash_of(1) is None
    assert system.hash_of(0) == GENESIS_HASH
    assert system.hash_of(count + 2) is not None
    assert len(list(system.block_hash.items())) == count + 1


def test_weight_is_counted_by_class_and_reset_with_the_block(ledger: Ledger) -> None:
    system = ledger.pallet(System)
    system.note_weight(DispatchClass.Normal, Weight(5, 1))
    system.note_weight(DispatchClass.Mandatory, Weight(7, 2))
    assert system.normal_weight() == Weight(5, 1)
    assert system.used_weight() == Weight(12, 3)
    ledger.next_block()
    assert system.used_weight() == Weight(0, 0)


def test_an_account_without_providers_is_reaped_with_an_event(ledger: Ledger) -> None:
    system = ledger.pallet(System)
    system.put_account(NOBODY, AccountInfo(providers=1))
    system.put_account(NOBODY, AccountInfo())
    assert ledger.events(System.NewAccount)[-1].account == NOBODY
    assert ledger.events(System.KilledAccount) == [System.KilledAccount(NOBODY)]
    assert NOBODY not in system.account
