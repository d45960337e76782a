"""A sealed box: a file that only named readers can open.

The content is encrypted with a fresh key, and this key for each reader with what X25519 yields from
the reader's public key and a key pair of the box. So all readers get the same content, or the box
does not open; the sender keeps nothing that could open it again.

    box = sender's public key, for each reader (public key, wrapped content key), ciphertext

Source: RFC 7748 (X25519), RFC 5869 (HKDF), RFC 8439 (ChaCha20-Poly1305). Nonces are zero because
each key encrypts once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from runtime.codec.scale import Bytes32, DecodeError, codec, scale

KEY_BYTES: Final = 32
NONCE: Final = bytes(12)
READERS_MAX: Final = 64


class BoxUnreadableError(Exception):
    """The file is no sealed box, was changed, or is not for this reader."""


@scale
class WrappedKey:
    """The content key of a box for one reader."""

    reader: Bytes32
    wrapped: bytes


@scale
class Box:
    """A sealed box as bytes."""

    sender: Bytes32
    keys: tuple[WrappedKey, ...]
    ciphertext: bytes


def seal(content: bytes, readers: Iterable[bytes]) -> bytes:
    """Return a box for readers with these public keys. A key with which nothing secret can be
    agreed on, such as one of zeros, gets no part: its owner could not have read anything."""
    sender = X25519PrivateKey.generate()
    public = sender.public_key().public_bytes_raw()
    content_key = ChaCha20Poly1305.generate_key()
    keys = []
    for reader in readers:
        try:
            shared = sender.exchange(X25519PublicKey.from_public_bytes(reader))
        except ValueError:
            continue
        wrapping = ChaCha20Poly1305(_wrapping_key(shared, public, reader))
        keys.append(WrappedKey(reader, wrapping.encrypt(NONCE, content_key, None)))
    ciphertext = ChaCha20Poly1305(content_key).encrypt(NONCE, content, None)
    return codec(Box).encode(Box(public, tuple(keys), ciphertext))


def open_box(data: bytes, private: bytes) -> bytes:
    """Return the content of a box for the reader with this private key.

    Raises BoxUnreadableError.
    """
    try:
        box = codec(Box).decode(data)
    except DecodeError as error:
        raise BoxUnreadableError(f"The file is no sealed box: {error}.") from error
    key = X25519PrivateKey.from_private_bytes(private)
    reader = key.public_key().public_bytes_raw()
    for wrapped in box.keys[:READERS_MAX]:
        if wrapped.reader == reader:
            return _opened(box, wrapped, key)
    raise BoxUnreadableError("The sealed box is not for this reader.")


def _opened(box: Box, wrapped: WrappedKey, key: X25519PrivateKey) -> bytes:
    reader = bytes(wrapped.reader)
    try:
        shared = key.exchange(X25519PublicKey.from_public_bytes(bytes(box.sender)))
        wrapping = ChaCha20Poly1305(_wrapping_key(shared, bytes(box.sender), reader))
        content_key = wrapping.decrypt(NONCE, wrapped.wrapped, None)
        return ChaCha20Poly1305(content_key).decrypt(NONCE, box.ciphertext, None)
    except (InvalidTag, ValueError) as error:
        raise BoxUnreadableError("The sealed box was changed, or its key is wrong.") from error


def _wrapping_key(shared: bytes, sender: bytes, reader: bytes) -> bytes:
    derive = HKDF(SHA256(), KEY_BYTES, salt=sender + reader, info=b"openledger/sealed-box")
    return derive.derive(shared)
