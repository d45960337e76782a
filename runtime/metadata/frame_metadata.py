"""The encoding of metadata: what a client decodes, as the crate frame-metadata 16 declares it.

Versions 14 and 15 share most of their parts. Nothing here knows a pallet or a machine;
`runtime.metadata.metadata` fills these types, `runtime.metadata.registry` has those of scale-info.
"""

from __future__ import annotations

import enum

from runtime.codec.scale import Enumeration, scale, u8
from runtime.metadata.registry import PortableType, TypeId


class EntryModifier(enum.IntEnum):
    """The value of an absent storage entry: nothing, or its fallback."""

    Optional = 0
    Default = 1


class EntryHasher(enum.IntEnum):
    """The hashers of map keys, numbered as runtime.frame.storage.Hasher."""

    Blake2_128 = 0
    Blake2_256 = 1
    Blake2_128Concat = 2
    Twox128 = 3
    Twox256 = 4
    Twox64Concat = 5
    Identity = 6


class EntryKind(Enumeration):
    """A single value or a map."""


class PlainEntry(EntryKind, index=0):
    """One value."""

    value: TypeId


class MapEntry(EntryKind, index=1):
    """Values by keys; several keys are a tuple with one hasher each."""

    hashers: tuple[EntryHasher, ...]
    key: TypeId
    value: TypeId


@scale
class StorageEntry:
    """A storage item; `fallback` is the encoded value of an absent one."""

    name: str
    modifier: EntryModifier
    kind: EntryKind
    fallback: bytes
    docs: tuple[str, ...]


@scale
class PalletStorage:
    """The storage of a pallet; `prefix` is what its keys begin with, hashed."""

    prefix: str
    entries: tuple[StorageEntry, ...]


@scale
class Constant:
    """A constant and its encoded value."""

    name: str
    type: TypeId
    value: bytes
    docs: tuple[str, ...]


@scale
class Pallet14:
    """A pallet: the types of its calls, events and errors, its storage and constants."""

    name: str
    storage: PalletStorage | None
    calls: TypeId | None
    event: TypeId | None
    constants: tuple[Constant, ...]
    error: TypeId | None
    index: u8


@scale
class Pallet15:
    """The same, with documentation."""

    pallet: Pallet14
    docs: tuple[str, ...]


@scale
class SignedExtension:
    """The type that an extension puts into an extrinsic, and that it adds to the signed payload."""

    identifier: str
    type: TypeId
    additional_signed: TypeId


@scale
class Extrinsic14:
    """The envelope of calls."""

    type: TypeId
    version: u8
    signed_extensions: tuple[SignedExtension, ...]


@scale
class Extrinsic15:
    """The same, with its parts."""

    version: u8
    address: TypeId
    call: TypeId
    signature: TypeId
    extra: TypeId
    signed_extensions: tuple[SignedExtension, ...]


@scale
class ApiParameter:
    """A parameter of a runtime API method."""

    name: str
    type: TypeId


@scale
class ApiMethod:
    """A method of a runtime API."""

    name: str
    inputs: tuple[ApiParameter, ...]
    output: TypeId
    docs: tuple[str, ...]


@scale
class Api:
    """A runtime API."""

    name: str
    methods: tuple[ApiMethod, ...]
    docs: tuple[str, ...]


@scale
class CustomValue:
    """Another value that a runtime publishes; this one publishes none."""

    name: str
    type: TypeId
    value: bytes


@scale
class Metadata14:
    """Version 14."""

    types: tuple[PortableType, ...]
    pallets: tuple[Pallet14, ...]
    extrinsic: Extrinsic14
    runtime: TypeId


@scale
class Metadata15:
    """Version 15."""

    types: tuple[PortableType, ...]
    pallets: tuple[Pallet15, ...]
    extrinsic: Extrinsic15
    runtime: TypeId
    apis: tuple[Api, ...]
    outer_call: TypeId
    outer_event: TypeId
    outer_error: TypeId
    custom: tuple[CustomValue, ...]
