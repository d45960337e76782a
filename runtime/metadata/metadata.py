"""Metadata of a composed runtime, versions 14 and 15: what clients need to use it, with docs.

Everything comes from the declarations of the pallets; nothing is written twice. Version 14 has the
types that pallets and extrinsics mention; 15 adds the runtime APIs with theirs.

- The encodings are in `frame_metadata` and `registry`; this module fills them.
- The sentence of a storage item or constant is the docstring below its declaration.
- The pallet System is the crate `frame_system`, every other one `pallet_<name>`.
- Clients cache metadata by spec_version: what changes it needs a new spec_version.
"""

from __future__ import annotations

from typing import Any, Final

from runtime.codec.scale import encode, u8
from runtime.codec.shape import Field, Tuple, shape_of, struct_shape
from runtime.frame.extrinsic import EXTENSIONS
from runtime.frame.machine import Machine
from runtime.frame.pallet import Pallet
from runtime.frame.storage import ItemSpec
from runtime.metadata.attribute_docs import attribute_docs
from runtime.metadata.frame_metadata import (
    Api,
    ApiMethod,
    ApiParameter,
    Constant,
    EntryHasher,
    EntryKind,
    EntryModifier,
    Extrinsic14,
    Extrinsic15,
    MapEntry,
    Metadata14,
    Metadata15,
    Pallet14,
    Pallet15,
    PalletStorage,
    PlainEntry,
    SignedExtension,
    StorageEntry,
)
from runtime.metadata.interfaces import METADATA_VERSIONS, TRAIT_DOCS, api_traits, runtime_version
from runtime.metadata.registry import (
    CompositeDefinition,
    FieldType,
    Registry,
    TupleDefinition,
    TypeDescription,
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
VERSION_SENTENCE: Final = "Name and versions of the runtime, which every signature covers."

_EXTENSION_CRATES: Final = {
    "ChargeTransactionPayment": ("pallet_transaction_payment",),
    "CheckMetadataHash": ("frame_metadata_hash_extension",),
}
_EXTENSION_FIELDS: Final = {"CheckMetadataHash": "mode"}


class UnknownMetadataVersionError(ValueError):
    """This runtime does not speak that version of metadata; ask for one that it lists."""


def metadata(machine: Machine, version: int = 14) -> bytes:
    """Return the metadata of a runtime, magic number and version first.

    Takes some milliseconds: callers cache it. Raises UnknownMetadataVersionError.
    """
    if version not in METADATA_VERSIONS:
        versions = ", ".join(map(str, METADATA_VERSIONS))
        raise UnknownMetadataVersionError(f"this runtime speaks metadata {versions}, not {version}")
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
        sentences = attribute_docs(type(pallet))
        entries = tuple(
            self._entry(spec, sentences.get(attribute, ""))
            for attribute, spec in pallet.item_specs.items()
        )
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

    def _entry(self, spec: ItemSpec, sentence: str) -> StorageEntry:
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
        return StorageEntry(spec.name, modifier, kind, fallback, doc_lines(sentence))

    def _constants(self, pallet: Pallet) -> tuple[Constant, ...]:
        sentences = attribute_docs(type(pallet))
        constants = [
            self._constant(pascal_case(name), hint, value, sentences.get(name, ""))
            for name, (hint, value) in pallet.constant_values.items()
        ]
        if pallet.name == "System":  # clients read here what they sign for
            version = runtime_version(self._machine)
            constants.append(self._constant("Version", RuntimeVersion, version, VERSION_SENTENCE))
        return tuple(constants)

    def _constant(self, name: str, hint: Any, value: Any, sentence: str) -> Constant:
        encoded = self._machine.codec(hint).encode(value)
        return Constant(name, self._registry.id_of(hint), encoded, doc_lines(sentence))

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
