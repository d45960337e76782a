"""`openledger chain`: look at a chain, move its blocks, check every state root, purge its data."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from genesis.spec import ChainSpec, load_spec
from ml.durable_file import write_durably
from node.client import Client, RequestRefusedError
from node.commands.base.command import command_output, confirm, pass_client, refuse, yes_option
from node.commands.base.command_group import CommandGroup
from node.commands.base.documents import Fields
from node.commands.base.output import Output
from node.commands.base.transaction import EventDocument, event_documents
from node.commands.base.values import show_value
from node.commands.chain.block_file import ExportedBlock, read_blocks, replay, write_block_file
from node.commands.chain.log_repair import repair_log
from node.commands.chain.snapshot import restore, snapshot
from node.commands.chain.status import StatusDocument, status_of
from node.operations.config import default_base_path
from node.operations.data_folder import DATABASE_FOLDER, chain_folder
from node.storage.folder_swap import former_folder
from runtime.codec.hexadecimal import to_hex
from runtime.crypto import ss58
from runtime.frame.extrinsic import Extrinsic
from runtime.types.primitives import Hash

BLOCKS_MAX: Final = 1 << 32
STATE_PRUNED: Final = "State already discarded"
"""As node/rpc/blocks.py, and Substrate, begin that answer."""


@dataclass(frozen=True, slots=True)
class ExtrinsicDocument:
    """A call in a block: by whom, and with which arguments. Inherents have no signer."""

    hash: str
    signer: str | None
    call: str
    arguments: Fields


@dataclass(frozen=True, slots=True)
class BlockDocument:
    """A block with its calls and events; a node that pruned the state has no events any more."""

    number: int
    hash: str
    parent_hash: str
    state_root: str
    extrinsics: tuple[ExtrinsicDocument, ...]
    is_state_pruned: bool
    events: tuple[EventDocument, ...]


@dataclass(frozen=True, slots=True)
class BlocksDocument:
    """Blocks that were exported, imported or checked."""

    genesis_hash: str
    blocks: int
    last_hash: str | None
    file: str | None


@dataclass(frozen=True, slots=True)
class PurgeDocument:
    """A data folder that was removed."""

    removed: str


@dataclass(frozen=True, slots=True)
class SpecDocument:
    """A chain spec that was written."""

    file: str
    id: str
    is_raw: bool
    genesis_hash: str


@click.group("chain", cls=CommandGroup)
def chain_command() -> None:
    """Inspect, export, import, check, copy and purge a chain."""


for command in (repair_log, snapshot, restore):
    chain_command.add_command(command)


@chain_command.command("info")
@command_output(StatusDocument)
@pass_client
def info(output: Output, client: Client) -> StatusDocument:
    """Show the chain, its runtime and its newest blocks."""
    return status_of(client)


@chain_command.command("block")
@click.argument("block", required=False)
@command_output(BlockDocument)
@pass_client
def block(output: Output, client: Client, block: str | None) -> BlockDocument:
    """Show a BLOCK (number or hash; the best one unless given) with its calls and events."""
    shown = client.block(_block_id(block))
    extrinsics = tuple(_extrinsic(client, extrinsic) for extrinsic in shown.extrinsics)
    events = _events(client, shown.hash)
    if events is None:
        output.note(
            "The state of this block is pruned at this node, and its events are in it. Ask a node "
            "that runs with --archive, or a larger --state-pruning."
        )
    return BlockDocument(
        number=shown.header.number,
        hash=to_hex(shown.hash),
        parent_hash=to_hex(shown.header.parent_hash),
        state_root=to_hex(shown.header.state_root),
        extrinsics=extrinsics,
        is_state_pruned=events is None,
        events=events or (),
    )


@chain_command.command("export-blocks")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--to", type=click.IntRange(1), help="The last block; the final one unless given.")
@command_output(BlocksDocument)
@pass_client
def export_blocks(output: Output, client: Client, file: Path, to: int | None) -> BlocksDocument:
    """Write the chain's final blocks from the first one on to a new FILE, with their proofs."""
    final = client.header(client.finalized_hash()).number
    last = min(to or final, final)
    if file.exists():
        refuse(f"{file} exists already. Name a new file; nothing was overwritten.")
    if to is not None and to > final:
        output.note(f"Block {to:,} is not final yet; the file ends with block {final:,}.")
    with output.progress("Exporting", "blocks") as advance:
        blocks = _fetch(client, last, final)
        counted = _counted(blocks, lambda done: advance(done, last))
        count = write_block_file(file, client.genesis_hash, counted)
    last_hash = client.block_hash(count) if count else None
    return _blocks(client.genesis_hash, count, last_hash, file)


