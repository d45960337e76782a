"""Runtime APIs of a composed runtime: those that it has by itself, and those that pallets declare.

A client calls `{trait}_{method}` with the SCALE of the arguments, one after the other. The runtime
version lists every trait as blake2b-64 of its name with its version.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final

from runtime.codec.scale import Enumeration, scale, u32
from runtime.codec.shape import rust
from runtime.frame.extrinsic import UncheckedExtrinsic
from runtime.frame.machine import Machine
from runtime.frame.pallet import ApiSpec
from runtime.frame.validity import TransactionSource, TransactionValidityError, ValidTransaction
from runtime.types.primitives import Hash, Header, RuntimeVersion

METADATA_VERSIONS: Final = (14, 15)


@rust("sp_core::OpaqueMetadata", bare=True)
@scale
class OpaqueMetadata:
    """The encoded metadata, as bytes."""

    encoded: bytes


@rust(
    "sp_runtime::generic::block::Block",
    Header=Header,
    Extrinsic=UncheckedExtrinsic,
)
@scale
class Block:
    """A block: its header and extrinsics."""

    header: Header
    extrinsics: tuple[UncheckedExtrinsic, ...]


@rust("Result", bare=True, T=ValidTransaction, E=TransactionValidityError)
class TransactionValidity(Enumeration):
    """The place of a transaction in the queue, or the reason why it has none."""


@rust("Ok")
class Accepted(TransactionValidity, index=0):
    """It is valid."""

    value: ValidTransaction


@rust("Err")
class Refused(TransactionValidity, index=1):
    """It is not."""

    error: TransactionValidityError


NOTHING: Final = tuple[()]


def _core(name: str, arguments: tuple[tuple[str, Any], ...], returns: Any, text: str) -> ApiSpec:
    return ApiSpec("Core", 4, name, arguments, returns, text)


def _metadata(
    name: str, arguments: tuple[tuple[str, Any], ...], returns: Any, text: str
) -> ApiSpec:
    return ApiSpec("Metadata", 2, name, arguments, returns, text)


OWN_APIS: Final = (
    _core("version", (), RuntimeVersion, "Return the version of the runtime."),
    _core("execute_block", (("block", Block),), NOTHING, "Refused: nodes execute blocks natively."),
    _core(
        "initialize_block",
        (("header", Header),),
        NOTHING,
        "Refused: nodes execute blocks natively.",
    ),
    _metadata("metadata", (), OpaqueMetadata, "Return the metadata of the runtime, version 14."),
    _metadata(
        "metadata_at_version",
        (("version", u32),),
        OpaqueMetadata | None,
        "Return the metadata in a version, or None where the runtime does not speak it.",
    ),
    _metadata(
        "metadata_versions", (), tuple[u32, ...], "Return the versions that metadata comes in."
    ),
    ApiSpec(
        "TaggedTransactionQueue",
        3,
        "validate_transaction",
        (("source", TransactionSource), ("tx", UncheckedExtrinsic), ("block_hash", Hash)),
        TransactionValidity,
        "Return whether a transaction is valid on top of the block at which this is called.",
    ),
)
"""The APIs of every composed runtime; `runtime.metadata.apis` evaluates them."""

TRAIT_DOCS: Final = {
    "Core": "What every Substrate runtime offers.",
    "Metadata": "The metadata of the runtime.",
    "TaggedTransactionQueue": "Validity of transactions, for the transaction queue.",
}


def pallet_apis(machine: Machine) -> tuple[tuple[str, ApiSpec], ...]:
    """Return (pallet name, declaration) of each API method of the pallets, in order."""
    return tuple(
        (name, spec) for name, pallet in machine.pallets.items() for spec in pallet.api_specs
    )


def api_traits(machine: Machine) -> dict[str, tuple[ApiSpec, ...]]:
    """Return all API methods by trait, in order of first mention."""
    traits: dict[str, tuple[ApiSpec, ...]] = {}
    for spec in (*OWN_APIS, *(spec for _, spec in pallet_apis(machine))):
        methods = traits.get(spec.trait, ())
        for other in methods:
            assert other.version == spec.version, f"{spec.trait} has two versions"
            assert other.name != spec.name, f"{spec.trait}_{spec.name} is declared twice"
        traits[spec.trait] = (*methods, spec)
    return traits


def api_versions(machine: Machine) -> tuple[tuple[bytes, int], ...]:
    """Return (blake2b-64 of the trait's name, version) of each API: RuntimeVersion.apis."""
    return tuple(
        (blake2b(trait.encode(), digest_size=8).digest(), methods[0].version)
        for trait, methods in api_traits(machine).items()
    )


def runtime_version(machine: Machine) -> RuntimeVersion:
    """Return the version of a machine with the APIs that it answers."""
    return replace(machine.version, apis=api_versions(machine))
