"""Blocks in a file and in order: export, and replay from genesis with every state root checked.

file = "OPENLEDGER-BLOCKS-2\n" ++ SCALE(genesis hash) ++ block 1 ++ block 2 ...
block = length (4 bytes, little-endian) ++ SCALE(header, extrinsics, justification or none)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Final

from genesis.spec import ChainSpec
from node.chain.justifications import FinalityCheck, authorities_in
from node.client.errors import UsageError
from node.storage.new_file import new_file
from pallets import compose
from runtime.codec.scale import DecodeError, codec, scale
from runtime.errors import ExitCode, OpenLedgerError
from runtime.frame.executive import Executive
from runtime.trie.backend import MemoryBackend
from runtime.types.primitives import Hash, Header

MAGIC: Final = b"OPENLEDGER-BLOCKS-2\n"
BLOCK_BYTES_MAX: Final = 8 * 1024 * 1024
_LENGTH_BYTES: Final = 4
_HASH_BYTES: Final = 32


@scale
class ExportedBlock:
    """A block as the file holds it; `justification` is the SCALE of its FINALIZE certificate."""

    header: Header
    extrinsics: tuple[bytes, ...]
    justification: bytes | None = None


_BLOCK: Final = codec(ExportedBlock)


class BlockFileError(UsageError):
    """The file is no file of blocks."""


class DamagedBlockFileError(OpenLedgerError):
    """A block of the file is damaged, or does not follow from those before it."""

    exit_code = ExitCode.DATA


def write_block_file(path: Path, genesis_hash: Hash, blocks: Iterable[ExportedBlock]) -> int:
    """Write a new file of blocks that is complete when it appears; returns their number.

    A file that was cut off between two blocks would look whole. Raises FileExistsError.
    """
    with new_file(path) as file:
        return write_blocks(file, genesis_hash, blocks)


def write_blocks(file: IO[bytes], genesis_hash: Hash, blocks: Iterable[ExportedBlock]) -> int:
    """Write blocks in order; returns their number."""
    file.write(MAGIC + genesis_hash)
    count = 0
    for block in blocks:
        data = _BLOCK.encode(block)
        file.write(len(data).to_bytes(_LENGTH_BYTES, "little") + data)
        count += 1
    return count


def read_blocks(path: Path) -> tuple[Hash, Iterator[ExportedBlock]]:
    """Return the genesis hash of a file and an iterator that reads its blocks."""
    file = path.open("rb")
    head = file.read(len(MAGIC) + _HASH_BYTES)
    if not head.startswith(MAGIC) or len(head) != len(MAGIC) + _HASH_BYTES:
        file.close()
        raise BlockFileError(
            f"{path} is no file of blocks. Make one with `openledger chain export-blocks`."
        )
    return Hash(head[len(MAGIC) :]), _iterate(path, file)


def _iterate(path: Path, file: IO[bytes]) -> Iterator[ExportedBlock]:
    with file:
        number = 0
        while length := file.read(_LENGTH_BYTES):
            number += 1
            size = int.from_bytes(length, "little")
            data = file.read(size) if size <= BLOCK_BYTES_MAX else b""
            try:
                yield _BLOCK.decode(data)
            except DecodeError as error:
                raise DamagedBlockFileError(
                    f"Block {number} in {path} is damaged ({error}). Export the file again."
                ) from error


def replay(
    spec: ChainSpec, blocks: Iterable[ExportedBlock], on_block: Callable[[int], None]
) -> Header:
    """Execute blocks from genesis in memory and return the last header.

    Raises InvalidBlockError for a block that breaks a rule or has another state root, and
    JustificationError for one whose finality the file does not prove.
    """
    executive = Executive(compose())
    genesis = spec.build()
    state = MemoryBackend()
    state.apply(dict(genesis.changes), genesis.nodes)
    parent = genesis.header
    finality = FinalityCheck(genesis.hash, spec.chain_type)
    for block in blocks:
        authorities = authorities_in(executive.machine, state)
        executed = executive.execute(state, block.header, block.extrinsics, parent)
        finality.take(block.header, block.justification, authorities)
        state.apply(executed.changes, executed.nodes)
        parent = executed.header
        on_block(parent.number)
    finality.end()
    return parent
