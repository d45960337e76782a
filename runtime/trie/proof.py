"""Read proofs: the trie nodes by which a value is checked against nothing but a state root.

A proof is the set of trie nodes on the way to the keys, each node that has a hash of its own, and
the values that state version 1 stores outside of the nodes: what Substrate's state_getReadProof
answers. It proves absence as well as presence.

Rules that hold here:
- The order of a proof's entries means nothing; `prove` sorts them, as Substrate does.
- An entry that comes twice is refused. `verify_many` also refuses an entry that no key needs;
  `verify` ignores those, because a proof of many keys is checked one key at a time with it.
- Whatever a proof holds, verifying returns or raises ProofError.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from runtime.crypto.hashing import blake2b_256
from runtime.errors import OpenLedgerError
from runtime.trie.backend import Backend
from runtime.trie.trie import EMPTY_ROOT
from runtime.trie.trie_node import HASH_BYTES, Cell, Leaf, NodeError, cell_value, decode, nibbles_of

PROOF_ENTRIES_MAX: Final = 65_536


class ProofError(OpenLedgerError, ValueError):
    """A proof does not fit its state root, or cannot be made for it."""


def prove(backend: Backend, root: bytes, keys: Iterable[bytes]) -> list[bytes]:
    """Return the proof of what `keys` hold, or that they hold nothing; raises ProofError."""
    node = backend.node(b"")
    if (EMPTY_ROOT if node is None else blake2b_256(node)) != root:
        raise ProofError("The state has another root. Ask for the proof at the block of this root.")
    entries: set[bytes] = set()
    for key in keys:
        if node is not None:
            entries.add(node)
            _collect(backend, node, key, entries)
    return sorted(entries)


def verify(root: bytes, proof: Sequence[bytes], key: bytes) -> bytes | None:
    """Return the value of `key` under `root`, None when the proof shows there is none.

    Entries that this key does not need are ignored. Raises ProofError.
    """
    return _read(root, _by_hash(proof), key, set())


def verify_many(
    root: bytes, proof: Sequence[bytes], keys: Iterable[bytes]
) -> dict[bytes, bytes | None]:
    """Return the values of exactly these keys; an entry that none needs raises ProofError."""
    entries = _by_hash(proof)
    used: set[bytes] = set()
    values = {key: _read(root, entries, key, used) for key in keys}
    if len(used) != len(entries):
        raise ProofError("The proof has entries that no key needs. Ask for a proof of these keys.")
    return values


def _collect(backend: Backend, node: bytes, key: bytes, entries: set[bytes]) -> None:
    """Add the nodes and the hashed value that lie under `node` on the way to `key`."""
    nibbles = nibbles_of(key)
    depth = 0
    while True:
        cell, child, depth = _step(node, nibbles, depth)
        if cell is not None and cell[0]:
            value = backend.get(key)
            if value is None or blake2b_256(value) != cell[1]:
                raise ProofError("The stored value does not match the trie. The state is damaged.")
            entries.add(value)
        if child is None:
            return
        if len(child) == HASH_BYTES:
            fetched = backend.node(nibbles[:depth])
            if fetched is None or blake2b_256(fetched) != child:
                raise ProofError("The stored trie does not match its root. The state is damaged.")
            entries.add(fetched)
            child = fetched
        node = child


def _read(root: bytes, entries: dict[bytes, bytes], key: bytes, used: set[bytes]) -> bytes | None:
    """Walk from the root to `key`, adding to `used` the hash of each entry on the way."""
    if root == EMPTY_ROOT:
        return None
    nibbles = nibbles_of(key)
    node = _entry(entries, root, used)
    depth = 0
    while True:
        cell, child, depth = _step(node, nibbles, depth)
        if cell is not None:
            return _entry(entries, cell[1], used) if cell[0] else cell_value(cell)
        if child is None:
            return None
        node = _entry(entries, child, used) if len(child) == HASH_BYTES else child


def _step(node: bytes, nibbles: bytes, depth: int) -> tuple[Cell | None, bytes | None, int]:
    """Return the value if the key ends here, else the child towards it, and the child's depth."""
    try:
        decoded = decode(node)
    except NodeError as error:
        raise ProofError(f"The proof has a malformed entry: {error}") from error
    if not nibbles.startswith(decoded.partial, depth):
        return None, None, depth
    depth += len(decoded.partial)
    if depth == len(nibbles):
        return decoded.cell, None, depth
    if isinstance(decoded, Leaf):
        return None, None, depth
    return None, decoded.children[nibbles[depth]], depth + 1


def _by_hash(proof: Sequence[bytes]) -> dict[bytes, bytes]:
    if len(proof) > PROOF_ENTRIES_MAX:
        raise ProofError(f"The proof has more than {PROOF_ENTRIES_MAX} entries.")
    entries = {blake2b_256(entry): entry for entry in proof}
    if len(entries) != len(proof):
        raise ProofError("The proof has an entry twice. Ask for it again.")
    return entries


def _entry(entries: dict[bytes, bytes], name: bytes, used: set[bytes]) -> bytes:
    entry = entries.get(name)
    if entry is None:
        raise ProofError("The proof lacks an entry on the way to the key, or has another root.")
    used.add(name)
    return entry
