"""Metadata of a composed runtime, versions 14 and 15: what clients need to speak to it, with docs.

Everything comes from the declarations of the pallets; nothing is written twice. Version 14 has the
types that pallets and extrinsics mention; 15 adds the runtime APIs with theirs.

- Encodings are those of frame-metadata; the classes first, then what fills them.
- The pallet System is the crate `frame_system`, every other one `pallet_<name>`.
- Clients cache metadata by spec_version: what changes it needs a new spec_version.
"""

from __future__ import annotations

import enum
from typing import Any, Final

from runtime.codec.scale import Enumeration, encode, scale, u8
from runtime.codec.shape import Field, Tuple, shape_of, struct_shape
from runtime.frame.extrinsic import EXTENSIONS
from runtime.frame.machine import Machine
from runtime.frame.pallet import Pallet
from runtime.frame.storage import ItemSpec
from runtime.metadata.interfaces import METADATA_VERSIONS, TRAIT_DOCS, api_traits, runtime_version
from runtime.metadata.registry import (
    CompositeDefinition,
    FieldType,
    PortableType,
    Registry,
    TupleDefinition,
    TypeDescription,
    TypeId,
    TypeParameter,
    VariantDefinition,
    VariantType,
    doc_lines,
    docs_of,
    plain_name,
    type_name,
)
from runtime.types.primitives import MultiAddress, MultiSignature, RuntimeVersion

MAGIC: Final = b"meta"
EXTRINSIC_VERSION: Final = 4
ABSENT: Final = b"\0"
"""The fallback of a storage entry without default: the encoding of None."""

OUTER_CRATE: Final = "openledger_runtime"

_EXTENSION_CRATES: Final = {
    "ChargeTransactionPayment": ("pallet_transaction_payment",),
    "CheckMetadataHash": ("frame_metadata_hash_extension",),
}
_EXTENSION_FIELDS: Final = {"CheckMetadataHash": "mode"}


class UnknownMetadataVersionError(ValueError):
    """This runtime does not speak that version of metadata; ask for one that it lists."""


# ------------------------------------------------------------------------ encoding: frame-metadata


class EntryModifier(enum.IntEnum):
    """What an absent storage entry reads as: nothing, or its fallback."""

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
    """A storage item; `fallback` is what an absent one reads as."""

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
    """What an extension puts into an extrinsic, and what it adds to the signed payload."""

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
    """Something else that a runtime tells; this one tells nothing."""

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


# ------------------------------------------------------------------------------------- composition


def metadata(machine: Machine, version: int = 14) -> bytes:
    """Return the metadata of a runtime, magic number and version first.

    Takes some milliseconds: callers keep it. Raises UnknownMetadataVersionError.
    """
    if version not in METADATA_VERSIONS:
        known = ", ".join(map(str, METADATA_VERSIONS))
        raise UnknownMetadataVersionError(f"this runtime speaks metadata {known}, not {version}")
    composed = _Composer(machine)
    body = (
        encode(Metadata14, composed.version_14())
        if version == 14
        else encode(Metadata15, composed.version_15())
    )
    return MAGIC + bytes((version,)) + body


