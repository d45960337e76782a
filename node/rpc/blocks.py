"""Blocks, states and runtime calls as the namespaces ask for them, with errors for callers.

A state is fetched again for each use and never kept while a client is waited for. What depends only
on the runtime version (metadata above all) is computed once.

A question may cost much: a list is read from thousands of entries, a batch of a million calls is
decoded and weighed. So it is answered in a worker thread, by a machine of its own, since machines
are not reentrant; those of few bytes, one at a time, wait for none of many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import trio

from node.chain.errors import StatePrunedError, UnknownBlockError
from node.rpc.errors import (
    BlockUnavailableError,
    ExtrinsicFormatError,
    RuntimeCallError,
)
from node.rpc.interfaces import RpcNode
from node.rpc.shares import Shares
from pallets import compose
from runtime.codec.hexadecimal import to_hex
from runtime.codec.scale import DecodeError, codec
from runtime.frame.executive import Executive
from runtime.frame.extrinsic import Extrinsic
from runtime.metadata.apis import ApiFailedError, ApiRefusedError, UnknownApiError, call_api
from runtime.metadata.interfaces import OpaqueMetadata, runtime_version
from runtime.trie.backend import Backend
from runtime.types.primitives import Hash, Header, RuntimeVersion

_METADATA: Final = codec(OpaqueMetadata)
_VERSION: Final = codec(RuntimeVersion)
SHORT_BYTES_MAX: Final = 4_096
"""A question of more bytes may cost seconds."""

T = TypeVar("T")
Question = Callable[[Executive, Backend, Header], T]
"""What is asked of the state after a block; without any other state, since threads ask it."""


class Blocks:
    """Looks up what calls name by `at`; None means the best block."""

    def __init__(self, node: RpcNode, shares: Shares) -> None:
        self._node = node
        self.turn = shares.turn
        """One piece of work for each round of the event loop (node/rpc/shares.py)."""
        self._short, self._long = _Answering(), _Answering()
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

    async def call(self, name: str, data: bytes, at: Hash | None = None) -> bytes:
        """Call a runtime API at a block. Raises BlockUnavailableError, RuntimeCallError."""

        def ask(executive: Executive, backend: Backend, header: Header) -> bytes:
            return _call(executive, backend, header, name, data)

        return await self.ask(ask, len(data), at)

    async def ask(self, question: Question[T], size_bytes: int, at: Hash | None) -> T:
        """Answer a question of so many bytes about a block's state.

        Raises BlockUnavailableError, and what the question raises.
        """
        answering = self._short if size_bytes <= SHORT_BYTES_MAX else self._long
        async with answering.lock:
            header, backend = self.state(at)
            return await trio.to_thread.run_sync(answering.answer, question, backend, header)

    def metadata(self, at: Hash | None) -> str:
        """Return the metadata, version 14, in hexadecimal. Raises BlockUnavailableError."""
        self.header(at)
        version = self._node.chain.machine.version.spec_version
        if self._metadata is None or self._metadata[0] != version:
            header, backend = self.state(None)
            executive = self._node.chain.executive
            data = _call(executive, backend, header, "Metadata_metadata", b"")
            encoded = _METADATA.decode(data).encoded
            self._metadata = version, to_hex(encoded)
        return self._metadata[1]


class _Answering:
    """A machine that answers in worker threads, one question at a time under `lock`."""

    def __init__(self) -> None:
        self.lock = trio.Lock()
        self._executive: Executive | None = None

    def answer(self, question: Question[T], backend: Backend, header: Header) -> T:
        """Answer a question. Raises what the question raises."""
        if self._executive is None:
            self._executive = Executive(compose())
        return question(self._executive, backend, header)


def decode_extrinsic(executive: Executive, raw: bytes) -> Extrinsic:
    """Decode an extrinsic. Raises ExtrinsicFormatError."""
    try:
        return executive.machine.extrinsics.decode(raw)
    except DecodeError as error:
        raise ExtrinsicFormatError("Extrinsic has invalid format", str(error)) from error


def _call(executive: Executive, backend: Backend, header: Header, name: str, data: bytes) -> bytes:
    try:
        return call_api(executive, backend, header, name, data)
    except (UnknownApiError, ApiRefusedError, ApiFailedError) as error:
        raise RuntimeCallError(f"Client error: Execution failed: {error}") from error
    except DecodeError as error:
        raise RuntimeCallError(
            f"Client error: Execution failed: the arguments do not fit {name[:80]}: {error}"
        ) from error
