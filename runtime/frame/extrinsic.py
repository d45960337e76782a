"""Extrinsics, version 4: the envelope that carries calls, and what exactly is signed.

    signed:   compact(length) ++ 0x84 ++ MultiAddress ++ MultiSignature ++ Extra ++ call
    inherent: compact(length) ++ 0x04 ++ call
    payload = call ++ Extra ++ Additional, or its blake2b-256 when longer than 256 bytes

Extra and Additional are what the extensions below put in, in their order. Source: Substrate's
UncheckedExtrinsic and SignedPayload; extension names are the ones that clients know.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from runtime.codec.scale import (
    Bytes32,
    Codec,
    CompactU32,
    DecodeError,
    EncodeError,
    codec,
    compile_codec,
    encode_compact,
    read_compact,
    scale,
    u32,
)
from runtime.codec.shape import Outer, rust, shape_of
from runtime.crypto.hashing import blake2b_256
from runtime.crypto.keys import KeyKind, Keypair
from runtime.frame.dispatch import Call
from runtime.types.era import Era
from runtime.types.primitives import (
    AccountId,
    CompactBalance,
    Ed25519,
    Hash,
    Id,
    MultiAddress,
    MultiSignature,
    Sr25519,
)
from runtime.types.signature import is_signed_by

EXTRINSIC_SIZE_MAX: Final = 4 * 1024 * 1024
SIGNED, BARE = 0x84, 0x04
PAYLOAD_PLAIN_MAX: Final = 256


@rust("frame_metadata_hash_extension::Mode")
class MetadataHashMode(enum.IntEnum):
    """Whether the signer committed to a metadata hash; this chain accepts only Disabled."""

    Disabled = 0
    Enabled = 1


@scale
class Extra:
    """The values that extensions put into a signed extrinsic."""

    era: Era
    nonce: CompactU32
    tip: CompactBalance
    mode: MetadataHashMode = MetadataHashMode.Disabled


@scale
class Additional:
    """The values that extensions add to the signed payload and that are not sent."""

    spec_version: u32
    transaction_version: u32
    genesis_hash: Hash
    birth_hash: Hash
    metadata_hash: Bytes32 | None = None


EXTENSIONS: Final[tuple[tuple[str, Any, Any], ...]] = (
    ("CheckNonZeroSender", None, None),
    ("CheckSpecVersion", None, u32),
    ("CheckTxVersion", None, u32),
    ("CheckGenesis", None, Hash),
    ("CheckMortality", Era, Hash),
    ("CheckNonce", CompactU32, None),
    ("CheckWeight", None, None),
    ("ChargeTransactionPayment", CompactBalance, None),
    ("CheckMetadataHash", MetadataHashMode, Bytes32 | None),
)
"""(identifier, hint of its part of Extra, hint of its part of Additional)."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The signer, its signature, and the values of the extensions."""

    address: MultiAddress
    signature: MultiSignature
    extra: Extra

    @property
    def account(self) -> AccountId | None:
        """The signing account, or None unless the address is an Id.

        The signature does not cover the address: were other forms of the same account accepted,
        anyone could give a transaction a second hash.
        """
        return self.address.account if isinstance(self.address, Id) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An extrinsic whose call is still bytes: signer and fee are known before the call costs time.

    A call of a few hundred kilobytes may hold a hundred thousand calls; reading the envelope costs
    the same for every length.
    """

    raw: bytes
    signed: Signature | None
    call_bytes: bytes
    extra_bytes: bytes

    @property
    def hash(self) -> Hash:
        """blake2b-256 of the whole encoding, its length prefix included."""
        return Hash(blake2b_256(self.raw))

    def payload(self, additional: Additional) -> bytes:
        """Return the bytes that the signature is over."""
        return signing_payload(self.call_bytes, self.extra_bytes, additional)

    def is_verified(self, additional: Additional) -> bool:
        """Return whether the signature verifies; Ecdsa never does."""
        assert self.signed is not None, "an inherent has no signature"
        account = self.signed.account
        if account is None:
            return False
        return is_signed_by(account, self.payload(additional), self.signed.signature)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extrinsic(Envelope):
    """A decoded extrinsic with the bytes it came from."""

    call: Call


UncheckedExtrinsic = Annotated[Extrinsic, Outer("extrinsic")]
"""An extrinsic as an argument of a runtime API."""

_additional: Final[Codec[Additional]] = codec(Additional)


def signing_payload(call: bytes, extra: bytes, additional: Additional) -> bytes:
    """Return the bytes to sign for an encoded call and extra."""
    payload = call + extra + _additional.encode(additional)
    return payload if len(payload) <= PAYLOAD_PLAIN_MAX else blake2b_256(payload)


class ExtrinsicCodec:
    """Encodes, decodes and signs extrinsics of one runtime."""

    def __init__(self, calls: Codec[Call], outer: dict[str, Codec[Any]]) -> None:
        self._calls = calls
        self._extra: Codec[Extra] = compile_codec(shape_of(Extra), outer)
        self._address: Codec[MultiAddress] = codec(MultiAddress)
        self._signature: Codec[MultiSignature] = codec(MultiSignature)
        self.codec: Codec[Extrinsic] = Codec(Outer("extrinsic"), self._write, self._read)

    def decode(self, raw: bytes) -> Extrinsic:
        """Decode the opaque bytes of one extrinsic, length prefix included. Raises DecodeError."""
        return self.decode_call(self.decode_envelope(raw))

    def decode_envelope(self, raw: bytes) -> Envelope:
        """Decode everything but the call. Raises DecodeError."""
        if len(raw) > EXTRINSIC_SIZE_MAX:
            raise DecodeError(f"an extrinsic has at most {EXTRINSIC_SIZE_MAX} bytes")
        try:
            size, at = read_compact(raw, 0, 4)
            if size != len(raw) - at:
                raise DecodeError(f"the length prefix says {size} bytes, {len(raw) - at} follow")
            version = raw[at]
        except IndexError as error:
            raise DecodeError("the extrinsic is empty") from error
        at += 1
        if version == BARE:
            return Envelope(raw=raw, signed=None, call_bytes=raw[at:], extra_bytes=b"")
        if version != SIGNED:
            raise DecodeError(f"extrinsic version {version:#04x} is not 0x84 (signed) or 0x04")
        address, at = self._address.decode_from(raw, at)
        signature, at = self._signature.decode_from(raw, at)
        extra, after = self._extra.decode_from(raw, at)
        signed = Signature(address, signature, extra)
        return Envelope(raw=raw, signed=signed, call_bytes=raw[after:], extra_bytes=raw[at:after])

    def decode_call(self, envelope: Envelope) -> Extrinsic:
        """Decode the call of an envelope: its cost grows with the call. Raises DecodeError."""
        return Extrinsic(
            raw=envelope.raw,
            signed=envelope.signed,
            call_bytes=envelope.call_bytes,
            extra_bytes=envelope.extra_bytes,
            call=self._calls.decode(envelope.call_bytes),
        )

    def _write(self, extrinsic: Extrinsic, put: Callable[[bytes], Any]) -> None:
        put(extrinsic.raw)

    def _read(self, data: bytes, at: int, depth: int) -> tuple[Extrinsic, int]:
        size, start = read_compact(data, at, 4)
        end = start + size
        return self.decode(data[at:end]), end

    def inherent(self, call: Call) -> bytes:
        """Encode an unsigned call."""
        return _prefixed(bytes((BARE,)) + self._calls.encode(call))

    def sign(self, call: Call, pair: Keypair, extra: Extra, additional: Additional) -> bytes:
        """Encode and sign a call with a key pair."""
        call_bytes, extra_bytes = self._calls.encode(call), self._extra.encode(extra)
        payload = signing_payload(call_bytes, extra_bytes, additional)
        return self.assemble(
            call_bytes, extra, AccountId(pair.account), pair.kind, pair.sign(payload)
        )

    def assemble(
        self, call: bytes, extra: Extra, account: AccountId, kind: KeyKind, signature: bytes
    ) -> bytes:
        """Encode a signed extrinsic from an encoded call and a signature made elsewhere."""
        made: MultiSignature = Ed25519(signature) if kind is KeyKind.ED25519 else Sr25519(signature)
        body = (
            bytes((SIGNED,))
            + self._address.encode(Id(account))
            + self._signature.encode(made)
            + self._extra.encode(extra)
            + call
        )
        return _prefixed(body)


def _prefixed(body: bytes) -> bytes:
    if len(body) > EXTRINSIC_SIZE_MAX - 4:
        raise EncodeError(f"an extrinsic has at most {EXTRINSIC_SIZE_MAX} bytes")
    return encode_compact(len(body)) + body
