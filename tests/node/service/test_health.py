"""The health of real parts: disk, database, author and consensus tell the truth on /health."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from node.operations.health import ProblemKind
from node.service.health import BEHIND_BLOCKS_MAX, NodeHealth
from node.service.networking import Networking
from node.storage import leveldb
from node.storage.errors import DatabaseDamagedError
from tests.node.rpc.support.node_under_test import Drive, NodeUnderTest
from tests.node.storage.test_disk_space import disk_of
from tests.node.support.seat import Seat, seated
from tests.node.support.small_node import run


async def health_of(node: NodeUnderTest) -> httpx.Response:
    async with httpx.AsyncClient(base_url=node.http_url) as client:
        return await client.get("/health")


def test_a_full_disk_is_unready_until_there_is_room(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        assert (await health_of(node)).status_code == 200
        with monkeypatch.context() as full:
            full.setattr(os, "statvfs", disk_of(1 << 40, 0))
            answer = await health_of(node)
            assert (answer.status_code, answer.json()["status"]) == (503, "disk")
            assert "goes on by itself" in answer.json()["problems"][0]["sentence"]
        answer = await health_of(node)
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")
        assert answer.json()["problems"] == []

    drive(scenario)


def test_an_author_that_halted_is_unready(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        node.author.halt_reason = "The disk broke."
        answer = await health_of(node)
        assert (answer.status_code, answer.json()["status"]) == (503, "sealing")

    drive(scenario)


def test_a_write_that_failed_and_damage_that_was_read_are_unready(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        reader = node.chain.database._reader

        class Damaged:
            def get(self, *_: object, **__: object) -> bytes:
                raise leveldb.plyvel.CorruptionError(b"checksum mismatch")

        with monkeypatch.context() as damage:
            damage.setattr(reader, "source", Damaged())
            with pytest.raises(DatabaseDamagedError):
                reader.get(b"anything")
        answer = await health_of(node)
        assert (answer.status_code, answer.json()["status"]) == (503, "database")
        assert "Restore a backup" in answer.json()["problems"][0]["sentence"]

    drive(scenario)


def networked(made: Seat, *, is_syncing: bool = False, highest: int = 0) -> NodeHealth:
    synchronizer = SimpleNamespace(is_syncing=is_syncing, highest_block=highest)
    networking = SimpleNamespace(
        chain=made.chain, participant=made.participant, synchronizer=synchronizer
    )
    author = cast(Any, SimpleNamespace(halt_reason=""))
    return NodeHealth(made.chain.database, author, cast(Networking, networking))


def test_finality_that_stands_a_log_that_is_not_written_and_a_lag_are_problems(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=None) as made:
            assert networked(made).problems() == []
            assert networked(made, is_syncing=True, highest=BEHIND_BLOCKS_MAX).problems() == []
            behind = networked(made, is_syncing=True, highest=BEHIND_BLOCKS_MAX + 1).problems()
            assert [problem.kind for problem in behind] == [ProblemKind.SYNC]
            made.participant.faults.log_failure = "No space left on device"
            made.participant.faults.signing_failure = "The signer does not answer."
            made.participant._final_at -= 100
            found = networked(made).problems()
            assert [problem.kind for problem in found] == [
                ProblemKind.DISK,
                ProblemKind.SIGNING,
                ProblemKind.FINALITY,
            ]
            assert "The log of consensus takes no write: No space left" in found[0].sentence
            assert "No vote is signed: The signer does not answer." in found[1].sentence
            assert "Finality stands" in found[2].sentence

    run(scenario)
