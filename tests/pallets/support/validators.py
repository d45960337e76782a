"""A runtime with validators, for tests of sessions and of what counts their votes and blocks.

`Committee` composes Session, Authorship and Randomness with fakes of the pallets Staking and
Offences, which remember what they are told. Blocks are made of claims:

    committee.claim(view=3)              # ends the block and begins one that view 3 leads
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pallets.authorship import Authorship
from pallets.balances import Balances
from pallets.randomness import Randomness
from pallets.session import Genesis, GenesisValidator, Session, prove_possession
from pallets.system import System
from runtime.codec.scale import codec, u128
from runtime.crypto.keys import Keypair
from runtime.frame.pallet import Pallet
from runtime.frame.storage import DefaultMap, Value, default
from runtime.shared.finality import ENGINE, AuthoritySet, Claim
from runtime.shared.leaders import schedule_of
from runtime.types.primitives import OPEN, AccountId, Digest, DigestItem, Hash, PreRuntime, Weight
from tests.pallets.support.ledger import GENESIS_HASH, Ledger

PAIRS = tuple(Keypair.from_uri(f"//Validator{number}") for number in range(1, 8))
STASHES = tuple(AccountId(pair.account) for pair in PAIRS)
SPARE = tuple(Keypair.from_uri(f"//Spare{number}") for number in range(1, 8))
"""Session keys to change to."""
EPOCH_BLOCKS = 4


class Staking(Pallet, index=11):
    """A fake: elects whom the test says, and remembers authors."""

    elected: Value[tuple[tuple[AccountId, u128], ...]] = default(())
    authors: Value[tuple[AccountId, ...]] = default(())

    def elect(self) -> tuple[tuple[AccountId, int], ...]:
        return self.elected.get()

    def election_weight(self, session: int) -> Weight:
        return Weight(0, 0)

    def note_author(self, account: AccountId) -> None:
        self.authors.put((*self.authors.get(), account))


class Offences(Pallet, index=12):
    """A fake: counts missed turns."""

    missed: DefaultMap[AccountId, u128] = default(0)

    def note_missed(self, account: AccountId) -> None:
        self.missed.put(account, self.missed.get(account) + 1)


class Committee(Ledger):
    """A ledger in which the first `count` stashes validate from genesis."""

    def __init__(
        self,
        count: int = 4,
        *,
        weights: Sequence[int] = (),
        epoch_blocks: int = EPOCH_BLOCKS,
        with_staking: bool = True,
    ) -> None:
        self._digest: tuple[DigestItem, ...] = ()
        given = tuple(weights) or (OPEN,) * count
        validators = tuple(
            GenesisValidator(stash, stash, weight)
            for stash, weight in zip(STASHES[:count], given, strict=True)
        )
        fakes = (Staking, Offences) if with_staking else ()
        super().__init__(
            (System, Balances, Authorship, Randomness, *fakes, Session),
            endowed=[(stash, OPEN) for stash in STASHES],
            Session=Genesis(validators, epoch_blocks),
        )
        self.session = self.pallet(Session)
        self.authorship = self.pallet(Authorship)
        self.randomness = self.pallet(Randomness)
        self.system = self.pallet(System)

    def __enter__(self) -> Committee:
        return self

    @property
    def current(self) -> AuthoritySet:
        return self.session.authorities.get()

    def accounts(self) -> list[AccountId]:
        """Return the validators of the epoch of the next block."""
        return [one.account for one in self.current.authorities]

    def leader(self, view: int) -> AccountId:
        """Return the leader of a view of the epoch of the next block."""
        authorities = self.session.authorities.get()
        return authorities.authorities[schedule_of(authorities).leader(view)].account

    def elect(self, *stashes: AccountId, weight: int = OPEN) -> None:
        """Let the fake election choose these from now on."""
        self.pallet(Staking).elected.put(tuple((stash, weight) for stash in stashes))

    def claim(self, view: int, epoch: int | None = None) -> None:
        """End the block, and begin the next one with a leader's claim."""
        self.end_with(PreRuntime(ENGINE, codec(Claim).encode(self._claim(view, epoch))))

    def end_with(self, *logs: DigestItem) -> None:
        """End the block, and begin the next one with this digest."""
        self._digest = logs
        self.next_block()
        self._digest = ()

    def _claim(self, view: int, epoch: int | None) -> Claim:
        # The epoch of the next block: the one of this block, or its successor at a boundary.
        length = self.session.epoch_blocks.get()
        return Claim(self.number // length if epoch is None else epoch, view, Hash(bytes(32)))

    def _begin_block(self) -> None:
        self.number += 1
        system: Any = self.machine.pallets["System"]
        system.initialize(self.number, self.parent_hash, Digest(self._digest))
        for pallet in self.machine.pallets.values():
            pallet.on_initialize()

    def end_epoch(self, count: int = 1) -> None:
        """Go to the first block of the next epoch."""
        for _ in range(count):
            length = self.session.epoch_blocks.get()
            self.next_block(length - (self.number - 1) % length)

    def call_set_keys(self, who: AccountId, pair: Keypair, proof: bytes | None = None) -> None:
        """Register a key of an account, with its honest proof."""
        given = prove_possession(GENESIS_HASH, who, pair) if proof is None else proof
        self.sign(who, "Session", "set_keys", key=pair.account, proof=given)
