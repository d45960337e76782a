"""The composed runtime: dispatch by origin, events undone with state, calls as bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pallets import PALLETS, VERSION
from pallets.system import System
from pallets.utility import Utility
from runtime.codec.scale import DecodeError, EncodeError
from runtime.frame.dispatch import (
    INHERENT,
    ROOT,
    BadOrigin,
    Call,
    DispatchClass,
    DispatchFailed,
    Error,
    Origin,
)
from runtime.frame.events import ApplyExtrinsic, Finalization, Initialization
from runtime.frame.machine import CALL_DEPTH_MAX, Machine, UnknownCallError
from runtime.frame.state import Overlay
from runtime.trie.backend import MemoryBackend
from runtime.types.primitives import AccountId, Id
from tests.runtime.support.blocks import ALICE, BOB, machine

WHO = Origin.signed(AccountId(ALICE.account))


@pytest.fixture
def composed() -> Machine:
    return machine()


def remark(composed: Machine, text: bytes = b"hello") -> Call:
    return composed.call("System", "remark_with_event", remark=text)


def nested(composed: Machine, depth: int) -> Call:
    call = remark(composed)
    for _ in range(depth):
        call = Call("Utility", "batch", ((call,),))
    return call


def test_every_call_has_a_name_of_its_own_and_every_pallet_an_index() -> None:
    indices = [pallet.index for pallet in PALLETS]
    assert len(set(indices)) == len(indices)
    assert list(machine().pallets) == [pallet.name for pallet in PALLETS]


def test_a_pallet_is_used_once() -> None:
    with pytest.raises(AssertionError, match="twice"):
        Machine((System, System), VERSION)


def test_a_missing_pallet_that_another_needs_is_told_when_composing() -> None:
    from pallets.balances import Balances

    with pytest.raises(AssertionError, match="needs the pallet"):
        Machine((Balances,), VERSION)


def test_unknown_calls_and_arguments_are_refused(composed: Machine) -> None:
    with pytest.raises(UnknownCallError, match=r"System\.remake"):
        composed.call("System", "remake")
    with pytest.raises(TypeError, match=r"takes \(remark\)"):
        composed.call("System", "remark", text=b"")
    with pytest.raises(EncodeError):
        composed.call_codec.encode(Call("System", "remake", ()))


@pytest.mark.parametrize(
    ("pallet", "name", "arguments", "wrong"),
    [
        ("System", "remark", (b"",), (ROOT, INHERENT)),
        ("Timestamp", "set", (1,), (ROOT, WHO)),
        ("Models", "allow_base", None, (INHERENT, WHO)),
    ],
)
def test_a_call_takes_its_own_kind_of_origin_alone(
    composed: Machine, pallet: str, name: str, arguments: Any, wrong: tuple[Origin, ...]
) -> None:
    if arguments is None:
        roots = [
            (each.name, spec)
            for each in composed.pallets.values()
            for spec in each.call_specs.values()
            if spec.origin.__name__ == "Root"
        ]
        pallet, spec = roots[0]
        name, arguments = spec.name, tuple(None for _ in spec.arguments)
    for origin in wrong:
        with composed.on(Overlay(MemoryBackend())), pytest.raises(DispatchFailed) as failed:
            composed.dispatch(Call(pallet, name, arguments), origin)
        assert failed.value.error == BadOrigin()


def test_events_are_undone_with_the_transaction(composed: Machine) -> None:
    with composed.on(Overlay(MemoryBackend())):
        composed.begin_extrinsic(3)
        composed.dispatch(remark(composed), WHO)
        with pytest.raises(Error), composed.transaction():  # noqa: PT012
            composed.dispatch(remark(composed, b"undone"), WHO)
            raise System.CallFiltered
        composed.begin_finalization()
        assert [record.phase for record in composed.records] == [ApplyExtrinsic(3)]
        assert isinstance(composed.phase, Finalization)
    with composed.on(Overlay(MemoryBackend())):
        assert list(composed.records) == []
        assert type(composed.phase).__name__ == Initialization.__name__


def test_a_machine_executes_one_thing_at_a_time(composed: Machine) -> None:
    overlay = Overlay(MemoryBackend())
    with (
        composed.on(overlay),
        pytest.raises(AssertionError, match="already"),
        composed.on(overlay),
    ):
        pass
    with pytest.raises(AssertionError, match="no state"):
        _ = composed.overlay


def test_a_machine_is_free_again_after_an_error(composed: Machine) -> None:
    with pytest.raises(RuntimeError), composed.on(Overlay(MemoryBackend())):
        raise RuntimeError
    with composed.on(Overlay(MemoryBackend())):
        pass


def test_calls_nest_up_to_a_depth(composed: Machine) -> None:
    codec = composed.call_codec
    raw = codec.encode(remark(composed))
    for _ in range(200):
        raw = b"\x01\x00\x04" + raw
    with pytest.raises(DecodeError, match="deep"):
        codec.decode(raw)
    depth = 4
    assert codec.decode(codec.encode(nested(composed, depth))) == nested(composed, depth)
    assert depth < CALL_DEPTH_MAX


def test_the_deepest_call_that_decodes_can_be_dispatched(composed: Machine) -> None:
    codec, depth = composed.call_codec, 0
    while True:
        try:
            codec.decode(codec.encode(nested(composed, depth + 1)))
        except DecodeError:
            break
        depth += 1
    assert depth >= 4
    call = nested(composed, depth)
    assert composed.weight_of(call).ref_time > 0
    with composed.on(Overlay(MemoryBackend())), composed.transaction():
        composed.dispatch(call, WHO)
        names = [type(record.event).__name__ for record in composed.records]
    assert "Remarked" in names


@given(st.binary(max_size=60))
def test_garbage_is_no_call(garbage: bytes) -> None:
    try:
        call = machine().call_codec.decode(garbage)
    except DecodeError:
        return
    assert machine().call_codec.encode(call) == garbage


def test_a_transfer_has_the_bytes_that_clients_send(composed: Machine) -> None:
    dest = Id(AccountId(BOB.account))
    call = composed.call("Balances", "transfer_keep_alive", dest=dest, value=12345)
    assert composed.call_codec.encode(call).hex() == f"050300{BOB.account.hex()}e5c0"


def test_classes_of_calls(composed: Machine) -> None:
    stamp = composed.call("Timestamp", "set", now=1)
    assert composed.class_of(stamp) is DispatchClass.Mandatory
    assert composed.class_of(remark(composed)) is DispatchClass.Normal


def test_the_weight_of_a_batch_is_the_sum_of_its_calls(composed: Machine) -> None:
    one = composed.weight_of(Call("Utility", "batch", ((remark(composed),),)))
    three = composed.weight_of(Call("Utility", "batch", ((remark(composed),) * 3,)))
    assert three.ref_time > one.ref_time
    assert Utility.index == 1
