"""Blocks, states and runtime calls as the namespaces ask for them, with errors for callers.

A state is fetched again for each use and never kept across a checkpoint: the finalized state moves.
What depends only on the runtime version (metadata above all) is computed once.
"""

from __future__ import annotations

from typing import Final

from node.chain.errors import StatePrunedError, UnknownBlockError
from node.rpc.errors import (
    BlockUnavailableError,
    ExtrinsicFormatError,
    RuntimeCallError,
)
from node.rpc.interfaces import RpcNode
from runtime.codec.hexadecimal import to_hex
from runtime.codec.scale import DecodeError, codec
from runtime.frame.extrinsic import Extrinsic
from runtime.metadata.apis import ApiFailedError, ApiRefusedError, UnknownApiError, call_api
from runtime.metadata.interfaces import OpaqueMetadata, runtime_version
from runtime.trie.backend import Backend
from runtime.types.primitives import Hash, Header, RuntimeVersion

_METADATA: Final = codec(OpaqueMetadata)
_VERSION: Final = codec(RuntimeVersion)


class Blocks:
    """Looks up what calls name by `at`; None means the best block."""

    def __init__(self, node: RpcNode) -> None:
        self._node = node
        self._metadata: tuple[int, str] | None = None
        self._version: tuple[RuntimeVersion, RuntimeVersion] | None = None
        self.starting_block = node.chain.best.number

    @property
    def version(self) -> RuntimeVersion:
        """The runtime version, with the APIs that the runtime has."""
        machine = self._node.chain.machine
        if self._version is None or self._version[0] is not machine.version:
            self._version = machine.version, runtime_version(machine)
        return self._version[1]

    @property
    def code(self) -> bytes:
        """What stands for the runtime's code: its encoded version."""
        return _VERSION.encode(self.version)

    def header(self, at: Hash | None) -> Header:
        """Return a header. Raises BlockUnavailableError."""
        chain = self._node.chain
        header = chain.best if at is None else chain.header(at)
        if header is None:
            raise BlockUnavailableError(f"UnknownBlock: there is no block {to_hex(at or b'')}.")
        return header

    def state(self, at: Hash | None) -> tuple[Header, Backend]:
        """Return a header and the state after it. Raises BlockUnavailableError."""
        header = self.header(at)
        try:
            return header, self._node.chain.state(header.hash if at is None else at)
        except UnknownBlockError as error:
            raise BlockUnavailableError(f"UnknownBlock: {error}") from error
        except StatePrunedError as error:
            raise BlockUnavailableError(f"State already discarded: {error}") from error

    def extrinsic(self, raw: bytes) -> Extrinsic:
        """Decode an extrinsic. Raises ExtrinsicFormatError."""
        try:
            return self._node.chain.machine.extrinsics.decode(raw)
        except DecodeError as error:
            raise ExtrinsicFormatError("Extrinsic has invalid format", str(error)) from error

    def call(self, name: str, data: bytes, at: Hash | None = None) -> bytes:
        """Call a runtime API at a block. Raises BlockUnavailableError, RuntimeCallError."""
        header, backend = self.state(at)
        try:
            return call_api(self._node.chain.executive, backend, header, name, data)
        except (UnknownApiError, ApiRefusedError, ApiFailedError) as error:
            raise RuntimeCallError(f"Client error: Execution failed: {error}") from error
        except DecodeError as error:
            raise RuntimeCallError(
                f"Client error: Execution failed: the arguments do not fit {name[:80]}: {error}"
            ) from error

    def metadata(self, at: Hash | None) -> str:
        """Return the metadata, version 14, in hexadecimal. Raises BlockUnavailableError."""
        self.header(at)
        version = self._node.chain.machine.version.spec_version
        if self._metadata is None or self._metadata[0] != version:
            encoded = _METADATA.decode(self.call("Metadata_metadata", b"")).encoded
            self._metadata = version, to_hex(encoded)
        return self._metadata[1]
