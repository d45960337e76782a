"""A pallet: one class whose declarations give storage keys, dispatch, events, errors, codecs,
metadata, CLI commands and documentation.

    class Counter(Pallet, index=9):
        "Counts."
        step: Const[u32] = 1                              # in metadata as a constant
        "The number that one increase adds at most."      # its sentence in metadata
        count: Value[u32] = default(0)                    # storage
        "The sum of all increases."
        balances: Needs[Currency]                         # the pallet `Balances`, as this Protocol
        staking: Needs[Election | None] = None            # works without the pallet `Staking` too

        class Counted(Event, index=0):
            "The count went up."
            count: u32
        class TooHigh(Error, index=0):
            "The count is at its maximum; reset it first."

        @call(0, weights.COUNTER_INCREASE)                # pallets/weights.py
        def increase(self, caller: Signed, by: u32) -> None:
            "Add `by` to the count."

A long list of events or errors may stand in a plain class of its own that the pallet inherits.

Indices of pallets, calls, events and errors are part of the encoding: never reuse one. Mistakes in
a declaration (duplicate index, missing docstring, unknown type) fail at import. The sentences of
constants and storage are read from the source when metadata is made; tests find a missing one.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Annotated, Any, ClassVar, Final, TypeVar, dataclass_transform

from runtime.codec.scale import Codec
from runtime.codec.shape import ShapeError, shape_of, struct_shape
from runtime.frame.dispatch import (
    Call,
    CannotLookup,
    DispatchClass,
    DispatchFailed,
    Error,
    Inherent,
    Origin,
    Root,
    Signed,
)
from runtime.frame.state import Overlay
from runtime.frame.storage import Item, ItemSpec, item_spec
from runtime.types.primitives import AccountId, Address32, Id, MultiAddress, Weight

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

PICOSECONDS_PER_MICROSECOND: Final = 1_000_000
READ_WEIGHT: Final = Weight(25 * PICOSECONDS_PER_MICROSECOND, 128)
WRITE_WEIGHT: Final = Weight(100 * PICOSECONDS_PER_MICROSECOND, 128)

_CONSTANT, _NEEDED = "constant of a pallet", "another pallet"
Const = Annotated[T, _CONSTANT]
Needs = Annotated[T, _NEEDED]

WeightOf = Weight | Callable[..., Weight]


def weight(microseconds: int, reads: int = 0, writes: int = 0) -> Weight:
    """Return the weight of some computation plus storage accesses."""
    own = Weight(microseconds * PICOSECONDS_PER_MICROSECOND, 0)
    return own + READ_WEIGHT * reads + WRITE_WEIGHT * writes


@dataclass_transform(frozen_default=True)
class Event:
    """Base of the events that pallets declare: `class Created(Event, index=0): net: u32`."""

    event_index: ClassVar[int]

    def __init_subclass__(cls, index: int, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        assert cls.__doc__, f"{cls.__name__}: an event says what happened in its docstring"
        cls.event_index = index
        dataclasses.dataclass(frozen=True)(cls)


@dataclasses.dataclass(frozen=True, slots=True)
class CallSpec:
    """A declared call."""

    index: int
    name: str
    origin: type
    arguments: tuple[tuple[str, Any], ...]
    weight: WeightOf
    documentation: str
    operational: bool
    check: Callable[..., object] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ApiSpec:
    """A declared runtime API method; clients call it as `{trait}_{name}`."""

    trait: str
    version: int
    name: str
    arguments: tuple[tuple[str, Any], ...]
    returns: Any
    documentation: str


def call(
    index: int,
    weight: WeightOf,
    *,
    operational: bool = False,
    check: Callable[..., object] | None = None,
) -> Callable[[F], F]:
    """Declare a method as a call. `weight` may be a function of (pallet, *arguments).

    An operational call may use the room of a block that normal ones leave. So that nobody fills
    that room with calls that fail, `check`, a function of (pallet, who, *arguments), raises an
    Error for a call of `who` that cannot succeed now; such a transaction is in no block.
    """

    def mark(function: F) -> F:
        function._call = (index, weight, operational, check)  # type: ignore[attr-defined]
        return function

    return mark


def api(trait: str, version: int = 1) -> Callable[[F], F]:
    """Declare a method as part of a runtime API."""

    def mark(function: F) -> F:
        function._api = (trait, version)  # type: ignore[attr-defined]
        return function

    return mark


class Machine(typing.Protocol):
    """The part of a composed runtime that pallets use."""

    @property
    def overlay(self) -> Overlay: ...

    def deposit_event(self, event: Event) -> None: ...

    def codec(self, hint: Any) -> Codec[Any]: ...

    @property
    def pallets(self) -> Mapping[str, Pallet]: ...

    def weight_of(self, call: Call) -> Weight: ...

    def class_of(self, call: Call) -> DispatchClass: ...

    def dispatch(self, call: Call, origin: Origin) -> Weight | None: ...

    def transaction(self) -> AbstractContextManager[None]: ...


class Pallet:
    """Base of all pallets."""

    index: ClassVar[int]
    name: ClassVar[str]
    call_specs: ClassVar[dict[int, CallSpec]]
    event_types: ClassVar[dict[int, type[Event]]]
    error_types: ClassVar[dict[int, type[Error]]]
    item_specs: ClassVar[dict[str, ItemSpec]]
    constant_values: ClassVar[dict[str, tuple[Any, Any]]]
    api_specs: ClassVar[tuple[ApiSpec, ...]]
    needed: ClassVar[dict[str, str]]

    def __init_subclass__(cls, index: int, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.index, cls.name = index, cls.__name__
        _declare(cls)

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        for attribute, spec in self.item_specs.items():
            kind: type[Item] = spec.kind
            setattr(self, attribute, kind(spec, machine, machine.codec))

    def resolve(self) -> None:
        """Bind the pallets that this one needs, once all are made."""
        for attribute, name in self.needed.items():
            other = self._machine.pallets.get(name)
            is_optional = attribute in vars(type(self))
            assert other is not None or is_optional, f"{self.name} needs the pallet {name}"
            setattr(self, attribute, other)

    def emit(self, event: Event) -> None:
        """Deposit an event of this pallet."""
        self._machine.deposit_event(event)

    def lookup(self, address: MultiAddress) -> AccountId:
        """Resolve an address. Raises CannotLookup for kinds that this chain does not have."""
        if isinstance(address, Id):
            return address.account
        if isinstance(address, Address32):
            return AccountId(address.account)
        raise DispatchFailed(CannotLookup())

    # A pallet may override these. Hooks run in the order of the pallets in the runtime.

    def on_initialize(self) -> Weight:
        """Run before the extrinsics of a block; returns the weight used."""
        return Weight(0, 0)

    def on_finalize(self) -> None:
        """Run after the extrinsics of a block."""

    def check_invariants(self) -> None:
        """Assert what must always hold of this pallet's state; run after each block in tests."""


