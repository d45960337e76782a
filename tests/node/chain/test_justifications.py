"""Blocks of a chain with validators are imported if certificates prove them, and not otherwise."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from genesis.devnet import devnet_spec, validator_uri
from genesis.spec import ChainSpec
from node.chain.chain import Chain
from node.chain.justifications import FinalityCheck, JustificationError, authorities_in
from node.client import Block, Client
from node.commands.chain.block_file import DamagedBlockFileError, ExportedBlock, replay
from node.commands.chain.chain import _fetch
from node.commands.chain.importing import import_into
from node.storage.database import Database
from pallets import compose
from runtime.codec.scale import codec
from runtime.crypto.keys import Keypair
from runtime.frame.executive import Executive
from runtime.shared.finality import (
    ENGINE,
    Ballot,
    Certificate,
    Claim,
    Kind,
    payload,
)
from runtime.trie.backend import MemoryBackend
from runtime.types.primitives import Hash, PreRuntime

VALIDATORS, EPOCH_BLOCKS, BLOCKS = 4, 3, 7
PAIRS = [Keypair.from_uri(validator_uri(index)) for index in range(VALIDATORS)]
CERTIFICATE = codec(Certificate)


@functools.cache
def spec() -> ChainSpec:
    return devnet_spec(VALIDATORS, epoch_blocks=EPOCH_BLOCKS)


@functools.cache
def certified() -> tuple[ExportedBlock, ...]:
    """Blocks of two epochs and one more, each with its certificate."""
    executive, genesis, state = Executive(compose()), spec().build(), MemoryBackend()
    state.apply(genesis.changes, genesis.nodes)
    parent, blocks = genesis.header, []
    for number in range(1, BLOCKS + 1):
        stamp = executive.machine.call("Timestamp", "set", now=10**12 + number)
        inherents = (executive.machine.extrinsics.inherent(stamp),)
        epoch, view = divmod(number - 1, EPOCH_BLOCKS)
        claim = codec(Claim).encode(Claim(epoch, view + 1, Hash(bytes(32))))
        logs = (PreRuntime(ENGINE, claim),)
        executed = executive.build(state, parent, logs, inherents, ())
        state.apply(executed.changes, executed.nodes)
        parent = executed.header
        ballot = Ballot(epoch, view + 1, Kind.FINALIZE, executed.hash)
        blocks.append(ExportedBlock(parent, executed.extrinsics, sign(ballot)))
    return tuple(blocks)


def sign(ballot: Ballot, voters: int = VALIDATORS, genesis: Hash | None = None) -> bytes:
    """Let the first validators sign a ballot, each under its index in the set."""
    domain = payload(genesis or spec().build().hash, ballot)
    by_key = sorted(PAIRS, key=lambda pair: order().index(pair.account))
    votes = tuple((index, pair.sign(domain)) for index, pair in enumerate(by_key[:voters]))
    return CERTIFICATE.encode(Certificate(ballot, votes))


@functools.cache
def order() -> list[bytes]:
    """The session keys of the genesis set, in its order."""
    state, genesis = MemoryBackend(), spec().build()
    state.apply(genesis.changes, genesis.nodes)
    return [bytes(one.key) for one in authorities_in(compose(), state).authorities]


def imported(folder: Path, blocks: tuple[ExportedBlock, ...]) -> tuple[int, Hash]:
    return import_into(spec(), folder, Path("blocks"), iter(blocks), lambda done: None)


def test_certified_blocks_are_imported_with_their_certificates(tmp_path: Path) -> None:
    blocks = certified()
    assert imported(tmp_path, blocks) == (BLOCKS, blocks[-1].header.hash)
    with Database.open(tmp_path / "db") as database:
        chain = Chain(spec(), database)
        for block in blocks:
            assert chain.justification(block.header.hash) == block.justification
    assert imported(tmp_path, blocks)[0] == 0
    assert replay(spec(), blocks, lambda done: None) == blocks[-1].header


def test_a_certificate_proves_the_blocks_before_it_in_its_epoch(tmp_path: Path) -> None:
    blocks = tuple(
        replace(block, justification=None if block.header.number in (1, 2, 4) else proof)
        for block in certified()
        for proof in (block.justification,)
    )
    assert imported(tmp_path, blocks)[0] == BLOCKS


@dataclass
class FakeClient:
    """Answers with blocks as a node does."""

    blocks: tuple[ExportedBlock, ...]

    def block(self, number: int) -> Block:
        found = self.blocks[number - 1]
        return Block(found.header, (), found.justification)


@pytest.mark.parametrize(
    ("certificates", "last", "exported"),
    [((3, 6), 4, 6), ((3, 6), 3, 3), ((3,), 5, BLOCKS), ((), 5, 5), ((6,), 2, 2)],
)
def test_an_export_goes_on_to_a_certified_block(
    certificates: tuple[int, ...], last: int, exported: int
) -> None:
    blocks = tuple(
        block if block.header.number in certificates else replace(block, justification=None)
        for block in certified()
    )
    found = list(_fetch(cast(Client, FakeClient(blocks)), last, BLOCKS))
    assert [block.header.number for block in found] == list(range(1, exported + 1))
    assert [block.justification for block in found] == [
        block.justification for block in blocks[:exported]
    ]


def without(height: int) -> Callable[[ExportedBlock], ExportedBlock]:
    return lambda block: (
        replace(block, justification=None) if block.header.number == height else block
    )


def test_a_missing_certificate_is_refused_with_the_height_and_what_was_final_stays(
    tmp_path: Path,
) -> None:
    for name, height, final in (("boundary", EPOCH_BLOCKS, 2), ("last", BLOCKS, BLOCKS - 1)):
        folder = tmp_path / name
        with pytest.raises(DamagedBlockFileError, match=f"Block {height} has no certificate"):
            imported(folder, tuple(map(without(height), certified())))
        with Database.open(folder / "db") as database:
            assert Chain(spec(), database).finalized.number == final
        with pytest.raises(JustificationError, match=f"Block {height} "):
            replay(spec(), map(without(height), certified()), lambda done: None)


def forgeries() -> list[tuple[str, bytes]]:
    """Certificates for block 5 that prove nothing, and what is said of them."""
    block = certified()[4]
    good = CERTIFICATE.decode(block.justification or b"")
    ballot, votes = good.ballot, good.votes
    broken = (votes[0][0], bytes(64))
    return [
        ("no quorum", sign(ballot, 2)),
        ("signature of voter 0", CERTIFICATE.encode(replace(good, votes=(broken, *votes[1:])))),
        ("ascending", CERTIFICATE.encode(replace(good, votes=votes[::-1]))),
        ("does not finalize", sign(replace(ballot, kind=Kind.NOTARIZE))),
        ("does not finalize", certified()[3].justification or b""),
        ("is of epoch 0", sign(replace(ballot, epoch=0))),
        ("signature", sign(ballot, genesis=Hash(b"x" * 32))),
        ("", b"?"),
        ("", b""),
    ]


@pytest.mark.parametrize("case", range(9))
def test_a_forged_certificate_is_refused_with_the_height(tmp_path: Path, case: int) -> None:
    words, forged = forgeries()[case]
    blocks = list(certified())
    blocks[4] = replace(blocks[4], justification=forged)
    with pytest.raises(DamagedBlockFileError, match=rf"block 5 proves nothing: .*{words}"):
        imported(tmp_path, tuple(blocks))
    with Database.open(tmp_path / "db") as database:
        assert Chain(spec(), database).finalized.number == 4


def test_a_lone_authors_blocks_need_no_certificates_on_a_development_chain_alone() -> None:
    claimed = certified()[0].header
    lone = replace(claimed, digest=type(claimed.digest)(()))
    machine, genesis, state = compose(), spec().build(), MemoryBackend()
    state.apply(genesis.changes, genesis.nodes)
    authorities = authorities_in(machine, state)
    nobody = replace(authorities, authorities=())
    for chain_type, is_final in (("Development", True), ("Local", False), ("Live", False)):
        check = FinalityCheck(genesis.hash, chain_type)
        assert check.take(lone, None, authorities) is is_final
        assert FinalityCheck(genesis.hash, chain_type).take(lone, None, nobody)
        claimed_check = FinalityCheck(genesis.hash, chain_type)
        assert not claimed_check.take(claimed, None, authorities)
        assert not claimed_check.take(lone, None, authorities)
