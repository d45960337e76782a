"""The types that clients know from Substrate: accounts, hashes, headers, addresses.

Encodings are those of sp_runtime; their paths appear in metadata so that clients recognise them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Final, NewType

from runtime.codec.scale import (
    Bytes4,
    Bytes8,
    Bytes20,
    Bytes32,
    Bytes64,
    Bytes65,
    CompactU32,
    CompactU64,
    Enumeration,
    codec,
    declare,
    scale,
    u8,
    u32,
    u128,
)
from runtime.codec.shape import Compact, CompactNothing, Fixed, Integer, rust, shape_of
from runtime.crypto.hashing import blake2b_256

AccountId = NewType("AccountId", bytes)
Hash = NewType("Hash", bytes)
declare(AccountId, Fixed(32, ("sp_core", "crypto", "AccountId32")))
declare(Hash, Fixed(32, ("primitive_types", "H256")))

BALANCE: Final = "Balance"
"""The name by which metadata and tools know the type of an amount."""
Balance = Annotated[int, Integer(16, name=BALANCE)]
"""An amount in planck: u128 on the wire."""
CompactBalance = Annotated[int, Compact(16, name=BALANCE)]
"""An amount in planck in compact encoding."""

OPEN: Final = 10**18
"""Planck in one OPEN."""

ZERO_HASH: Final = Hash(bytes(32))
HEADER_HASHES_MAX: Final = 256


def is_balance(hint: Any) -> bool:
    """Return whether a type hint means an amount in planck, plain or compact."""
    shape = shape_of(hint)
    return isinstance(shape, Integer | Compact) and shape.name == BALANCE


@rust("sp_runtime::generic::digest::DigestItem", bare=True)
class DigestItem(Enumeration):
    """One entry of a header's digest (sp_runtime::generic::DigestItem)."""


class PreRuntime(DigestItem, index=6):
    """Written before execution, such as the author's claim of a slot."""

    engine: Bytes4
    payload: bytes


class Consensus(DigestItem, index=4):
    """A message of the runtime to consensus."""

    engine: Bytes4
    payload: bytes


class Seal(DigestItem, index=5):
    """The author's signature over the header without it."""

    engine: Bytes4
    payload: bytes


class Other(DigestItem, index=0):
    """Anything else."""

    payload: bytes


class RuntimeEnvironmentUpdated(DigestItem, index=8):
    """The code or heap pages changed in this block."""


@rust("sp_runtime::generic::digest::Digest")
@scale
class Digest:
    """The digest of a header: its entries in order."""

    logs: tuple[DigestItem, ...]


@rust("sp_runtime::generic::header::Header", Number=u32)
@scale
class Header:
    """A block header; its blake2b-256 is the block hash."""

    parent_hash: Hash
    number: CompactU32
    state_root: Hash
    extrinsics_root: Hash
    digest: Digest

    @property
    def hash(self) -> Hash:
        """The block hash."""
        return _hash_of(self)


@lru_cache(maxsize=HEADER_HASHES_MAX)
def _hash_of(header: Header) -> Hash:
    # Cached: a node asks for the best block's hash with every transaction that it receives.
    return Hash(blake2b_256(codec(Header).encode(header)))


@rust(
    "sp_runtime::multiaddress::MultiAddress",
    bare=True,
    AccountId=AccountId,
    AccountIndex=tuple[()],
)
class MultiAddress(Enumeration):
    """Whom a call means (sp_runtime::MultiAddress). This chain resolves Id and Address32."""


class Id(MultiAddress, index=0):
    """An account id."""

    account: AccountId


class Index(MultiAddress, index=1):
    """An account index; this chain has none, so it never resolves."""

    index: CompactNothing


class Raw(MultiAddress, index=2):
    """Raw bytes; never resolves."""

    payload: bytes


class Address32(MultiAddress, index=3):
    """A 32-byte address; the same as an account id."""

    account: Bytes32


class Address20(MultiAddress, index=4):
    """A 20-byte address; never resolves."""

    account: Bytes20


@rust("sp_runtime::MultiSignature", bare=True)
class MultiSignature(Enumeration):
    """A signature and its scheme (sp_runtime::MultiSignature). Ecdsa is decoded and refused."""


class Ed25519(MultiSignature, index=0):
    """64 bytes of RFC 8032."""

    signature: Bytes64


class Sr25519(MultiSignature, index=1):
    """64 bytes of schnorrkel with the context `substrate`."""

    signature: Bytes64


class Ecdsa(MultiSignature, index=2):
    """65 bytes of recoverable secp256k1; no account of this chain verifies by it."""

    signature: Bytes65


@rust("pallet_balances::types::AccountData", Balance=u128)
@scale
class AccountData:
    """Balances of one account, in planck (pallet_balances::AccountData)."""

    free: Balance = 0
    reserved: Balance = 0
    frozen: Balance = 0
    flags: u128 = 1 << 127


@rust("frame_system::AccountInfo", Nonce=u32, AccountData=AccountData)
@scale
class AccountInfo:
    """Nonce, reference counts and balances of one account (frame_system::AccountInfo)."""

    nonce: u32 = 0
    consumers: u32 = 0
    providers: u32 = 0
    sufficients: u32 = 0
    data: AccountData = AccountData()


@rust("sp_weights::weight_v2::Weight")
@scale
class Weight:
    """Execution time in picoseconds and the proof size analogue in bytes."""

    ref_time: CompactU64
    proof_size: CompactU64

    def __add__(self, other: Weight) -> Weight:
        return Weight(self.ref_time + other.ref_time, self.proof_size + other.proof_size)

    def __mul__(self, times: int) -> Weight:
        return Weight(self.ref_time * times, self.proof_size * times)


@rust("sp_version::RuntimeVersion")
@scale
class RuntimeVersion:
    """Name and versions of the runtime (sp_version::RuntimeVersion)."""

    spec_name: str
    impl_name: str
    authoring_version: u32
    spec_version: u32
    impl_version: u32
    apis: tuple[tuple[Bytes8, u32], ...]
    transaction_version: u32
    state_version: u8
