"""Storage items as a pallet declares them: typed values and maps over the current overlay.

    next_id: Value[u32] = default(0)             reads as its default when absent
    owner: OptionalValue[AccountId]              reads as None when absent
    nets: Map[u32, Net]                          reads as None when absent
    balance: DefaultMap[AccountId, u128] = default(0)
    rows: Map[tuple[u32, Hash], u32]             a map of several keys: one hasher each

A key is twox128(pallet) ++ twox128(item) ++ hasher(key)...; hashers are Blake2_128Concat unless
declared with `stored(hashers=...)`. Source: Substrate's storage map key derivation.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from runtime.codec.scale import Codec
from runtime.crypto.hashing import blake2b_128, blake2b_256, twox_64, twox_128, twox_256
from runtime.frame.state import Overlay

KEY_CACHE_MAX: Final = 1 << 17

Codecs = Callable[[Any], Codec[Any]]

K = TypeVar("K")
V = TypeVar("V")


class Hasher(enum.IntEnum):
    """Storage hashers in the order of metadata."""

    BLAKE2_128 = 0
    BLAKE2_256 = 1
    BLAKE2_128_CONCAT = 2
    TWOX_128 = 3
    TWOX_256 = 4
    TWOX_64_CONCAT = 5
    IDENTITY = 6


_HASH: Final[dict[Hasher, Callable[[bytes], bytes]]] = {
    Hasher.BLAKE2_128: blake2b_128,
    Hasher.BLAKE2_256: blake2b_256,
    Hasher.BLAKE2_128_CONCAT: lambda key: blake2b_128(key) + key,
    Hasher.TWOX_128: twox_128,
    Hasher.TWOX_256: twox_256,
    Hasher.TWOX_64_CONCAT: lambda key: twox_64(key) + key,
    Hasher.IDENTITY: lambda key: key,
}
_CONCAT_SKIP: Final = {Hasher.BLAKE2_128_CONCAT: 16, Hasher.TWOX_64_CONCAT: 8, Hasher.IDENTITY: 0}


@dataclass(frozen=True, slots=True)
class Stored:
    """The default and the hashers that a declaration adds to its annotation."""

    default: Any = None
    hashers: tuple[Hasher, ...] = ()


def default(value: Any, *hashers: Hasher) -> Any:
    """Declare the value that an absent entry reads as."""
    return Stored(value, hashers)


def stored(*hashers: Hasher) -> Any:
    """Declare the hashers of a map's keys."""
    return Stored(None, hashers)


class StateHolder(typing.Protocol):
    """The machine, as storage items see it: it has the overlay of the block being executed."""

    @property
    def overlay(self) -> Overlay: ...


@dataclass(frozen=True, slots=True)
class ItemSpec:
    """A declared storage item, as metadata describes it and as binding needs it."""

    pallet: str
    name: str
    kind: type
    keys: tuple[Any, ...]
    hashers: tuple[Hasher, ...]
    value: Any
    default: Any
    has_default: bool

    @property
    def prefix(self) -> bytes:
        """The first 32 bytes of every key of this item."""
        return twox_128(self.pallet.encode()) + twox_128(self.name.encode())


class Item:
    """Base of storage items: bound to a runtime's current overlay when the runtime is composed."""

    __slots__ = ("_codec", "_default", "_holder", "prefix", "spec")

    def __init__(self, spec: ItemSpec, holder: StateHolder, codec: Codecs) -> None:
        self.spec = spec
        self.prefix = spec.prefix
        self._holder = holder
        self._codec = codec(spec.value)
        self._default = spec.default


class OptionalValue(Item, Generic[V]):
    """One value that may be absent."""

    __slots__ = ()

    def get(self) -> V | None:
        """Return the value, or None."""
        return typing.cast(V | None, self._holder.overlay.read(self.prefix, self._codec))

    def put(self, value: V) -> None:
        """Set the value."""
        self._holder.overlay.write(self.prefix, value, self._codec)

    def clear(self) -> None:
        """Remove the value."""
        self._holder.overlay.write(self.prefix, None, self._codec)


class Value(OptionalValue[V]):
    """One value that reads as its default while absent."""

    __slots__ = ()

    def get(self) -> V:
        """Return the value, or its default."""
        value = self._holder.overlay.read(self.prefix, self._codec)
        return typing.cast(V, self._default if value is None else value)