@chain_command.command("import-blocks")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--chain", "chain_name", default="dev", show_default=True, help="Preset or spec file."
)
@click.option("--base-path", type=click.Path(path_type=Path), help="The node's data folder.")
@command_output(BlocksDocument)
def import_blocks(
    output: Output, file: Path, chain_name: str, base_path: Path | None
) -> BlocksDocument:
    """Execute the blocks of FILE into the data folder of a node that is not running."""
    from node.commands.chain.importing import import_into

    spec = load_spec(chain_name)
    genesis_hash, blocks = read_blocks(file)
    _check_genesis(spec, genesis_hash, str(file))
    folder = chain_folder(base_path or default_base_path(), spec.id)
    with output.progress("Importing", "blocks") as advance:
        count, last_hash = import_into(spec, folder, file, blocks, lambda done: advance(done, done))
    return _blocks(genesis_hash, count, last_hash, file)


@chain_command.command("check")
@click.option("--file", type=click.Path(path_type=Path), help="Blocks from a file, not a node.")
@click.option(
    "--base-path",
    type=click.Path(path_type=Path),
    help="The data folder of a node that is not running, with all that is stored there.",
)
@click.option(
    "--chain", "chain_name", default="dev", show_default=True, help="Preset or spec file."
)
@command_output(BlocksDocument)
@pass_client
def check(
    output: Output, client: Client, file: Path | None, base_path: Path | None, chain_name: str
) -> BlocksDocument:
    """Execute every block again from genesis and compare each state root.

    The blocks are those of a running node, of a --file, or of a stopped node's --base-path.
    """
    if file is not None and base_path is not None:
        refuse("Give either --file or --base-path, not both.")
    spec = load_spec(chain_name)
    if base_path is not None:
        return _check_folder(output, spec, chain_folder(base_path, spec.id))
    if file is not None:
        genesis_hash, blocks = read_blocks(file)
        last = 0
    else:
        genesis_hash = client.genesis_hash
        last = client.header(client.finalized_hash()).number
        blocks = _fetch(client, last, last)
    _check_genesis(spec, genesis_hash, str(file or "the node"))
    with output.progress("Checking", "blocks") as advance:
        header = replay(spec, blocks, lambda done: advance(done, max(done, last)))
    output.note("Every block follows its parent, and every state root is exact.")
    return _blocks(genesis_hash, header.number, header.hash, file)


def _check_folder(output: Output, spec: ChainSpec, folder: Path) -> BlocksDocument:
    from node.commands.chain.data_check import check_folder

    with output.progress("Checking", "blocks") as advance:
        report = check_folder(spec, folder, advance)
    output.note(
        f"What is stored is whole: blocks {report.first:,} to {report.last:,}, and a state of "
        f"{report.state_entries:,} entries with the state root of the last one."
    )
    if report.first == 0:
        output.note("Every block follows its parent, and every state root is exact.")
    else:
        output.note(
            f"The node began with the state of block {report.first:,} (--sync fast), so blocks "
            "cannot be executed again from genesis here."
        )
    return _blocks(spec.build().hash, report.last, report.last_hash, folder)


