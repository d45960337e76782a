"""Pallet declarations: what is wrong in one fails at import, with the place."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from runtime.codec.shape import ShapeError
from runtime.frame.dispatch import Error, ModuleError, Root, Signed
from runtime.frame.pallet import Pallet, weight
from runtime.types.primitives import AccountId, Weight

HEAD = """
from __future__ import annotations
from runtime.frame.dispatch import Error, Inherent, Root, Signed
from runtime.frame.pallet import Const, Event, Needs, Pallet, api, call, weight
from runtime.types.primitives import AccountId
from runtime.codec.scale import u8, u32, scale
from runtime.frame.storage import DefaultMap, Hasher, Map, OptionalValue, Value, default, stored
class Other: ...
"""
GOOD = '''
class Counter(Pallet, index=9):
    """Counts."""
    step: Const[u32] = 1
    count: Value[u32] = default(0)
    owner: OptionalValue[AccountId]
    by_owner: Map[tuple[u32, AccountId], u32] = stored(Hasher.TWOX_64_CONCAT, Hasher.IDENTITY)
    other_pallet: Needs[Other]
    class Counted(Event, index=0):
        """The count went up."""
        count: u32
    class TooHigh(Error, index=3):
        """The count is at its maximum; reset it first."""
    @call(4, weight(50, reads=1, writes=1))
    def increase(self, caller: Signed, by: u32) -> None:
        """Add `by` to the count."""
    @call(5, weight(1), operational=True)
    def reset(self, caller: Root) -> None:
        """Set the count to zero."""
    @api("CounterApi", version=2)
    def total(self, start: u32) -> u32 | None:
        """Return the total."""
'''
_numbers = itertools.count()


@pytest.fixture
def modules() -> Iterator[list[str]]:
    made: list[str] = []
    yield made
    for name in made:
        del sys.modules[name]


def declare(modules: list[str], source: str) -> type[Pallet]:
    name = f"declared_{next(_numbers)}"
    module = types.ModuleType(name)
    sys.modules[name] = module
    modules.append(name)
    exec(HEAD + source, vars(module))
    declared: type[Pallet] = vars(module)["Counter"]
    return declared


def test_a_declaration_tells_everything_that_is_needed(modules: list[str]) -> None:
    counter = declare(modules, GOOD)
    assert (counter.name, counter.index) == ("Counter", 9)
    assert list(counter.item_specs) == ["count", "owner", "by_owner"]
    assert counter.item_specs["by_owner"].name == "ByOwner"
    assert [value for _, value in counter.constant_values.values()] == [1]
    assert counter.needed == {"other_pallet": "OtherPallet"}
    assert list(counter.event_types) == [0]
    assert list(counter.error_types) == [3]
    increase, reset = counter.call_specs[4], counter.call_specs[5]
    assert (increase.origin, reset.origin) == (Signed, Root)
    assert [name for name, _ in increase.arguments] == ["by"]
    assert increase.documentation == "Add `by` to the count."
    assert (increase.operational, reset.operational) == (False, True)
    (answer,) = counter.api_specs
    assert (answer.trait, answer.version, answer.name) == ("CounterApi", 2, "total")
    failure: Any = counter.error_types[3]()
    assert failure.error == ModuleError(9, b"\3\0\0\0")
    assert str(failure) == "The count is at its maximum; reset it first."


MISTAKES = {
    "a pallet without docstring": ('    """Counts."""\n', "", "what it is for"),
    "a pallet index of two bytes": ("index=9", "index=256", "one byte"),
    "an event without docstring": ('        """The count went up."""\n', "", "what happened"),
    "an error without docstring": (
        '"""The count is at its maximum; reset it first."""',
        "pass",
        "sentence",
    ),
    "a call without docstring": ('"""Add `by` to the count."""', "pass", "what it does"),
    "an API without docstring": ('"""Return the total."""', "pass", "what it answers"),
    "an API without return type": ("start: u32) -> u32 | None", "start: u32)", "return type"),
    "an operational call of accounts without a check": (
        "@call(4, weight(50, reads=1, writes=1))",
        "@call(4, weight(1), operational=True)",
        "needs a check",
    ),
    "two calls of one index": ("@call(5,", "@call(4,", "used twice"),
    "a call index of two bytes": ("@call(5,", "@call(256,", "one byte"),
    "an error index of two bytes": ("Error, index=3", "Error, index=256", "one byte"),
    "an event index of two bytes": ("Event, index=0", "Event, index=256", "one byte"),
    "a call without origin": ("caller: Signed, by: u32", "by: u32", "origin"),
    "a call without parameters": ("self, caller: Root", "self", "origin"),
    "an argument without type": ("by: u32", "by", "without a type"),
    "an argument of an unknown type": ("by: u32", "by: dict", "no SCALE encoding"),
    "an argument of a bare int": ("by: u32", "by: int", "no SCALE encoding"),
    "a float argument": ("by: u32", "by: float", "no SCALE encoding"),
    "a stored type without encoding": ("Value[u32]", "Value[dict]", "Counter.count"),
    "a key without encoding": ("u32, AccountId], u32]", "u32, float], u32]", "Counter.by_owner"),
    "a constant without encoding": ("Const[u32]", "Const[float]", "Counter.step"),
    "an event field without encoding": ("        count: u32", "        count: dict", "encoding"),
    "an API answer without encoding": ("-> u32 | None", "-> dict", "Counter.total"),
    "a hasher too few": ("Hasher.TWOX_64_CONCAT, ", "", "one hasher for each key"),
    "a value without default": ("Value[u32] = default(0)", "Value[u32]", "needs a default"),
    "an optional value with default": (
        "owner: OptionalValue[AccountId]",
        "owner: OptionalValue[u32] = default(1)",
        "has no default",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_declaration_fails_at_import(modules: list[str], mistake: str) -> None:
    right, wrong, reason = MISTAKES[mistake]
    assert right in GOOD
    with pytest.raises((AssertionError, ShapeError), match=reason):
        declare(modules, GOOD.replace(right, wrong, 1))


@pytest.mark.parametrize(
    "member",
    [
        'class Again(Event, index=0):\n        """Again."""',
        'class Again(Error, index=3):\n        """Again."""',
    ],
)
def test_two_events_or_errors_of_one_index_fail_at_import(modules: list[str], member: str) -> None:
    with pytest.raises(AssertionError, match="used twice"):
        declare(modules, f"{GOOD}    {member}\n")


def test_an_unknown_name_fails_at_import(modules: list[str]) -> None:
    with pytest.raises(NameError):
        declare(modules, GOOD.replace("by: u32", "by: u33"))


def test_an_error_outside_of_a_pallet_has_no_encoding() -> None:
    class Lost(Error, index=1):
        """Nobody declares this."""

    with pytest.raises(AssertionError, match="outside of a pallet"):
        _ = Lost().error


def test_costs_add_up() -> None:
    assert weight(3) == Weight(3_000_000, 0)
    assert weight(0, reads=2, writes=1) == Weight(150_000_000, 384)
    assert AccountId(bytes(32)) == bytes(32)


def test_a_pallet_inherits_the_errors_of_a_plain_class(modules: list[str]) -> None:
    refusals = """
class Refusals:
    class TooLow(Error, index=7):
        \"\"\"The count is at its minimum; increase it first.\"\"\"

"""
    source = refusals + GOOD.replace("class Counter(Pallet", "class Counter(Refusals, Pallet")
    counter = declare(modules, source)
    assert sorted(counter.error_types) == [3, 7]
    failure: Any = counter.error_types[7]()
    assert failure.error == ModuleError(9, b"\7\0\0\0")
