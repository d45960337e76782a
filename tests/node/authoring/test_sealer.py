"""Blocks on demand."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.authoring.sealer import AuthorSealer, SealingRefusedError
from runtime.types.primitives import Hash
from tests.node.support.small_node import run, small_node


def test_a_block_is_made_when_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            sealer = AuthorSealer(node.author, node.chain, node.pool)
            genesis = node.chain.genesis_hash
            with pytest.raises(SealingRefusedError, match="empty"):
                await sealer.create_block(create_empty=False, finalize=True, parent=None)
            first = await sealer.create_block(create_empty=True, finalize=True, parent=genesis)
            assert node.chain.finalized.hash == first
            node.pool.submit(node.sign())
            second = await sealer.create_block(create_empty=False, finalize=False, parent=None)
            assert len(node.chain.body(second) or ()) == 2
            with pytest.raises(SealingRefusedError, match="best block"):
                await sealer.create_block(create_empty=True, finalize=True, parent=genesis)

    run(scenario)


def test_a_block_of_the_chain_is_final_already(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            sealer = AuthorSealer(node.author, node.chain, node.pool)
            executed = await node.author.seal()
            await sealer.finalize_block(executed.hash, None)
            with pytest.raises(SealingRefusedError, match="not on the chain"):
                await sealer.finalize_block(Hash(b"?" * 32), None)

    run(scenario)