@chain_command.command("purge")
@click.option(
    "--chain", "chain_name", default="dev", show_default=True, help="Preset or spec file."
)
@click.option("--base-path", type=click.Path(path_type=Path), help="The node's data folder.")
@yes_option
@command_output(PurgeDocument)
def purge(output: Output, chain_name: str, base_path: Path | None, yes: bool) -> PurgeDocument:
    """Remove all blocks, state and files of one chain. Keys stay."""
    from node.storage.database import Database

    folder = chain_folder(base_path or default_base_path(), load_spec(chain_name).id)
    if not folder.is_dir():
        refuse(f"There is no data of this chain in {folder}. Name its folder with --base-path.")
    if (folder / DATABASE_FOLDER).is_dir():
        Database.open(folder / DATABASE_FOLDER).close()  # refuses while a node has the folder open
    confirm(f"Remove {folder} for good?", is_given=yes)
    shutil.rmtree(folder)
    shutil.rmtree(former_folder(folder), ignore_errors=True)  # else the next start puts it back
    return PurgeDocument(str(folder))


@chain_command.group("spec", cls=CommandGroup)
def spec_group() -> None:
    """Chain specs, which define chains."""


@spec_group.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--chain", "chain_name", default="dev", show_default=True, help="Preset or spec file."
)
@click.option("--raw", is_flag=True, help="Write the storage itself, so that no code decides it.")
@command_output(SpecDocument)
def export_spec(output: Output, file: Path, chain_name: str, raw: bool) -> SpecDocument:
    """Write a chain spec to a new FILE."""
    spec = load_spec(chain_name)
    written = spec.raw() if raw else spec
    if file.exists():
        refuse(f"{file} exists already. Name a new file; nothing was overwritten.")
    write_durably(file, (written.to_json() + "\n").encode())
    return SpecDocument(str(file), spec.id, raw, to_hex(spec.build().hash))


def _fetch(client: Client, last: int, final: int) -> Iterator[ExportedBlock]:
    """Return the blocks from 1 to `last`; where some are certified, on to one that is."""
    is_certified = is_open = False
    for number in range(1, final + 1):
        if number > last and not (is_certified and is_open):
            return
        fetched = client.block(number)
        is_open = fetched.justification is None
        is_certified = is_certified or not is_open
        raws = tuple(extrinsic.raw for extrinsic in fetched.extrinsics)
        yield ExportedBlock(fetched.header, raws, fetched.justification)


def _counted(
    blocks: Iterator[ExportedBlock], on_block: Callable[[int], None]
) -> Iterator[ExportedBlock]:
    """Yield the blocks, and report after each how many were yielded."""
    for done, block in enumerate(blocks, start=1):
        yield block
        on_block(done)


def _events(client: Client, block_hash: Hash) -> tuple[EventDocument, ...] | None:
    """Return a block's events; None where the node has pruned the state that they are in."""
    try:
        return event_documents(client.events(block_hash))
    except RequestRefusedError as error:
        if STATE_PRUNED not in str(error):
            raise
        return None


def _extrinsic(client: Client, extrinsic: Extrinsic) -> ExtrinsicDocument:
    call = extrinsic.call
    hints = client.machine.bound(call.pallet, call.name).spec.arguments
    signer = None if extrinsic.signed is None else extrinsic.signed.account
    return ExtrinsicDocument(
        to_hex(extrinsic.hash),
        None if signer is None else ss58.encode(signer),
        f"{call.pallet}.{call.name}",
        {
            name.rstrip("_"): show_value(hint, value)
            for (name, hint), value in zip(hints, call.arguments, strict=True)
        },
    )


def _check_genesis(spec: ChainSpec, genesis_hash: Hash, source: str) -> None:
    expected = spec.build().hash
    if expected != genesis_hash:
        refuse(
            f"The blocks of {source} are of the chain {to_hex(genesis_hash)}, the spec "
            f"{spec.id!r} is {to_hex(expected)}. Name the right spec with --chain."
        )


def _block_id(text: str | None) -> Hash | int | None:
    from node.commands.base.command import hash_of

    if text is None:
        return None
    if text.isascii() and text.isdigit():
        number = int(text)
        return number if number < BLOCKS_MAX else refuse(f"There is no block {text}.")
    block_hash: Hash = hash_of(text)
    return block_hash


def _blocks(genesis: Hash, count: int, last: Hash | None, file: Path | None) -> BlocksDocument:
    return BlocksDocument(
        genesis_hash=to_hex(genesis),
        blocks=count,
        last_hash=None if last is None else to_hex(last),
        file=None if file is None else str(file),
    )