class _Composer:
    """Describes one machine; the registry grows with what is described."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._registry = registry = Registry()
        self._call, self._event = registry.reserve_outer("call"), registry.reserve_outer("event")
        self._extrinsic = registry.reserve_outer("extrinsic")
        registry.describe(registry.reserve_outer("era"), _era(registry))
        self._address = registry.id_of(MultiAddress)
        self._signature = registry.id_of(MultiSignature)
        self._pallets = tuple(self._pallet(pallet) for pallet in machine.pallets.values())
        self._describe_outer(self._call, "RuntimeCall", "calls")
        self._describe_outer(self._event, "RuntimeEvent", "event")
        self._error = registry.reserve("error")
        self._describe_outer(self._error, "RuntimeError", "error")
        self._extensions = tuple(self._extension(*extension) for extension in EXTENSIONS)
        extensions = TupleDefinition(tuple(extension.type for extension in self._extensions))
        self._extra = registry.add(TypeDescription((), (), extensions))
        self._describe_extrinsic()
        runtime = TypeDescription((OUTER_CRATE, "Runtime"), (), CompositeDefinition(()))
        self._runtime = registry.add(runtime)

    def version_14(self) -> Metadata14:
        """Return version 14."""
        extrinsic = Extrinsic14(self._extrinsic, EXTRINSIC_VERSION, self._extensions)
        return Metadata14(self._registry.types, self._pallets, extrinsic, self._runtime)

    def version_15(self) -> Metadata15:
        """Return version 15; describes the types of the runtime APIs too."""
        apis = self._apis()
        pallets = zip(self._pallets, self._machine.pallets.values(), strict=True)
        return Metadata15(
            self._registry.types,
            tuple(Pallet15(described, docs_of(type(pallet))) for described, pallet in pallets),
            Extrinsic15(
                EXTRINSIC_VERSION,
                self._address,
                self._call,
                self._signature,
                self._extra,
                self._extensions,
            ),
            self._runtime,
            apis,
            self._call,
            self._event,
            self._error,
            (),
        )

    # ----------------------------------------------------------------------------- pallets

    def _pallet(self, pallet: Pallet) -> Pallet14:
        entries = tuple(self._entry(spec) for spec in pallet.item_specs.values())
        calls = tuple(
            VariantType(
                plain_name(spec.name),
                self._arguments(spec.arguments),
                index,
                doc_lines(spec.documentation),
            )
            for index, spec in sorted(pallet.call_specs.items())
        )
        events = tuple(
            VariantType(
                event.__name__,
                self._registry.fields(struct_shape(event).fields),
                index,
                docs_of(event),
            )
            for index, event in sorted(pallet.event_types.items())
        )
        errors = tuple(
            VariantType(error.__name__, (), index, docs_of(error))
            for index, error in sorted(pallet.error_types.items())
        )
        return Pallet14(
            pallet.name,
            PalletStorage(pallet.name, entries) if entries else None,
            self._pallet_enum(pallet, "Call", calls),
            self._pallet_enum(pallet, "Event", events),
            self._constants(pallet),
            self._pallet_enum(pallet, "Error", errors),
            pallet.index,
        )

    def _arguments(self, arguments: tuple[tuple[str, Any], ...]) -> tuple[FieldType, ...]:
        return self._registry.fields(
            tuple(Field(name, shape_of(hint), hint) for name, hint in arguments)
        )

    def _pallet_enum(
        self, pallet: Pallet, name: str, variants: tuple[VariantType, ...]
    ) -> int | None:
        if not variants:
            return None
        path = (crate_of(pallet), "pallet", name)
        configuration = (TypeParameter("T", None),)
        definition = VariantDefinition(variants)
        return self._registry.add(TypeDescription(path, configuration, definition))

    def _entry(self, spec: ItemSpec) -> StorageEntry:
        value = self._registry.id_of(spec.value)
        kind: EntryKind = PlainEntry(value)
        if spec.keys:
            shapes = tuple(shape_of(key) for key in spec.keys)
            keys = shapes[0] if len(shapes) == 1 else Tuple(shapes)
            hashers = tuple(EntryHasher(hasher) for hasher in spec.hashers)
            kind = MapEntry(hashers, self._registry.id_of_shape(keys), value)
        fallback = (
            self._machine.codec(spec.value).encode(spec.default) if spec.has_default else ABSENT
        )
        modifier = EntryModifier.Default if spec.has_default else EntryModifier.Optional
        return StorageEntry(spec.name, modifier, kind, fallback, ())

    def _constants(self, pallet: Pallet) -> tuple[Constant, ...]:
        constants = [
            self._constant(pascal_case(name), hint, value)
            for name, (hint, value) in pallet.constant_values.items()
        ]
        if pallet.name == "System":  # clients read here what they sign for
            version = runtime_version(self._machine)
            constants.append(self._constant("Version", RuntimeVersion, version))
        return tuple(constants)

    def _constant(self, name: str, hint: Any, value: Any) -> Constant:
        encoded = self._machine.codec(hint).encode(value)
        return Constant(name, self._registry.id_of(hint), encoded, ())

    # ------------------------------------------------------------------------- outer types

    def _describe_outer(self, number: int, name: str, part: str) -> None:
        variants = []
        for pallet in self._pallets:
            inner = getattr(pallet, part)
            if inner is not None:
                field = FieldType(None, inner, _OUTER_FIELDS[part].format(pallet.name))
                variants.append(VariantType(pallet.name, (field,), pallet.index))
        variants.sort(key=lambda variant: variant.index)
        definition = VariantDefinition(tuple(variants))
        self._registry.describe(number, TypeDescription((OUTER_CRATE, name), (), definition))

    def _extension(self, name: str, extra: Any, additional: Any) -> SignedExtension:
        fields: tuple[FieldType, ...] = ()
        if extra is not None:
            shape = shape_of(extra)
            field = FieldType(
                _EXTENSION_FIELDS.get(name), self._registry.id_of_shape(shape), type_name(shape)
            )
            fields = (field,)
        path = (*_EXTENSION_CRATES.get(name, _system_module(name)), name)
        definition = CompositeDefinition(fields)
        number = self._registry.add(TypeDescription(path, (), definition))
        nothing: Any = tuple[()]
        added = self._registry.id_of(nothing if additional is None else additional)
        return SignedExtension(name, number, added)

    def _describe_extrinsic(self) -> None:
        registry = self._registry
        opaque = FieldType(None, registry.id_of(bytes), None)
        parameters = (
            TypeParameter("Address", self._address),
            TypeParameter("Call", self._call),
            TypeParameter("Signature", self._signature),
            TypeParameter("Extra", self._extra),
        )
        path = ("sp_runtime", "generic", "unchecked_extrinsic", "UncheckedExtrinsic")
        description = TypeDescription(path, parameters, CompositeDefinition((opaque,)))
        registry.describe(self._extrinsic, description)

    def _apis(self) -> tuple[Api, ...]:
        apis = []
        for trait, specs in api_traits(self._machine).items():
            methods = tuple(
                ApiMethod(
                    spec.name,
                    tuple(
                        ApiParameter(plain_name(name), self._registry.id_of(hint))
                        for name, hint in spec.arguments
                    ),
                    self._registry.id_of(spec.returns),
                    doc_lines(spec.documentation),
                )
                for spec in specs
            )
            apis.append(Api(trait, methods, doc_lines(TRAIT_DOCS.get(trait, ""))))
        return tuple(apis)


_OUTER_FIELDS: Final = {
    "calls": "CallableCallFor<{}, Runtime>",
    "event": "{}Event<Runtime>",
    "error": "{}Error<Runtime>",
}


def _era(registry: Registry) -> TypeDescription:
    """An era is one byte, 0 for immortal, or two: each first byte is a variant of its own."""
    byte = FieldType(None, registry.id_of(u8), None)
    mortal = tuple(VariantType(f"Mortal{first}", (byte,), first) for first in range(1, 256))
    definition = VariantDefinition((VariantType("Immortal", (), 0), *mortal))
    return TypeDescription(("sp_runtime", "generic", "era", "Era"), (), definition)


def crate_of(pallet: Pallet) -> str:
    """Return the crate that clients take a pallet for."""
    return "frame_system" if pallet.name == "System" else f"pallet_{snake_case(pallet.name)}"


def _system_module(extension: str) -> tuple[str, ...]:
    return ("frame_system", "extensions", snake_case(extension))


def snake_case(name: str) -> str:
    """Return `TransactionPayment` as `transaction_payment`."""
    return "".join(
        f"_{letter.lower()}" if letter.isupper() and at else letter.lower()
        for at, letter in enumerate(name)
    )


def pascal_case(name: str) -> str:
    """Return `max_name` as `MaxName`, and `ss58` as the `SS58` that clients ask for."""
    return "".join("SS58" if word == "ss58" else word.capitalize() for word in name.split("_"))
