"""Broadcasts: everyone gets everything, who lags is cut off, nobody waits."""

from __future__ import annotations

import logging

import pytest
import trio

from node.chain.broadcast import Broadcast
from tests.node.support.small_node import run


def test_every_subscriber_receives_every_value() -> None:
    async def scenario() -> None:
        news: Broadcast[int] = Broadcast("news")
        async with news.subscribe() as one, news.subscribe() as two:
            assert len(news) == 2
            for value in range(3):
                news.publish(value)
            news.close()
            assert [value async for value in one] == [0, 1, 2]
            assert [value async for value in two] == [0, 1, 2]
        assert len(news) == 0

    run(scenario)


def test_a_subscriber_that_lags_is_cut_off_and_the_others_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        news: Broadcast[int] = Broadcast("news", backlog_max=2)
        async with news.subscribe() as slow, news.subscribe() as quick:
            for value in range(4):
                news.publish(value)
                assert await quick.receive() == value
            assert [value async for value in slow] == [0, 1]
            assert len(news) == 1

    with caplog.at_level(logging.WARNING):
        run(scenario)
    assert "subscriber-dropped channel=news reason=lagging" in caplog.text


def test_a_subscriber_that_left_hears_nothing() -> None:
    async def scenario() -> None:
        news: Broadcast[int] = Broadcast("news")
        async with news.subscribe() as gone:
            await gone.aclose()
            news.publish(1)
            assert len(news) == 0
        async with news.subscribe() as late:
            news.publish(2)
            assert await late.receive() == 2
            with pytest.raises(trio.WouldBlock):
                late.receive_nowait()

    run(scenario)
