"""The built-in engine: peft's tokens, many adapters in a batch, and nothing held after the end."""

import dataclasses
from contextlib import aclosing

import pytest
import trio
import trio.testing

from ml.adapters.validation import AdapterRefusedError
from ml.engine.builtin import BuiltinEngine
from ml.engine.interface import (
    AdapterExistsError,
    AdapterInUseError,
    AdapterUnknownError,
    EngineClosedError,
    FinishReason,
    GenerationRequest,
    QueueFullError,
    RequestDuplicateError,
    RequestInvalidError,
)
from runtime.shared.receipts import Sampling
from tests.ml.engine.support.tiny import (
    RANKS,
    adapter_file,
    expected_tokens,
    recipe_of,
    record_of,
    running_engine,
    tiny_base,
)

PROMPTS = [(5, 9, 2), (1,), (7, 7, 7, 30, 41, 60, 3), (88, 12)]


def ask(number, **changes):
    request = GenerationRequest(f"request {number}", PROMPTS[number % len(PROMPTS)], 12)
    return dataclasses.replace(request, **changes)


async def record_answer(engine, request):
    async with aclosing(engine.generate(request)) as events:
        return record_of(request, [event async for event in events])


async def record_answers(engine, requests):
    records = {}

    async def record_one(request):
        records[request.request_id] = await record_answer(engine, request)

    async with trio.open_nursery() as nursery:
        for request in requests:
            nursery.start_soon(record_one, request)
    return [records[request.request_id] for request in requests]


def run(test):
    trio.run(test)


def test_a_mixed_batch_has_the_tokens_of_peft_for_each_adapter():
    names = [None, *RANKS]

    async def test():
        requests = [
            ask(at, adapter=names[at % len(names)], max_tokens=6 + at % 7) for at in range(15)
        ]
        async with running_engine() as engine:
            records = await record_answers(engine, requests)
            assert engine.statistics().steps < 40
        for request, record in zip(requests, records, strict=True):
            expected = expected_tokens(request.adapter, request.prompt_tokens, request.max_tokens)
            assert record.tokens == expected, request
            assert record.finish_reason is FinishReason.LENGTH
            assert all(value <= 0 for value in record.log_probabilities)

    run(test)


def test_answers_join_a_batch_that_is_under_way():
    async def test():
        async with running_engine() as engine:
            long = ask(0, adapter="first", max_tokens=60)
            async with aclosing(engine.generate(long)) as events:
                tokens = [(await anext(events)).token for _ in range(3)]
                record = await record_answer(engine, ask(1, adapter="second"))
                tokens += [event.token async for event in events]
        assert tuple(tokens) == expected_tokens("first", long.prompt_tokens, 60)
        assert record.tokens == expected_tokens("second", PROMPTS[1], 12)

    run(test)


def test_a_stop_token_ends_an_answer_and_is_not_part_of_it():
    plain = expected_tokens("first", PROMPTS[0], 12)
    stop = plain[-1]

    async def test():
        async with running_engine() as engine:
            record = await record_answer(engine, ask(0, adapter="first", stop_tokens=(stop,)))
        assert record.finish_reason is FinishReason.STOP
        assert record.tokens == plain[: plain.index(stop)]

    run(test)


def test_no_token_is_chosen_that_the_tokenizer_cannot_spell():
    async def test():
        async with running_engine() as engine:
            record = await record_answer(engine, ask(0, adapter="first", vocabulary=7))
        assert len(record.tokens) == 12
        assert max(record.tokens) < 7 <= max(expected_tokens("first", PROMPTS[0], 12))

    run(test)


def test_sampling_depends_on_the_seed_and_not_on_the_neighbours():
    async def test():
        drawn = ask(0, adapter="first", sampling=Sampling(1_000, 900, 11))
        async with running_engine() as engine:
            alone = await record_answer(engine, drawn)
            neighbours = [ask(at, adapter="second", max_tokens=9) for at in range(1, 5)]
            together = (await record_answers(engine, [*neighbours, drawn]))[-1]
            other = await record_answer(
                engine, dataclasses.replace(drawn, sampling=Sampling(1_000, 900, 12))
            )
        assert alone.tokens == together.tokens
        assert alone.tokens != other.tokens

    run(test)


