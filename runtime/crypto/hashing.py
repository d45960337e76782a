"""The hash functions of the chain, bytes in and bytes out.

blake2b is the cryptographic hash: block hashes, trie nodes, Merkle trees. The xxHash family
(`twox`) only spreads storage prefixes over the trie and promises no resistance against anyone who
picks the input. Both follow Substrate: twox digests are xxh64 values with seeds 0, 1, 2, 3,
little-endian, one after the other.
"""

from hashlib import blake2b

from xxhash import xxh64_intdigest


def blake2b_256(data: bytes) -> bytes:
    """Return the 32-byte blake2b digest of `data`."""
    return blake2b(data, digest_size=32).digest()


def blake2b_128(data: bytes) -> bytes:
    """Return the 16-byte blake2b digest of `data`."""
    return blake2b(data, digest_size=16).digest()


def twox_64(data: bytes) -> bytes:
    """Return the 8-byte xxHash of `data`."""
    return xxh64_intdigest(data, 0).to_bytes(8, "little")


def twox_128(data: bytes) -> bytes:
    """Return the 16-byte xxHash of `data`."""
    low, high = xxh64_intdigest(data, 0), xxh64_intdigest(data, 1)
    return (low | high << 64).to_bytes(16, "little")


def twox_256(data: bytes) -> bytes:
    """Return the 32-byte xxHash of `data`."""
    return b"".join(xxh64_intdigest(data, seed).to_bytes(8, "little") for seed in range(4))
