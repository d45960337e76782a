"""Randomness: a beacon that validators feed, by revealing what they committed to epochs before.

A validator commits to the tip of a hash chain of 1,024 links; it counts from the second epoch after
on. With each of its blocks it may reveal the link before the one known, which is mixed in:
mix = blake2b(mix ++ link). `random(subject)` is a hash of the mix and the subject.

What it is worth:
- A revealed link cannot be chosen: it was fixed when it was unknown what others reveal with it.
- **Bias**: an author may withhold its link, and so chooses between two outcomes, one bit for each
  of its blocks in a row before the draw. It has no price; consider what a draw decides.
- Who draws must ask two blocks or more after the subject was fixed: then the links of two authors
  lie between, and one author who fixed it knows only its own.
- Where neither of the two latest blocks revealed (a chain sealed by one node, or no validator takes
  part) the hashes of these two blocks are mixed in. Their authors can search for a hash that they
  like; two in a row must withhold to force that where others reveal.
Refused: signatures as a VRF, since an ed25519 signer can make many signatures of one message;
hashes of blocks without a beacon, since an author can try thousands of them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Protocol

from pallets import weights
from pallets.required_system import BlockHashes, BlockNumber
from runtime.codec.scale import scale, u32, u64
from runtime.crypto.hashing import blake2b_256
from runtime.frame.dispatch import Call, Error, Inherent
from runtime.frame.pallet import Const, Needs, Pallet, api, call
from runtime.frame.storage import Map, Value, default
from runtime.types.primitives import ZERO_HASH, AccountId, Hash

DOMAIN: Final = b"openledger/randomness/1"
CHAIN_LINKS: Final = 1_024
COMMIT_AHEAD: Final = 256
"""A new chain is committed to when as few links of the present one are left."""
WAIT_EPOCHS: Final = 2
FRESH_BLOCKS: Final = 2


@scale
class Commitment:
    """A hash chain: its number among those of its validator, the epoch in which it was committed
    to, the last link known (at first the tip), and how many were revealed."""

    number: u32
    epoch: u64
    link: Hash
    revealed: u32 = 0


@scale
class Commitments:
    """The hash chains of a validator: the one that it reveals from, and the one that follows."""

    active: Commitment | None = None
    waiting: Commitment | None = None


class Blocks(BlockHashes, BlockNumber, Protocol):
    """The part of System that Randomness calls."""


class Epochs(Protocol):
    """The part of Session that Randomness calls."""

    def epoch(self) -> int: ...


class Authors(Protocol):
    """The part of Authorship that Randomness calls."""

    def author(self) -> AccountId | None: ...


class Randomness(Pallet, index=14):
    """A beacon of randomness that validators feed by commit and reveal."""

    chain_links: Const[u32] = CHAIN_LINKS
    """The number of links of a hash chain that a validator commits to."""
    wait_epochs: Const[u32] = WAIT_EPOCHS
    """The number of epochs after which a new commitment counts."""

    system: Needs[Blocks]
    session: Needs[Epochs]
    authorship: Needs[Authors]

    mix: Value[Hash] = default(ZERO_HASH)
    """The random value into which each revealed link is hashed."""
    revealed_at: Value[u32] = default(0)
    """The number of the latest block in which a link was revealed; 0 before the first."""
    commitments: Map[AccountId, Commitments]
    """The hash chains that a validator has committed to, by account."""

    class AuthorUnknown(Error, index=0):
        """The block has no known author, so nobody can commit or reveal in it."""

    class NothingCommitted(Error, index=1):
        """The author has no commitment that counts yet. Commit, and wait two epochs."""

    class LinkMismatch(Error, index=2):
        """The link is not the one before the last link known. Reveal the chain from its end."""

    class RevealedAlready(Error, index=3):
        """The author of this block has revealed a link in it already."""

    @call(0, weights.RANDOMNESS_COMMIT)
    def commit(self, origin: Inherent, tip: Hash) -> None:
        """Commit the block's author to a new hash chain, given by its tip; it counts from the
        second epoch after this one on, and replaces a waiting one."""
        author = self._author()
        commitments = self.commitments.get(author) or Commitments()
        epoch = self.session.epoch()
        former = commitments.waiting or commitments.active
        number = former.number + 1 if former is not None else 0
        active = _promoted(commitments, epoch).active
        self.commitments.put(author, Commitments(active, Commitment(number, epoch, tip)))

    @call(1, weights.RANDOMNESS_REVEAL)
    def reveal(self, origin: Inherent, link: Hash) -> None:
        """Reveal the next link of the author's hash chain, which is mixed into the randomness."""
        author = self._author()
        stored = self.commitments.get(author) or Commitments()
        commitments = _promoted(stored, self.session.epoch())
        active, number = commitments.active, self.system.current_number()
        if active is None:
            raise self.NothingCommitted
        if self.revealed_at.get() == number:
            raise self.RevealedAlready
        if blake2b_256(link) != active.link:
            raise self.LinkMismatch
        moved = Commitment(active.number, active.epoch, link, active.revealed + 1)
        self.commitments.put(author, Commitments(moved, commitments.waiting))
        self.mix.put(Hash(blake2b_256(DOMAIN + self.mix.get() + link)))
        self.revealed_at.put(number)

    @api("RandomnessApi")
    def commitments_of(self, account: AccountId) -> Commitments | None:
        """Return what a validator has committed to."""
        return self.commitments.get(account)

    # ---------------------------------------------------------- for other pallets and nodes

    def random(self, subject: bytes) -> Hash:
        """Return randomness for a subject, as it is at this point of the block."""
        now = self.system.current_number()
        revealed_at = self.revealed_at.get()
        source = b""
        if not revealed_at or revealed_at + FRESH_BLOCKS < now:
            source = self._hash_before(now, 1) + self._hash_before(now, 2)
        return Hash(blake2b_256(DOMAIN + self.mix.get() + source + subject))

    def contribution(self, author: AccountId, secret: bytes) -> tuple[Call, ...]:
        """Return the inherents by which an author feeds its next block.

        Call it on the state after the parent. Only the author knows `secret`, which never changes
        and is used for no other chain.
        """
        epoch = self.session.epoch()
        stored = self.commitments.get(author) or Commitments()
        commitments = _promoted(stored, epoch)
        calls = []
        active, waiting = commitments.active, commitments.waiting
        if active is not None and active.revealed < CHAIN_LINKS:
            chain = links(secret, active.number)
            link = chain[CHAIN_LINKS - 1 - active.revealed]
            if blake2b_256(link) == active.link:
                calls.append(Call(self.name, "reveal", (link,)))
        former = waiting or active
        if waiting is None and (
            active is None or active.revealed >= CHAIN_LINKS - COMMIT_AHEAD or not calls
        ):
            number = former.number + 1 if former is not None else 0
            calls.append(Call(self.name, "commit", (links(secret, number)[CHAIN_LINKS],)))
        return tuple(calls)

    def check_invariants(self) -> None:
        """No validator has revealed more than its chain holds; chains follow one another."""
        for _, commitments in self.commitments.items():
            active, waiting = commitments.active, commitments.waiting
            assert active is not None or waiting is not None, "a record is of some chain"
            if active is not None and waiting is not None:
                assert active.number < waiting.number, "the waiting chain is the later one"

    # ------------------------------------------------------------------------------ internal

    def _author(self) -> AccountId:
        author = self.authorship.author()
        if author is None:
            raise self.AuthorUnknown
        return author

    def _hash_before(self, number: int, distance: int) -> bytes:
        return (self.system.hash_of(number - distance) if number >= distance else None) or ZERO_HASH


def _promoted(stored: Commitments, epoch: int) -> Commitments:
    """Return the commitments with the waiting chain active, where its time has come."""
    waiting = stored.waiting
    if waiting is not None and epoch >= waiting.epoch + WAIT_EPOCHS:
        return Commitments(waiting, None)
    return stored


@lru_cache(maxsize=16)
def links(secret: bytes, number: int) -> tuple[Hash, ...]:
    """Return a validator's hash chain: CHAIN_LINKS links and the tip, each the hash of the one
    before. The tip is committed to first; links are revealed from the one before it backwards."""
    chain = [Hash(blake2b_256(DOMAIN + b"/chain" + secret + number.to_bytes(4, "little")))]
    for _ in range(CHAIN_LINKS):
        chain.append(Hash(blake2b_256(chain[-1])))
    return tuple(chain)
