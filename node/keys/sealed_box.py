"""A sealed box: a file that only named readers can open.

The content is encrypted with a fresh key, and this key for each reader's X25519 key; the sender
keeps nothing that could open the box again. A dishonest sender can make a box that two readers open
to different contents, for two keys can fit one ciphertext: where that matters, the hash of the
content must be named as well. Both ciphers are
libsodium's: `SecretBox` (XSalsa20-Poly1305), and `SealedBox` (X25519 with a key pair of its own).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.secret import SecretBox
from nacl.utils import random

from runtime.codec.scale import Bytes32, DecodeError, codec, scale

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

    keys: tuple[WrappedKey, ...]
    ciphertext: bytes


def seal(content: bytes, readers: Iterable[bytes]) -> bytes:
    """Return a box for readers with these public keys. A key with which nothing secret can be
    agreed on, such as one of zeros, gets no part: its owner could not have read anything."""
    content_key = random(SecretBox.KEY_SIZE)
    keys = []
    for reader in readers:
        try:
            wrapped = SealedBox(PublicKey(bytes(reader))).encrypt(content_key)
        except CryptoError:
            continue
        keys.append(WrappedKey(bytes(reader), wrapped))
    ciphertext = bytes(SecretBox(content_key).encrypt(content))
    return codec(Box).encode(Box(tuple(keys), ciphertext))


def open_box(data: bytes, key: PrivateKey) -> bytes:
    """Return the content of a box for the reader with this key. Raises BoxUnreadableError."""
    try:
        box = codec(Box).decode(data)
    except DecodeError as error:
        raise BoxUnreadableError(f"The file is no sealed box: {error}.") from error
    reader = bytes(key.public_key)
    for wrapped in box.keys[:READERS_MAX]:
        if bytes(wrapped.reader) == reader:
            return _opened(box, wrapped, key)
    raise BoxUnreadableError("The sealed box is not for this reader.")


def _opened(box: Box, wrapped: WrappedKey, key: PrivateKey) -> bytes:
    try:
        content_key = SealedBox(key).decrypt(bytes(wrapped.wrapped))
        return bytes(SecretBox(content_key).decrypt(bytes(box.ciphertext)))
    except (CryptoError, ValueError) as error:  # ValueError: a length that no key has
        raise BoxUnreadableError("The sealed box was changed, or its key is wrong.") from error