def _declare(cls: type[Pallet]) -> None:
    """Read the declarations of a pallet class. Raises AssertionError or ShapeError at import."""
    # Not inspect.getdoc: it would find the docstring of the base class.
    assert cls.__doc__, f"{cls.__name__}: a pallet says what it is for in its docstring"
    assert 0 <= cls.index < 256, f"{cls.__name__}: a pallet index is one byte"
    module = vars(sys.modules[cls.__module__])
    names = {**module, **vars(cls)}
    cls.item_specs, cls.constant_values, cls.needed = {}, {}, {}
    for attribute, raw in cls.__dict__.get("__annotations__", {}).items():
        hint = eval(raw, names) if isinstance(raw, str) else raw  # noqa: S307 - our own source
        extras = typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()
        spec = item_spec(cls.name, attribute, hint, vars(cls).get(attribute))
        if spec is not None:
            _check_encodable(cls, attribute, (*spec.keys, spec.value))
            cls.item_specs[attribute] = spec
        elif _CONSTANT in extras:
            _check_encodable(cls, attribute, (hint,))
            cls.constant_values[attribute] = (hint, getattr(cls, attribute))
        elif _NEEDED in extras:
            cls.needed[attribute] = attribute.title().replace("_", "")
    cls.event_types, cls.error_types = {}, {}
    for member in _members(cls):
        if isinstance(member, type) and issubclass(member, Event):
            _unique(cls, cls.event_types, member.event_index, member)
            struct_shape(member)
        elif isinstance(member, type) and issubclass(member, Error):
            _unique(cls, cls.error_types, member.index, member)
            member.pallet_index = cls.index
    cls.call_specs = {}
    apis = []
    for name, member in vars(cls).items():
        if hasattr(member, "_call"):
            number = member._call[0]
            spec_ = _call_spec(cls, name, member, names, member._call)
            _unique(cls, cls.call_specs, number, spec_)
        if hasattr(member, "_api"):
            apis.append(_api_spec(cls, name, member, names))
    cls.api_specs = tuple(apis)


