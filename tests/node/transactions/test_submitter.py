"""The node's own transactions: valid on every branch, waiting until one of them has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from node.transactions.submitter import ERA_BLOCKS, FULL_BLOCKS, Submitter
from runtime.frame.machine import Machine
from runtime.types.primitives import Hash
from tests.node.support.small_node import ALICE, SmallNode, run, small_node


def drive(folder: Path, scenario: Callable[[SmallNode, Submitter], Any]) -> None:
    async def main() -> None:
        async with small_node(folder) as node:
            await scenario(node, Submitter(node.chain, node.pool, ALICE))

    run(main)


def remark(submitter: Submitter) -> Hash:
    return submitter.submit("System", "remark", remark=b"")


def heartbeat(submitter: Submitter) -> Hash:
    """Send an operational call, whether it succeeds now or not."""
    with patch.object(Machine, "check_call"):
        return submitter.submit("Jobs", "heartbeat")


def test_a_transaction_outlives_the_branch_on_which_it_was_signed(tmp_path: Path) -> None:
    async def scenario(node: SmallNode, submitter: Submitter) -> None:
        left = node.grow(node.chain.genesis_hash, [b"a", b"b", b"c"])
        assert node.chain.best.hash == left[-1].hash
        found = remark(submitter)
        (raw,) = node.pool.pending()
        with_it = node.fork(left[-1].hash, b"d", raw)
        node.take(with_it)
        assert not node.pool.pending()
        right = node.grow(node.chain.genesis_hash, [b"%d" % number for number in range(5)])
        assert node.chain.best.hash == right[-1].hash
        assert node.pool.pending() == [raw], "it waits again"
        assert submitter.rebroadcast(found)
        node.take(node.fork(right[-1].hash, b"e", raw))
        assert node.chain.nonce(submitter.account) == 1
        assert not submitter.rebroadcast(found)

    drive(tmp_path, scenario)


def test_a_transaction_lives_for_half_an_era_however_far_finality_lags(tmp_path: Path) -> None:
    async def scenario(node: SmallNode, submitter: Submitter) -> None:
        node.grow(node.chain.genesis_hash, [b"%d" % number for number in range(ERA_BLOCKS + 6)])
        remark(submitter)
        (raw,) = node.pool.pending()
        (extrinsic,) = node.decode(raw)
        assert extrinsic.signed is not None
        best = node.chain.best.number
        assert extrinsic.signed.extra.era.death(best) == best + ERA_BLOCKS // 2

    drive(tmp_path, scenario)


def test_offering_again_tells_whoever_listens(tmp_path: Path) -> None:
    async def scenario(node: SmallNode, submitter: Submitter) -> None:
        heard: list[bytes] = []
        node.pool.on_accepted.append(heard.append)
        found = remark(submitter)
        assert submitter.rebroadcast(found)
        assert heard == node.pool.pending() * 2
        assert not submitter.rebroadcast(node.chain.genesis_hash)

    drive(tmp_path, scenario)


def pass_full_blocks(node: SmallNode) -> None:
    node.grow(node.chain.best.hash, [b"%d" % number for number in range(FULL_BLOCKS)])


def test_what_has_a_deadline_takes_nobodys_place_while_blocks_have_room(tmp_path: Path) -> None:
    async def scenario(node: SmallNode, submitter: Submitter) -> None:
        first, urgent = remark(submitter), heartbeat(submitter)
        assert list(node.pool.waiting(submitter.account).values()) == [first, urgent]
        assert submitter.rebroadcast(urgent)
        pass_full_blocks(node)
        assert not submitter.rebroadcast(urgent), "it is held up, and has to be sent anew"
        again = heartbeat(submitter)
        assert list(node.pool.waiting(submitter.account).values()) == [again, urgent]
        assert submitter.rebroadcast(again)

    drive(tmp_path, scenario)


def test_what_has_a_deadline_does_not_wait_behind_what_has_none(tmp_path: Path) -> None:
    async def scenario(node: SmallNode, submitter: Submitter) -> None:
        first, second = remark(submitter), remark(submitter)
        pass_full_blocks(node)
        urgent = heartbeat(submitter)
        waiting = list(node.pool.waiting(submitter.account).values())
        assert waiting == [urgent, second], "it took the place of the first"
        assert not submitter.rebroadcast(first)
        again = remark(submitter)
        assert list(node.pool.waiting(submitter.account).values()) == [urgent, second, again]

    drive(tmp_path, scenario)


def test_what_somebody_else_sent_by_the_same_key_is_not_replaced(tmp_path: Path) -> None:
    async def scenario(node: SmallNode, submitter: Submitter) -> None:
        of_its_operator = remark(Submitter(node.chain, node.pool, ALICE))
        pass_full_blocks(node)
        urgent = heartbeat(submitter)
        assert list(node.pool.waiting(submitter.account).values()) == [of_its_operator, urgent]

    drive(tmp_path, scenario)
