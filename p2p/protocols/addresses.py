"""Address records: where a peer can be dialled, signed by the key of its peer id.

A record is relayed from peer to peer without trust: its reader checks the signature, and that every
address ends in the id of the key that signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from p2p.transport.transport import PeerId, peer_id_of
from p2p.transport.wire import WireDecodeError
from runtime.codec.scale import Bytes32, Bytes64, DecodeError, codec, scale, u64
from runtime.crypto.keys import KeyKind, Keypair, verify

DOMAIN: Final = b"openledger/addresses/1"
RECORDS_MAX: Final = 32
"""Records in one message."""
ADDRESSES_MAX: Final = 8
ADDRESS_LENGTH_MAX: Final = 160


@scale
class AddressRecord:
    """The addresses of one peer. A record with a higher `sequence` replaces an earlier one."""

    key: Bytes32
    sequence: u64
    addresses: tuple[str, ...]
    signature: Bytes64

    @property
    def peer(self) -> PeerId:
        """The peer of the key."""
        return peer_id_of(self.key)


@scale
class _Payload:
    key: Bytes32
    sequence: u64
    addresses: tuple[str, ...]


def sign_record(identity: Keypair, sequence: int, addresses: Sequence[str]) -> AddressRecord:
    """Return the record of a node's own addresses; too long or surplus ones are left out."""
    fitting = [address for address in addresses if len(address) <= ADDRESS_LENGTH_MAX]
    chosen = tuple(fitting[:ADDRESSES_MAX])
    signature = identity.sign(_payload(identity.account, sequence, chosen))
    return AddressRecord(identity.account, sequence, chosen, signature)


def is_genuine(record: AddressRecord) -> bool:
    """Return whether a record is well formed and signed by the peer whose addresses it has."""
    ending = f"/p2p/{record.peer}"
    return (
        0 < len(record.addresses) <= ADDRESSES_MAX
        and all(
            len(address) <= ADDRESS_LENGTH_MAX and address.isprintable() and address.isascii()
            for address in record.addresses
        )
        and all(address.endswith(ending) for address in record.addresses)
        and verify(
            KeyKind.ED25519,
            record.signature,
            _payload(record.key, record.sequence, record.addresses),
            record.key,
        )
    )


def encode_records(records: Sequence[AddressRecord]) -> bytes:
    """Return the body of an ADDRESSES message."""
    assert len(records) <= RECORDS_MAX, "too many records for one message"
    return codec(tuple[AddressRecord, ...]).encode(tuple(records))


def decode_records(body: bytes) -> tuple[AddressRecord, ...]:
    """Return the records in a body, their signatures unchecked. Raises WireDecodeError."""
    try:
        records: tuple[AddressRecord, ...] = codec(tuple[AddressRecord, ...]).decode(body)
    except DecodeError as error:
        raise WireDecodeError(f"the address records cannot be read: {error}"[:200]) from error
    if len(records) > RECORDS_MAX:
        raise WireDecodeError(f"{len(records)} address records are more than {RECORDS_MAX}")
    return records


def _payload(key: bytes, sequence: int, addresses: tuple[str, ...]) -> bytes:
    return DOMAIN + codec(_Payload).encode(_Payload(key, sequence, addresses))