def _members(cls: type[Pallet]) -> Iterator[Any]:
    """Yield what a pallet declares, and what the plain classes that it inherits declare for it."""
    for part in cls.__mro__:
        if part is cls or not (part is object or issubclass(part, Pallet)):
            yield from vars(part).values()


def _unique(cls: type[Pallet], table: dict[int, Any], index: int, member: Any) -> None:
    assert 0 <= index < 256, f"{cls.__name__}: index {index} does not fit one byte"
    assert index not in table, f"{cls.__name__}: index {index} is used twice"
    table[index] = member


def _check_encodable(cls: type[Pallet], name: str, hints: Iterable[Any]) -> None:
    for hint in hints:
        try:
            shape_of(hint)
        except ShapeError as error:
            raise ShapeError(f"{cls.__name__}.{name}: {error}") from error


def _call_spec(
    cls: type[Pallet],
    name: str,
    function: Any,
    names: dict[str, Any],
    declared: tuple[int, WeightOf, bool, Callable[..., object] | None],
) -> CallSpec:
    documentation = inspect.getdoc(function)
    assert documentation, f"{cls.__name__}.{name}: a call says what it does in its docstring"
    hints = typing.get_type_hints(function, localns=names, include_extras=True)
    parameters = list(inspect.signature(function).parameters)[1:]
    origin = hints.get(parameters[0]) if parameters else None
    assert origin in (Signed, Root, Inherent), f"{cls.__name__}.{name}: no origin parameter"
    untyped = [parameter for parameter in parameters if parameter not in hints]
    assert not untyped, f"{cls.__name__}.{name}: {', '.join(untyped)} without a type"
    arguments = tuple((parameter, hints[parameter]) for parameter in parameters[1:])
    _check_encodable(cls, name, (hint for _, hint in arguments))
    index, weight, operational, check = declared
    unguarded = operational and origin is Signed and check is None
    assert not unguarded, f"{cls.__name__}.{name}: an operational call of accounts needs a check"
    return CallSpec(index, name, origin, arguments, weight, documentation, operational, check)


def _api_spec(cls: type[Pallet], name: str, function: Any, names: dict[str, Any]) -> ApiSpec:
    documentation = inspect.getdoc(function)
    assert documentation, f"{cls.__name__}.{name}: an API says what it answers in its docstring"
    hints = typing.get_type_hints(function, localns=names, include_extras=True)
    assert "return" in hints, f"{cls.__name__}.{name}: an API has a return type"
    returns = hints.pop("return")
    arguments = tuple((parameter, hint) for parameter, hint in hints.items())
    answered = () if returns is type(None) else (returns,)
    _check_encodable(cls, name, (*(hint for _, hint in arguments), *answered))
    trait, version = function._api
    return ApiSpec(trait, version, name, arguments, returns, documentation)
