"""The outbox: frames go out in order, when they are due, and never more than its maximum wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
import trio.testing

from p2p.service.outbox import BYTES_MAX, FRAMES_MAX, WRITE_SIZE, Outbox


def drive(scenario: Callable[[], Awaitable[None]]) -> None:
    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


def test_waiting_frames_go_out_in_one_write() -> None:
    async def scenario() -> None:
        outbox, now = Outbox(), trio.current_time()
        assert all(outbox.put(frame, now) for frame in (b"a", b"b", b"c"))
        assert await outbox.take() == [b"a", b"b", b"c"]
        assert len(outbox) == 0

    drive(scenario)


def test_a_frame_waits_until_it_is_due_and_those_behind_it_wait_too() -> None:
    async def scenario() -> None:
        outbox, began = Outbox(), trio.current_time()
        outbox.put(b"late", began + 2)
        outbox.put(b"later", began + 3)
        assert await outbox.take() == [b"late"]
        assert trio.current_time() == began + 2
        assert await outbox.take() == [b"later"]

    drive(scenario)


def test_an_empty_outbox_waits_for_a_frame() -> None:
    async def scenario() -> None:
        outbox = Outbox()
        taken: list[bytes] = []

        async def take() -> None:
            taken.extend(await outbox.take())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await trio.testing.wait_all_tasks_blocked()
            outbox.put(b"first", trio.current_time())
        assert taken == [b"first"]

    drive(scenario)


def test_a_write_ends_once_it_is_large() -> None:
    async def scenario() -> None:
        outbox, now = Outbox(), trio.current_time()
        for frame in (bytes(WRITE_SIZE - 1), b"x", b"y"):
            outbox.put(frame, now)
        assert [len(frame) for frame in await outbox.take()] == [WRITE_SIZE - 1, 1]
        assert await outbox.take() == [b"y"]

    drive(scenario)


def test_frames_and_bytes_have_their_maximum_and_no_more() -> None:
    async def scenario() -> None:
        outbox, now = Outbox(), trio.current_time()
        assert all(outbox.put(b"", now) for _ in range(FRAMES_MAX))
        assert not outbox.put(b"", now)
        full = Outbox()
        assert full.put(bytes(BYTES_MAX), now)
        assert full.put(b"", now)
        assert not full.put(b"x", now)
        await full.take()
        assert full.put(b"x", now), "what is taken makes room"

    drive(scenario)
