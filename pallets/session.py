"""Session: whose votes count in which epoch, by which keys.

An epoch is a session of `epoch_blocks` blocks: epoch e has the blocks e*L+1 .. (e+1)*L. The last of
them, the *boundary*, ends it: the set that was queued becomes current, what staking elects now with
the keys registered now is queued, and the header carries the hash of the set that decides the next
block. So a new key or a new validator waits one whole epoch, and the set of an epoch never changes
within it.

Rules that hold here: a key that was ever registered belongs to one account for ever, so that a
signature names its stash whatever keys were changed since; no set is ever empty on a chain that
has validators; a chain without validators in genesis never gets any.
Storage names and indices are those of pallet_session where clients know them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

from pallets import weights
from pallets.required_system import BlockHashes, BlockNumber
from runtime.codec.scale import Bytes32, Bytes64, codec, scale, u32, u64, u128
from runtime.crypto.keys import KeyKind, Keypair, verify
from runtime.frame.dispatch import Error, Signed
from runtime.frame.pallet import Const, Event, Needs, Pallet, api, call
from runtime.frame.storage import Hasher, Map, Value, default, stored
from runtime.shared.finality import AUTHORITIES_MAX, ENGINE, Authority, AuthoritySet, Boundary
from runtime.types.primitives import ZERO_HASH, AccountId, Consensus, DigestItem, Hash, Weight

DOMAIN: Final = b"openledger/session-key/1"
EPOCH_BLOCKS_DEFAULT: Final = 50
HISTORY_EPOCHS: Final = 64
"""How many epochs back a set is known: longer than evidence counts and its slash may wait."""
NO_SET: Final = AuthoritySet(0, ZERO_HASH, ())


@scale
class SessionKeys:
    """The keys by which a validator takes part: one, by which it votes."""

    voting: Bytes32


def possession_payload(genesis: Hash, account: AccountId) -> bytes:
    """Return what a session key signs to prove that its holder lets `account` use it."""
    return DOMAIN + genesis + account


def prove_possession(genesis: Hash, account: AccountId, pair: Keypair) -> Bytes64:
    """Return the proof that `set_keys` asks for."""
    return pair.sign(possession_payload(genesis, account))


@scale
class GenesisValidator:
    """A validator of the first set. `key` may be written like an account, such as //Alice."""

    account: AccountId
    key: AccountId
    weight: u128 = 10**18


@scale
class Genesis:
    """The first validators and the length of an epoch.

    The weight of a validator counts only where staking elects no validator.
    """

    validators: tuple[GenesisValidator, ...] = ()
    epoch_blocks: u32 = EPOCH_BLOCKS_DEFAULT


class Blocks(BlockHashes, BlockNumber, Protocol):
    """The part of System that Session calls."""

    def deposit_log(self, item: DigestItem) -> None: ...


class Election(Protocol):
    """The part of Staking that Session calls: stashes with their stake, none if the set stays."""

    def elect(self) -> tuple[tuple[AccountId, int], ...]: ...
    def election_weight(self, session: int) -> Weight: ...


class Beacon(Protocol):
    """The part of Randomness that Session calls."""

    def random(self, subject: bytes) -> Hash: ...


