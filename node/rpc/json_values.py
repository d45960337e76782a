"""The JSON forms of chain values, as Substrate's clients read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node.rpc.parameters import Json
from runtime.codec.hexadecimal import to_hex
from runtime.codec.scale import codec
from runtime.shared.finality import ENGINE
from runtime.types.primitives import DigestItem, Header, RuntimeVersion

_HEADER: Final = codec(Header)
_DIGEST_ITEM: Final = codec(DigestItem)


def header_form(header: Header) -> dict[str, Json]:
    """Return a header as chain_getHeader answers it."""
    return {
        "parentHash": to_hex(header.parent_hash),
        "number": hex(header.number),
        "stateRoot": to_hex(header.state_root),
        "extrinsicsRoot": to_hex(header.extrinsics_root),
        "digest": {"logs": [to_hex(_DIGEST_ITEM.encode(item)) for item in header.digest.logs]},
    }


def encoded_header(header: Header) -> str:
    """Return the SCALE encoding of a header, as chainHead and archive answer it."""
    return to_hex(_HEADER.encode(header))


def block_form(header: Header, extrinsics: Sequence[bytes], justification: bytes | None) -> Json:
    """Return a block as chain_getBlock answers it."""
    justifications = None if justification is None else [[list(ENGINE), list(justification)]]
    return {
        "block": {
            "header": header_form(header),
            "extrinsics": [to_hex(raw) for raw in extrinsics],
        },
        "justifications": justifications,
    }


def version_form(version: RuntimeVersion) -> Json:
    """Return a runtime version as state_getRuntimeVersion answers it: apis as pairs."""
    return {
        "specName": version.spec_name,
        "implName": version.impl_name,
        "authoringVersion": version.authoring_version,
        "specVersion": version.spec_version,
        "implVersion": version.impl_version,
        "apis": [[to_hex(api), number] for api, number in version.apis],
        "transactionVersion": version.transaction_version,
        "stateVersion": version.state_version,
    }


def runtime_form(version: RuntimeVersion) -> Json:
    """Return a runtime as chainHead events carry it: apis as an object."""
    return {
        "type": "valid",
        "spec": {
            "specName": version.spec_name,
            "implName": version.impl_name,
            "specVersion": version.spec_version,
            "implVersion": version.impl_version,
            "transactionVersion": version.transaction_version,
            "apis": {to_hex(api): number for api, number in version.apis},
        },
    }
