"""The invariants of the state of Datanets, which tests and devnets check after each block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pallets.balances import HoldReason
from pallets.datanets.records import CREATION_DEPOSIT, Batch, BatchStatus
from pallets.names import name_key
from runtime.trie.merkle import merkle_root
from runtime.types.primitives import AccountId

if TYPE_CHECKING:
    from pallets.datanets import Datanets


def check(pallet: Datanets) -> None:
    """Assert that names, counters, rows, versions and holds agree with datanets and batches."""
    deposits: dict[AccountId, int] = {}
    bonds: dict[AccountId, int] = {}
    names: dict[str, int] = {}
    entries: dict[tuple[int, int], int] = {}
    for number, record in pallet.records.items():
        names[name_key(record.name)] = number
        deposits[record.owner] = deposits.get(record.owner, 0) + record.deposit_planck
        assert record.deposit_planck == CREATION_DEPOSIT, "a deposit changed"
        _check_batches(pallet, number, bonds)
        _check_versions(pallet, number)
    assert names == dict(pallet.names.items()), "names and datanets differ"
    assert sorted(names.values()) == list(range(pallet.next_id.get())), "a number is missing"
    for (datanet, _), number in pallet.rows.items():
        entries[datanet, number] = entries.get((datanet, number), 0) + 1
    for (datanet, number), batch in pallet.contributions.items():
        has_rows = batch.status in (BatchStatus.Pending, BatchStatus.Accepted)
        expected = batch.rows if has_rows else 0
        assert entries.pop((datanet, number), 0) == expected, "rows and batches differ"
    assert not entries, "a row belongs to no batch"
    for who in {**deposits, **bonds}:
        deposit = pallet.balances.held(HoldReason.DatanetDeposit, who)
        assert deposit == deposits.get(who, 0), f"deposits of {who.hex()} do not sum up"
        bond = pallet.balances.held(HoldReason.DatanetBond, who)
        assert bond == bonds.get(who, 0), f"bonds of {who.hex()} do not sum up"


def _check_batches(pallet: Datanets, datanet: int, bonds: dict[AccountId, int]) -> None:
    progress = pallet.progress.get(datanet)
    accepted_rows = pending = accepted = 0
    contributed: dict[AccountId, int] = {}
    for number, batch in _all_batches(pallet, datanet, progress.batches):
        bonds.setdefault(batch.contributor, 0)
        hashes = pallet.pending_rows.get((datanet, number))
        if batch.status is BatchStatus.Pending:
            pending += 1
            bonds[batch.contributor] += batch.bond_planck + batch.deposit_planck
            assert merkle_root(hashes) == batch.root, "a batch waits with other rows"
        else:
            assert hashes == (), "a decided batch has no list of rows"
        if batch.status is BatchStatus.Accepted:
            accepted += 1
            accepted_rows += batch.rows
            former = contributed.get(batch.contributor, 0)
            contributed[batch.contributor] = former + batch.rows
    assert (pending, accepted) == (progress.pending_batches, progress.accepted_batches), "counters"
    assert accepted_rows == progress.accepted_rows, "accepted rows do not sum up"
    credited = {key[1]: rows for key, rows in pallet.contributed.items(datanet)}
    assert credited == contributed, "contributors and accepted rows differ"


def _check_versions(pallet: Datanets, datanet: int) -> None:
    progress = pallet.progress.get(datanet)
    numbers = [pallet.accepted.get((datanet, at)) for at in range(progress.accepted_batches)]
    batches = [pallet.contributions.get((datanet, number or 0)) for number in numbers]
    former = 0
    for number in range(1, progress.versions + 1):
        version = pallet.versions.get((datanet, number))
        assert version is not None, "versions are numbered without gaps"
        assert former < version.batches <= progress.accepted_batches, "a version only appends"
        former = version.batches
        taken = [batch for batch in batches[: version.batches] if batch is not None]
        assert version.root == merkle_root(batch.root for batch in taken), "a root is wrong"
        assert version.rows == sum(batch.rows for batch in taken), "rows of a version"
    assert former == progress.published_batches, "the last version is the published one"


def _all_batches(pallet: Datanets, datanet: int, count: int) -> list[tuple[int, Batch]]:
    batches = []
    for number in range(count):
        batch = pallet.contributions.get((datanet, number))
        assert batch is not None, "batches are numbered without gaps"
        batches.append((number, batch))
    return batches
