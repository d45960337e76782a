"""Evaluates runtime APIs at the state of a block: SCALE bytes in, SCALE bytes out.

An API's writes are discarded. Names are `{trait}_{method}`; `runtime.metadata.interfaces`
lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from runtime.codec.scale import DecodeError
from runtime.frame.dispatch import DispatchFailed, Error
from runtime.frame.executive import Executive
from runtime.frame.extrinsic import Extrinsic
from runtime.frame.machine import Machine
from runtime.frame.pallet import ApiSpec
from runtime.frame.state import Overlay
from runtime.frame.validity import TransactionRefused, TransactionSource
from runtime.metadata.interfaces import (
    METADATA_VERSIONS,
    OWN_APIS,
    Accepted,
    Block,
    OpaqueMetadata,
    Refused,
    TransactionValidity,
    api_versions,
    pallet_apis,
    runtime_version,
)
from runtime.metadata.metadata import metadata
from runtime.trie.backend import Backend
from runtime.types.primitives import Hash, Header, RuntimeVersion

__all__ = [
    "ApiFailedError",
    "ApiRefusedError",
    "UnknownApiError",
    "api_versions",
    "call_api",
    "runtime_version",
]


class UnknownApiError(LookupError):
    """The runtime has no such API; metadata version 15 and rpc_methods list what there is."""


class ApiRefusedError(Exception):
    """The runtime has this API for others to know its types, and never evaluates it."""


class ApiFailedError(Exception):
    """The pallet refused the question; the message is the sentence of its error."""


def call_api(
    executive: Executive, backend: Backend, header: Header, name: str, data: bytes
) -> bytes:
    """Evaluate an API at the block `header`, whose state is `backend`.

    Raises UnknownApiError, ApiRefusedError, ApiFailedError, or DecodeError for bad arguments.
    """
    machine = executive.machine
    for spec in OWN_APIS:
        if name == f"{spec.trait}_{spec.name}":
            answer = _OWN[name](
                _Question(executive, backend, header), *_arguments(machine, spec, data)
            )
            return machine.codec(spec.returns).encode(answer)
    for pallet, spec in pallet_apis(machine):
        if name == f"{spec.trait}_{spec.name}":
            return _ask_pallet(machine, backend, pallet, spec, data)
    raise UnknownApiError(f"this runtime has no API {name!r:.100}; metadata version 15 lists all")


def _arguments(machine: Machine, spec: ApiSpec, data: bytes) -> list[Any]:
    arguments, at = [], 0
    for _, hint in spec.arguments:
        argument, at = machine.codec(hint).decode_from(data, at)
        arguments.append(argument)
    if at != len(data):
        raise DecodeError(f"{len(data) - at} bytes follow the arguments of {spec.name}")
    return arguments


def _ask_pallet(
    machine: Machine, backend: Backend, pallet: str, spec: ApiSpec, data: bytes
) -> bytes:
    arguments = _arguments(machine, spec, data)
    with machine.on(Overlay(backend)):
        try:
            answer = getattr(machine.pallets[pallet], spec.name)(*arguments)
        except (DispatchFailed, Error) as error:
            raise ApiFailedError(f"{spec.trait}_{spec.name}: {error}") from error
        return machine.codec(spec.returns).encode(answer)


# ------------------------------------------------------------------------------ the runtime's own


class _Question:
    """At which block an API is asked."""

    __slots__ = ("backend", "executive", "header")

    def __init__(self, executive: Executive, backend: Backend, header: Header) -> None:
        self.executive = executive
        self.backend = backend
        self.header = header


def _version(question: _Question) -> RuntimeVersion:
    return runtime_version(question.executive.machine)


def _refuse(question: _Question, subject: Block | Header) -> tuple[()]:
    raise ApiRefusedError("blocks are executed by the node itself; submit a block to import it")


_metadata: WeakKeyDictionary[Machine, dict[int, OpaqueMetadata]] = WeakKeyDictionary()


def _metadata_14(question: _Question) -> OpaqueMetadata | None:
    return _metadata_at_version(question, 14)


def _metadata_at_version(question: _Question, version: int) -> OpaqueMetadata | None:
    if version not in METADATA_VERSIONS:
        return None
    machine = question.executive.machine
    versions = _metadata.setdefault(machine, {})
    if version not in versions:
        versions[version] = OpaqueMetadata(metadata(machine, version))
    return versions[version]


def _metadata_versions(question: _Question) -> tuple[int, ...]:
    return METADATA_VERSIONS


def _validate_transaction(
    question: _Question, source: TransactionSource, extrinsic: Extrinsic, block_hash: Hash
) -> TransactionValidity:
    """Validate on top of the block asked; its hash as an argument is a hint that is not needed."""
    try:
        valid = question.executive.validate(question.backend, question.header, extrinsic)
    except TransactionRefused as refusal:
        return Refused(refusal.error)
    return Accepted(valid)


_OWN: Final[dict[str, Callable[..., Any]]] = {
    "Core_version": _version,
    "Core_execute_block": _refuse,
    "Core_initialize_block": _refuse,
    "Metadata_metadata": _metadata_14,
    "Metadata_metadata_at_version": _metadata_at_version,
    "Metadata_metadata_versions": _metadata_versions,
    "TaggedTransactionQueue_validate_transaction": _validate_transaction,
}
