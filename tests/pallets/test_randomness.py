"""Randomness: links are fixed epochs before they count, and nobody can choose one."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pallets import randomness as randomness_module
from pallets.randomness import Commitments, Randomness, links
from runtime.crypto.hashing import blake2b_256
from runtime.frame.dispatch import INHERENT, DispatchFailed, Origin
from runtime.types.primitives import AccountId, Hash
from tests.pallets.support.ledger import ALICE, Ledger
from tests.pallets.support.validators import STASHES, Committee

LINKS = 8


@pytest.fixture(autouse=True)
def _short_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(randomness_module, "CHAIN_LINKS", LINKS)
    monkeypatch.setattr(randomness_module, "COMMIT_AHEAD", 6)
    links.cache_clear()


def secret(who: AccountId) -> bytes:
    return b"secret of " + who


def contribute(committee: Committee, view: int) -> list[str]:
    """Make a block whose author contributes what it can; returns the calls."""
    committee.claim(view)
    author = committee.authorship.author()
    assert author is not None
    calls = committee.randomness.contribution(author, secret(author))
    for call in calls:
        with committee.machine.transaction():
            committee.machine.dispatch(call, INHERENT)
    return [call.name for call in calls]


def feed(committee: Committee, blocks: int) -> list[list[str]]:
    """Make blocks one view after the other, across epochs."""
    made = []
    for _ in range(blocks):
        length = committee.session.epoch_blocks.get()
        made.append(contribute(committee, committee.number % length + 1))
    return made


def test_a_chain_of_hashes_ends_with_its_tip() -> None:
    chain = links(b"secret", 3)
    assert len(chain) == LINKS + 1
    assert all(blake2b_256(one) == after for one, after in pairwise(chain))
    assert chain != links(b"secret", 4) != links(b"other", 4)


def test_an_author_commits_and_reveals_from_the_second_epoch_after() -> None:
    with Committee(1, epoch_blocks=2) as committee:
        made = feed(committee, 5)
        # Block 1 has no author here; blocks 2 to 4 are in the epochs 0, 1, 1, and so on.
        assert made == [["commit"], [], [], ["reveal"], ["reveal"]]


def test_a_new_chain_is_committed_to_before_the_present_one_ends() -> None:
    with Committee(1, epoch_blocks=2) as committee:
        made = feed(committee, 30)
        reveals = [calls for calls in made[3:] if "reveal" not in calls]
        assert reveals == []
        known = committee.randomness.commitments_of(STASHES[0])
        assert known is not None
        assert known.active is not None
        assert known.active.number >= 3


def test_each_reveal_changes_the_mix() -> None:
    with Committee(1, epoch_blocks=2) as committee:
        feed(committee, 3)
        mixes = {committee.randomness.mix.get()}
        for _ in range(4):
            feed(committee, 1)
            mixes.add(committee.randomness.mix.get())
        assert len(mixes) == 5


def active_link(committee: Committee) -> Hash:
    """Bring a committee of one so far that it could reveal in this block; returns the link."""
    feed(committee, 3)
    committee.claim(committee.number % 2 + 1)
    [call] = committee.randomness.contribution(STASHES[0], secret(STASHES[0]))
    link: Hash = call.arguments[0]
    return link


def test_only_the_next_link_can_be_revealed() -> None:
    with Committee(1, epoch_blocks=2) as committee:
        link = active_link(committee)
        for other in (Hash(bytes(32)), Hash(blake2b_256(link))):
            with pytest.raises(Randomness.LinkMismatch):
                committee.dispatch(INHERENT, "Randomness", "reveal", link=other)
        committee.dispatch(INHERENT, "Randomness", "reveal", link=link)


def test_an_author_reveals_once_in_a_block() -> None:
    with Committee(1, epoch_blocks=2) as committee:
        link = active_link(committee)
        before = links(secret(STASHES[0]), 0)[LINKS - 2]
        committee.dispatch(INHERENT, "Randomness", "reveal", link=link)
        with pytest.raises(Randomness.RevealedAlready):
            committee.dispatch(INHERENT, "Randomness", "reveal", link=before)


def test_a_commitment_does_not_count_at_once() -> None:
    with Committee(1, epoch_blocks=4) as committee:
        committee.claim(1)
        link = Hash(b"l" * 32)
        tip = Hash(blake2b_256(link))
        committee.dispatch(INHERENT, "Randomness", "commit", tip=tip)
        for view in (2, 3):
            with pytest.raises(Randomness.NothingCommitted):
                committee.dispatch(INHERENT, "Randomness", "reveal", link=link)
            committee.claim(view)


def test_committing_again_waits_again() -> None:
    with Committee(1, epoch_blocks=2) as committee:
        feed(committee, 2)
        committee.dispatch(INHERENT, "Randomness", "commit", tip=Hash(b"t" * 32))
        feed(committee, 1)
        known = committee.randomness.commitments_of(STASHES[0])
        assert known is not None
        assert known.active is None
        assert known.waiting is not None
        assert (known.waiting.number, known.waiting.epoch) == (1, 1)


def test_a_block_without_author_neither_commits_nor_reveals() -> None:
    with Committee() as committee:
        for name, argument in (("commit", "tip"), ("reveal", "link")):
            with pytest.raises(Randomness.AuthorUnknown):
                committee.dispatch(INHERENT, "Randomness", name, **{argument: Hash(bytes(32))})


def test_an_account_can_neither_commit_nor_reveal() -> None:
    with Committee() as committee, pytest.raises(DispatchFailed, match="BadOrigin"):
        committee.dispatch(Origin.signed(ALICE), "Randomness", "commit", tip=Hash(bytes(32)))


def test_a_forgotten_secret_is_replaced_by_a_new_chain() -> None:
    with Committee(1, epoch_blocks=2) as committee:
        feed(committee, 4)
        [call] = committee.randomness.contribution(STASHES[0], b"another secret")
        assert call.name == "commit"


def test_randomness_differs_by_subject_and_by_block() -> None:
    with Ledger() as ledger:
        randomness = ledger.pallet(Randomness)
        seen = set()
        for _ in range(4):
            seen |= {randomness.random(b"one"), randomness.random(b"two")}
            ledger.next_block()
        assert len(seen) == 8


def test_without_reveals_two_blocks_are_mixed() -> None:
    drawn = set()
    for parent, grandparent in ((b"a", b"a"), (b"a", b"b"), (b"b", b"a"), (b"b", b"b")):
        with Ledger() as ledger:
            ledger.next_block(3)
            hashes: object = ledger.machine.pallets["System"]
            hashes.block_hash.put(3, Hash(parent * 32))  # type: ignore[attr-defined]
            hashes.block_hash.put(2, Hash(grandparent * 32))  # type: ignore[attr-defined]
            drawn.add(ledger.pallet(Randomness).random(b"subject"))
    assert len(drawn) == 4


def test_block_hashes_say_nothing_where_one_of_two_blocks_revealed() -> None:
    with Committee(1, epoch_blocks=2) as committee:
        feed(committee, 5)
        committee.claim(committee.number % 2 + 1)
        before = committee.randomness.random(b"subject")
        committee.system.block_hash.put(committee.number - 1, Hash(b"ground for luck".ljust(32)))
        assert committee.randomness.random(b"subject") == before
        committee.next_block(2)
        assert committee.randomness.random(b"subject") != before


def test_nothing_is_stored_for_validators_that_take_no_part() -> None:
    with Committee() as committee:
        committee.claim(1)
        assert committee.randomness.commitments_of(STASHES[0]) is None
        assert list(committee.randomness.commitments.items()) == []
        assert Commitments() == Commitments(None, None)