class Session(Pallet, index=10):
    """The validators of each epoch and their session keys."""

    maximum_authorities: Const[u32] = AUTHORITIES_MAX
    """The most validators of one set."""
    history_epochs: Const[u32] = HISTORY_EPOCHS
    """The number of past epochs whose sets are stored."""

    system: Needs[Blocks]
    randomness: Needs[Beacon]
    staking: Needs[Election | None] = None

    epoch_blocks: Value[u32] = default(EPOCH_BLOCKS_DEFAULT)
    """The number of blocks in an epoch."""
    current_index: Value[u32] = default(0)
    """The epoch of the block that is executed."""
    validators: Value[tuple[AccountId, ...]] = default(())
    """The accounts of the validators of this epoch, in the order of the set."""
    authorities: Value[AuthoritySet] = default(NO_SET)
    """The set of this epoch: accounts, session keys and voting weights."""
    queued: Value[AuthoritySet] = default(NO_SET)
    """The set that becomes current in the next epoch."""
    queued_keys: Value[tuple[tuple[AccountId, SessionKeys], ...]] = default(())
    """The validators of the next epoch and their session keys, in the order of the set."""
    history: Map[u64, AuthoritySet] = stored(Hasher.TWOX_64_CONCAT)
    """The sets of recent epochs, by epoch."""
    disabled: Value[tuple[AccountId, ...]] = default(())
    """The validators that the next sets leave out."""
    next_keys: Map[AccountId, SessionKeys] = stored(Hasher.TWOX_64_CONCAT)
    """The session key (ed25519) that counts from the next election on, by account."""
    key_owner: Map[Bytes32, AccountId]
    """The account that has registered a session key, by key; a key is never given to another
    account."""

    class NewSession(Event, index=0):
        """An epoch is over; the next block belongs to this one."""

        session_index: u32

    class ValidatorDisabled(Event, index=2):
        """A validator is left out from the next epoch on."""

        validator: AccountId

    class KeysSet(Event, index=10):
        """An account has registered the key of its validator; it counts after one whole epoch."""

        who: AccountId
        key: Bytes32

    class KeysPurged(Event, index=11):
        """An account has no registered key any more, so it is not elected."""

        who: AccountId

    class InvalidProof(Error, index=0):
        """The proof is not this key's signature over domain, genesis hash and your account.
        Sign them with the session key that you register."""

    class DuplicatedKey(Error, index=2):
        """The key belongs to another account. Generate one of your own."""

    class NoKeys(Error, index=3):
        """You have registered no key. There is nothing to purge."""

    # ------------------------------------------------------------------------------- calls

    @call(0, weights.SESSION_SET_KEYS)
    def set_keys(self, account: Signed, key: Bytes32, proof: Bytes64) -> None:
        """Register the ed25519 key by which your validator votes, after one whole epoch. The
        proof is the key's signature over domain, genesis hash and your account."""
        if not verify(KeyKind.ED25519, proof, possession_payload(self._genesis(), account), key):
            raise self.InvalidProof
        if self.key_owner.get(key) not in (None, account):
            raise self.DuplicatedKey
        self._register(account, key)
        self.emit(self.KeysSet(account, key))

    @call(1, weights.SESSION_PURGE_KEYS)
    def purge_keys(self, account: Signed) -> None:
        """Forget your registered key: your validator is left out when its epochs are over."""
        if account not in self.next_keys:
            raise self.NoKeys
        self.next_keys.remove(account)
        self.emit(self.KeysPurged(account))

    # -------------------------------------------------------------------------- runtime API

    @api("SessionApi")
    def current_authorities(self) -> AuthoritySet:
        """Return the set that decides the next block."""
        return self.authorities.get()

    @api("SessionApi")
    def next_authorities(self) -> AuthoritySet:
        """Return the set of the next epoch; its seed is drawn, and who is disabled is left out,
        when that begins."""
        return self.queued.get()

    @api("SessionApi")
    def authorities_of(self, epoch: u64) -> AuthoritySet | None:
        """Return the set of a recent epoch."""
        return self.set_of(epoch)

    @api("SessionApi")
    def blocks_per_epoch(self) -> u32:
        """Return how many blocks an epoch has."""
        return self.epoch_blocks.get()

    @api("SessionApi")
    def registered_key(self, account: AccountId) -> Bytes32 | None:
        """Return the key that an account has registered for the next election."""
        keys = self.next_keys.get(account)
        return None if keys is None else keys.voting

    # ------------------------------------------------------------------- for other pallets

    def epoch(self) -> int:
        """Return the epoch of the block being executed."""
        return self.current_index.get()

    def set_of(self, epoch: int) -> AuthoritySet | None:
        """Return the set of an epoch of which evidence still counts."""
        return self.history.get(epoch)

    def disable(self, account: AccountId) -> None:
        """Leave an account out of the two sets that the next boundary makes."""
        former = self.disabled.get()
        sets = (*self.authorities.get().authorities, *self.queued.get().authorities)
        if account in former or all(member.account != account for member in sets):
            return
        self.disabled.put((*former, account))
        self.emit(self.ValidatorDisabled(account))

    # --------------------------------------------------------------------- hooks and genesis

    def build_genesis(self, genesis: Genesis) -> None:
        """Register the first keys; epochs 0 and 1 have the same set."""
        assert genesis.epoch_blocks > 0, "an epoch has at least one block"
        assert len(genesis.validators) <= AUTHORITIES_MAX, f"at most {AUTHORITIES_MAX} validators"
        self.epoch_blocks.put(genesis.epoch_blocks)
        for validator in genesis.validators:
            account, key = validator.account, validator.key
            assert account not in self.next_keys, f"{account.hex()} validates twice"
            assert key not in self.key_owner, f"the key {key.hex()} belongs to two validators"
            assert validator.weight > 0, f"{account.hex()} validates without any weight"
            self._register(account, key)
        if not genesis.validators:
            return
        first = self._elected(()) or tuple(
            Authority(validator.account, validator.key, validator.weight)
            for validator in genesis.validators
        )
        self._begin(AuthoritySet(0, ZERO_HASH, first))
        self._queue(AuthoritySet(1, ZERO_HASH, first))

    def on_initialize(self) -> Weight:
        """Reserve the weight of a boundary, which is spent at the end of the block."""
        if not self._is_boundary():
            return weights.SESSION_ON_INITIALIZE
        used = weights.session_rotate(len(self.queued.get().authorities))
        if self.staking is not None:
            used += self.staking.election_weight(self.current_index.get() + 1)
        return used

    def on_finalize(self) -> None:
        """End an epoch in its last block."""
        if self._is_boundary():
            self._rotate()

    def check_invariants(self) -> None:
        """Sets are those of this epoch and the next, never empty, each key with one owner."""
        now, queued = self.authorities.get(), self.queued.get()
        assert self.current_index.get() == now.epoch, "the index is the epoch of the current set"
        assert self.validators.get() == tuple(member.account for member in now.authorities)
        for who, registered in self.next_keys.items():
            assert self.key_owner.get(registered.voting) == who, f"{who.hex()} owns its key"
        assert self.queued_keys.get() == _keys_of(queued), "queued keys are those of the next set"
        if not now.authorities:
            assert not queued.authorities, "a chain without validators never gets any"
            return
        number, length = self.system.current_number(), self.epoch_blocks.get()
        assert now.epoch in (max(number - 1, 0) // length, number // length), "epochs count blocks"
        assert queued.epoch == now.epoch + 1
        assert self.history.get(now.epoch) == now
        for members in (now.authorities, queued.authorities):
            accounts = {member.account for member in members}
            keys = {member.key for member in members}
            assert 0 < len(members) <= AUTHORITIES_MAX
            assert len(accounts) == len(keys) == len(members), "each account and key once"
            assert all(member.weight > 0 for member in members)
            assert all(self.key_owner.get(member.key) == member.account for member in members)

    # ------------------------------------------------------------------------------ internal

    def _is_boundary(self) -> bool:
        is_last = self.system.current_number() % self.epoch_blocks.get() == 0
        return is_last and bool(self.validators.get())

    def _rotate(self) -> None:
        former, disabled = self.authorities.get(), self.disabled.get()
        epoch = former.epoch + 1
        seed = self.randomness.random(b"session" + epoch.to_bytes(8, "little"))
        # Where all of a set are disabled it stays: a set of offenders can be replaced by an
        # election, an empty one never.
        queued = self.queued.get().authorities
        current = _without(queued, disabled) or queued
        self._begin(AuthoritySet(epoch, seed, current))
        # Where staking elects nobody the set stays, but with the keys that are registered by now.
        following = self._elected(disabled) or self._with_new_keys(current)
        self._queue(AuthoritySet(epoch + 1, ZERO_HASH, following))
        self.disabled.clear()
        if epoch >= HISTORY_EPOCHS:
            self.history.remove(epoch - HISTORY_EPOCHS)
        boundary = codec(Boundary).encode(Boundary(self.authorities.get().hash))
        self.system.deposit_log(Consensus(ENGINE, boundary))
        self.emit(self.NewSession(epoch))

    def _begin(self, authorities: AuthoritySet) -> None:
        self.authorities.put(authorities)
        self.history.put(authorities.epoch, authorities)
        self.current_index.put(authorities.epoch)
        self.validators.put(tuple(member.account for member in authorities.authorities))

    def _queue(self, authorities: AuthoritySet) -> None:
        self.queued.put(authorities)
        self.queued_keys.put(_keys_of(authorities))

    def _elected(self, disabled: Collection[AccountId]) -> tuple[Authority, ...]:
        """Return the elected validators that have a key and are not disabled."""
        elected = []
        for account, weight in self.staking.elect() if self.staking is not None else ():
            key = self.registered_key(account)
            if key is not None and weight > 0 and account not in disabled:
                elected.append(Authority(account, key, weight))
        return tuple(elected[:AUTHORITIES_MAX])

    def _with_new_keys(self, authorities: tuple[Authority, ...]) -> tuple[Authority, ...]:
        """Return a set that stays, with the keys that are registered now."""
        return tuple(
            Authority(
                member.account, self.registered_key(member.account) or member.key, member.weight
            )
            for member in authorities
        )

    def _register(self, account: AccountId, key: Bytes32) -> None:
        self.next_keys.put(account, SessionKeys(key))
        self.key_owner.put(key, account)

    def _genesis(self) -> Hash:
        return self.system.hash_of(0) or ZERO_HASH


def _keys_of(authorities: AuthoritySet) -> tuple[tuple[AccountId, SessionKeys], ...]:
    return tuple((member.account, SessionKeys(member.key)) for member in authorities.authorities)


def _without(
    authorities: tuple[Authority, ...], accounts: Collection[AccountId]
) -> tuple[Authority, ...]:
    return tuple(member for member in authorities if member.account not in accounts)