class Map(Item, Generic[K, V]):
    """Values by key; an absent one reads as None. K is a tuple where there are several keys."""

    __slots__ = ("_cache", "_hashes", "_key_codecs")

    def __init__(self, spec: ItemSpec, holder: StateHolder, codec: Codecs) -> None:
        super().__init__(spec, holder, codec)
        self._key_codecs = tuple(codec(key) for key in spec.keys)
        self._hashes = tuple(_HASH[hasher] for hasher in spec.hashers)
        self._cache: dict[Any, bytes] = {}

    def key(self, key: K) -> bytes:
        """Return the storage key of an entry."""
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        parts = (key,) if len(self._key_codecs) == 1 else typing.cast(tuple[Any, ...], key)
        full = self.prefix + b"".join(
            hash_of(codec.encode(part))
            for hash_of, codec, part in zip(self._hashes, self._key_codecs, parts, strict=True)
        )
        if len(self._cache) >= KEY_CACHE_MAX:
            self._cache.clear()  # cheaper than the order that evicting the oldest would need
        self._cache[key] = full
        return full

    def get(self, key: K) -> V | None:
        """Return the value of a key, or None."""
        value: V | None = self._holder.overlay.read(self.key(key), self._codec)
        return value

    def put(self, key: K, value: V) -> None:
        """Set the value of a key."""
        self._holder.overlay.write(self.key(key), value, self._codec)

    def remove(self, key: K) -> None:
        """Remove a key."""
        self._holder.overlay.write(self.key(key), None, self._codec)

    def __contains__(self, key: K) -> bool:
        return self._holder.overlay.read(self.key(key), self._codec) is not None

    def items(self, *first: Any) -> Iterator[tuple[K, V]]:
        """Yield (key, value) in the order of hashed keys; `first` fixes the leading keys."""
        prefix = self.prefix + b"".join(
            hash_of(codec.encode(part))
            for hash_of, codec, part in zip(self._hashes, self._key_codecs, first, strict=False)
        )
        overlay = self._holder.overlay
        for full in overlay.keys(prefix):
            value = overlay.read(full, self._codec)
            if value is not None:
                yield self._key_of(full), value

    def keys(self, *first: Any) -> Iterator[K]:
        """Yield the keys in the order of their hashes."""
        for key, _ in self.items(*first):
            yield key

    def _key_of(self, full: bytes) -> K:
        at = len(self.prefix)
        parts = []
        for codec, hasher in zip(self._key_codecs, self.spec.hashers, strict=True):
            part, at = codec.decode_from(full, at + _CONCAT_SKIP[hasher])
            parts.append(part)
        return typing.cast(K, parts[0] if len(parts) == 1 else tuple(parts))


class DefaultMap(Map[K, V]):
    """Values by key; an absent one reads as the default."""

    __slots__ = ()

    def get(self, key: K) -> V:
        """Return the value of a key, or the default."""
        value: V | None = self._holder.overlay.read(self.key(key), self._codec)
        return self._default if value is None else value


def item_spec(pallet: str, attribute: str, hint: Any, declared: Any) -> ItemSpec | None:
    """Return the spec of a storage annotation, or None where the annotation is something else."""
    origin = typing.get_origin(hint)
    if not (isinstance(origin, type) and issubclass(origin, Item)):
        return None
    arguments = typing.get_args(hint)
    extra = declared if isinstance(declared, Stored) else Stored()
    keys: tuple[Any, ...] = ()
    if issubclass(origin, Map):
        key = arguments[0]
        keys = typing.get_args(key) if typing.get_origin(key) is tuple else (key,)
    hashers = extra.hashers or (Hasher.BLAKE2_128_CONCAT,) * len(keys)
    assert len(hashers) == len(keys), f"{pallet}.{attribute}: one hasher for each key"
    has_default = issubclass(origin, Value | DefaultMap)
    assert has_default == (extra.default is not None), (
        f"{pallet}.{attribute}: {origin.__name__} {'needs a' if has_default else 'has no'} default"
    )
    name = attribute.title().replace("_", "")
    value = arguments[-1]
    return ItemSpec(pallet, name, origin, keys, hashers, value, extra.default, has_default)