def test_adapters_share_slots_and_the_least_recently_used_one_goes():
    async def test():
        async with running_engine(slots=1, lanes=4) as engine:
            # "first" and "second" have the same bucket, so they take turns in its one slot.
            requests = [ask(at, adapter=("first", "second")[at % 2]) for at in range(6)]
            records = await record_answers(engine, requests)
            statistics = engine.statistics()
        assert statistics.adapters_resident == 1
        assert statistics.adapter_evictions >= 1
        assert statistics.adapter_loads == statistics.adapter_evictions + 1
        for request, record in zip(requests, records, strict=True):
            assert record.tokens == expected_tokens(request.adapter, request.prompt_tokens, 12)

    run(test)


def test_a_reader_that_goes_away_frees_lane_and_adapter():
    async def test():
        async with running_engine(lanes=1) as engine:
            async with aclosing(engine.generate(ask(0, adapter="first", max_tokens=100))) as events:
                await anext(events)
            record = await record_answer(engine, ask(1, adapter="second"))
            assert record.tokens == expected_tokens("second", PROMPTS[1], 12)
            await engine.unregister("first")
            assert engine.statistics().requests_aborted == 1

    run(test)


def test_a_cancelled_reader_frees_its_place_in_the_queue():
    async def test():
        async with (
            running_engine(lanes=1) as engine,
            aclosing(engine.generate(ask(0, max_tokens=100))) as events,
        ):
            await anext(events)
            with trio.move_on_after(0):
                await record_answer(engine, ask(1))
            assert engine.statistics().waiting == 0

    run(test)


def test_an_aborted_answer_says_so():
    async def test():
        async with running_engine() as engine:
            request = ask(0, max_tokens=100)
            async with aclosing(engine.generate(request)) as events:
                seen = [await anext(events)]
                engine.abort(request.request_id)
                engine.abort("unknown")
                seen += [event async for event in events]
            record = record_of(request, seen)
        assert record.finish_reason is FinishReason.ABORTED
        assert record.tokens == expected_tokens(None, PROMPTS[0], 100)[: len(record.tokens)]

    run(test)


def test_a_full_queue_refuses():
    async def test():
        async with (
            running_engine(lanes=1, waiting=1) as engine,
            aclosing(engine.generate(ask(0, max_tokens=100))) as first,
            trio.open_nursery() as nursery,
        ):
            await anext(first)
            nursery.start_soon(record_answer, engine, ask(1))
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(QueueFullError):
                await record_answer(engine, ask(2))
            await first.aclose()

    run(test)


def test_closing_ends_every_answer_and_refuses_new_ones():
    async def test():
        async with running_engine() as engine:
            events = engine.generate(ask(0, max_tokens=100))
            await anext(events)
            await engine.close()
            assert [event async for event in events][-1].finish_reason is FinishReason.ABORTED
            assert engine.statistics().running == 0
            with pytest.raises(EngineClosedError):
                await record_answer(engine, ask(1))

    run(test)


def test_an_engine_that_was_not_started_refuses():
    async def test():
        with pytest.raises(EngineClosedError):
            await record_answer(BuiltinEngine(tiny_base()), ask(0))

    run(test)


def test_adapters_are_registered_once_and_leave_when_unused():
    async def test():
        async with running_engine(("first",)) as engine:
            assert engine.adapters() == ("first",)
            with pytest.raises(AdapterExistsError):
                await engine.register("first", adapter_file("first"), recipe_of("first"))
            with pytest.raises(AdapterRefusedError):
                await engine.register("bad", adapter_file("first")[:-1], recipe_of("first"))
            with pytest.raises(AdapterUnknownError):
                await record_answer(engine, ask(0, adapter="second"))
            async with aclosing(engine.generate(ask(0, adapter="first"))) as events:
                await anext(events)
                with pytest.raises(AdapterInUseError):
                    await engine.unregister("first")
            await engine.unregister("first")
            with pytest.raises(AdapterUnknownError):
                await engine.unregister("first")

    run(test)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt_tokens": ()},
        {"prompt_tokens": (1000,)},
        {"max_tokens": 0},
        {"max_tokens": 127},
        {"sampling": Sampling(2_001, 1_000, 0)},
        {"sampling": Sampling(1_000, 0, 0)},
        {"sampling": Sampling(1_000, 1_001, 0)},
        {"stop_tokens": tuple(range(17))},
    ],
)
def test_a_request_outside_the_limits_is_refused(changes):
    async def test():
        async with running_engine(()) as engine:
            with pytest.raises(RequestInvalidError):
                await record_answer(engine, ask(0, **changes))

    run(test)


def test_a_request_id_is_used_once_at_a_time():
    async def test():
        async with running_engine(()) as engine, aclosing(engine.generate(ask(0))) as events:
            await anext(events)
            with pytest.raises(RequestDuplicateError):
                await record_answer(engine, ask(0))

    run(test)
