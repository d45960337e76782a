"""System: accounts, block numbers and hashes, events; the floor that every pallet stands on.

Storage names, event and error indices are those of frame_system, which clients know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pallets import weights
from runtime.codec.scale import scale, u16, u32
from runtime.crypto.hashing import blake2b_256
from runtime.frame.dispatch import DispatchClass, DispatchError, Error, Signed
from runtime.frame.events import DispatchInfo, EventRecord
from runtime.frame.fees import BLOCK_LENGTH_MAX, BLOCK_WEIGHT_MAX
from runtime.frame.pallet import Const, Event, Pallet, api, call
from runtime.frame.storage import DefaultMap, Hasher, Map, Value, default, stored
from runtime.types.primitives import AccountId, AccountInfo, Digest, DigestItem, Hash, Weight

NO_WEIGHT: Final = Weight(0, 0)
KIBIBYTE: Final = 1_024


@scale
class PerDispatchClass:
    """A weight for each dispatch class (frame_support::dispatch::PerDispatchClass)."""

    normal: Weight = NO_WEIGHT
    operational: Weight = NO_WEIGHT
    mandatory: Weight = NO_WEIGHT


def remark_with_event_weight(pallet: System, remark: bytes) -> Weight:
    """Return the weight of hashing a remark."""
    return weights.system_remark_with_event(kibibytes=-(-len(remark) // KIBIBYTE))


class System(Pallet, index=0):
    """Accounts, block numbers and hashes, events."""

    block_hash_count: Const[u32] = 4096
    """How many blocks back the hash of a block is stored."""
    maximum_block_weight: Const[Weight] = BLOCK_WEIGHT_MAX
    """The weight that the hooks and extrinsics of one block may have together."""
    maximum_block_length: Const[u32] = BLOCK_LENGTH_MAX
    """The bytes that the extrinsics of one block may have together."""
    ss58_prefix: Const[u16] = 42
    """The network number in the SS58 addresses of this chain."""

    account: DefaultMap[AccountId, AccountInfo] = default(AccountInfo())
    """Nonce, reference counts and balances (planck) of each account, by account id."""
    extrinsic_count: Value[u32] = default(0)
    """The number of extrinsics in the latest block."""
    block_weight: Value[PerDispatchClass] = default(PerDispatchClass())
    """The weight that the block has used so far, by dispatch class."""
    block_hash: Map[u32, Hash] = stored(Hasher.TWOX_64_CONCAT)
    """The hashes of the latest blocks, by block number."""
    number: Value[u32] = default(0)
    """The number of the block that is executed, or of the latest one."""
    parent_hash: Value[Hash] = default(Hash(bytes(32)))
    """The hash of the block before this one."""
    digest: Value[Digest] = default(Digest(()))
    """The digest of the block's header, as far as it is written."""
    events: Value[tuple[EventRecord, ...]] = default(())
    """The events of the latest block, in the order in which they were deposited."""
    event_count: Value[u32] = default(0)
    """The number of events in the latest block."""

    class ExtrinsicSuccess(Event, index=0):
        """An extrinsic completed successfully."""

        dispatch_info: DispatchInfo

    class ExtrinsicFailed(Event, index=1):
        """An extrinsic failed."""

        dispatch_error: DispatchError
        dispatch_info: DispatchInfo

    class NewAccount(Event, index=3):
        """A new account was created."""

        account: AccountId

    class KilledAccount(Event, index=4):
        """An account was reaped."""

        account: AccountId

    class Remarked(Event, index=5):
        """A remark was made on chain."""

        sender: AccountId
        hash: Hash

    class CallFiltered(Error, index=5):
        """The origin filter prevents this call from being dispatched."""

    @call(0, weights.SYSTEM_REMARK)
    def remark(self, who: Signed, remark: bytes) -> None:
        """Make some remark on chain without effect."""

    @call(7, remark_with_event_weight)
    def remark_with_event(self, who: Signed, remark: bytes) -> None:
        """Make some remark on chain and emit an event with its hash."""
        self.emit(self.Remarked(who, Hash(blake2b_256(remark))))

    @api("AccountNonceApi")
    def account_nonce(self, account: AccountId) -> u32:
        """Return the nonce that the account's next extrinsic must carry."""
        return self.account.get(account).nonce

    # --------------------------------------------------------------- what the executive needs

    def initialize(self, number: int, parent: Hash, digest: Digest) -> None:
        """Begin a block: reset what lives for one block, remember the parent's hash."""
        self.number.put(number)
        self.parent_hash.put(parent)
        self.digest.put(digest)
        self.events.clear()
        self.event_count.clear()
        self.extrinsic_count.clear()
        self.block_weight.put(PerDispatchClass())
        self.block_hash.put(number - 1, parent)
        if number > self.block_hash_count + 1:
            self.block_hash.remove(number - 1 - self.block_hash_count)

    def finalize(self, events: Sequence[EventRecord], extrinsic_count: int) -> Digest:
        """End a block: file its events, return the digest of its header."""
        self.events.put(tuple(events))
        self.event_count.put(len(events))
        self.extrinsic_count.put(extrinsic_count)
        return self.digest.get()

    def deposit_log(self, item: DigestItem) -> None:
        """Append an item to the digest of the block's header."""
        self.digest.put(Digest((*self.digest.get().logs, item)))

    def logs(self) -> tuple[DigestItem, ...]:
        """Return the items of the digest so far."""
        return self.digest.get().logs

    def nonce(self, account: AccountId) -> int:
        """Return the next nonce of an account."""
        return self.account.get(account).nonce

    def count_nonce(self, account: AccountId) -> None:
        """Use up one nonce."""
        info = self.account.get(account)
        # Written out: dataclasses.replace takes three times as long, and this runs for every
        # transaction.
        counted = AccountInfo(
            info.nonce + 1, info.consumers, info.providers, info.sufficients, info.data
        )
        self.account.put(account, counted)

    def hash_of(self, number: int) -> Hash | None:
        """Return the hash of a recent block, or of the genesis block."""
        return self.block_hash.get(number)

    def current_number(self) -> int:
        """Return the number of the block being executed."""
        return self.number.get()

    def note_weight(self, kind: DispatchClass, weight: Weight) -> None:
        """Add to the weight that the block has used."""
        used = self.block_weight.get()
        normal, operational, mandatory = used.normal, used.operational, used.mandatory
        match kind:
            case DispatchClass.Normal:
                normal += weight
            case DispatchClass.Operational:
                operational += weight
            case DispatchClass.Mandatory:
                mandatory += weight
        self.block_weight.put(PerDispatchClass(normal, operational, mandatory))

    def used_weight(self) -> Weight:
        """Return the weight that the block has used, all classes together."""
        used = self.block_weight.get()
        return used.normal + used.operational + used.mandatory

    def normal_weight(self) -> Weight:
        """Return the weight that normal extrinsics have used in the block."""
        return self.block_weight.get().normal

    def note_applied(self, error: DispatchError | None, info: DispatchInfo) -> None:
        """Deposit the event that says whether an extrinsic succeeded."""
        if error is None:
            self.emit(self.ExtrinsicSuccess(info))
        else:
            self.emit(self.ExtrinsicFailed(error, info))

    # ------------------------------------------------------------- what other pallets need

    def get_account(self, account: AccountId) -> AccountInfo:
        """Return the record of an account; all zero where it does not exist."""
        return self.account.get(account)

    def put_account(self, account: AccountId, info: AccountInfo) -> None:
        """Write the record of an account; one without providers is reaped."""
        former = self.account.get(account)
        if info.providers == 0 and info.sufficients == 0:
            self.account.remove(account)
            if former.providers or former.sufficients:
                self.emit(self.KilledAccount(account))
            return
        if former.providers == 0 and former.sufficients == 0:
            self.emit(self.NewAccount(account))
        self.account.put(account, info)

    def create_pot(self, account: AccountId) -> None:
        """Make an account that exists without a balance: the pot of a pallet."""
        info = self.account.get(account)
        self.account.put(account, replace(info, providers=info.providers + 1))

    def check_invariants(self) -> None:
        """Every stored account has a provider; the events' count is their number."""
        for account, info in self.account.items():
            assert info.providers + info.sufficients > 0, f"{account.hex()} exists for no reason"
        assert self.event_count.get() == len(self.events.get()), "event count"
