"""The composed runtime: pallets made from a tuple of classes, their codecs, and dispatch.

A machine executes one thing at a time over one current overlay (`with machine.on(overlay)`). It is
cheap to make; use one for each thread that executes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from runtime.codec.scale import Codec, DecodeError, EncodeError, compile_codec
from runtime.codec.shape import Field, Outer, Struct, shape_of, struct_shape
from runtime.frame.dispatch import (
    BadOrigin,
    Call,
    DispatchClass,
    DispatchFailed,
    Inherent,
    Origin,
    Root,
)
from runtime.frame.events import ApplyExtrinsic, EventRecord, Finalization, Initialization, Phase
from runtime.frame.extrinsic import ExtrinsicCodec
from runtime.frame.pallet import CallSpec, Event, Pallet
from runtime.frame.state import Overlay, Transaction
from runtime.types.era import ERA_CODEC
from runtime.types.primitives import AccountId, RuntimeVersion, Weight

P = TypeVar("P", bound=Pallet)

CALL_DEPTH_MAX: Final = 24


class UnknownCallError(LookupError):
    """No pallet of this runtime declares such a call."""


@dataclass(frozen=True, slots=True)
class BoundCall:
    """A declared call bound to its pallet and codecs."""

    pallet: Pallet
    spec: CallSpec
    function: Callable[..., Any]
    head: bytes
    write: Callable[[Any, Callable[[bytes], Any]], None]
    read: Callable[[bytes, int, int], tuple[Any, int]]


class Machine:
    """The runtime made of these pallets, in this order."""

    def __init__(self, pallets: Sequence[type[Pallet]], version: RuntimeVersion) -> None:
        self.version = version
        self._overlay: Overlay | None = None
        self._records: list[EventRecord] = []
        self.phase: Phase = Initialization()
        call_codec = Codec[Call](Outer("call"), self._write_call, self._read_call)
        event_codec = Codec[Event](Outer("event"), self._write_event, self._read_event)
        self.outer: dict[str, Codec[Any]] = {
            "call": call_codec,
            "event": event_codec,
            "era": ERA_CODEC,
        }
        self.call_codec = call_codec
        self.extrinsics = ExtrinsicCodec(call_codec, self.outer)
        self.outer["extrinsic"] = self.extrinsics.codec
        self._codecs: dict[Any, Codec[Any]] = {}
        self._pallets = {pallet.name: pallet(self) for pallet in pallets}
        indices = [pallet.index for pallet in pallets]
        assert len(set(indices)) == len(pallets) == len(self._pallets), "pallet used twice"
        for instance in self._pallets.values():
            instance.resolve()
        self._calls: dict[tuple[str, str], BoundCall] = {}
        self._calls_by_index: dict[tuple[int, int], BoundCall] = {}
        self._events: dict[tuple[int, int], tuple[type[Event], Any]] = {}
        self._event_writers: dict[type[Event], tuple[bytes, Any]] = {}
        for instance in self._pallets.values():
            self._bind(instance)

    # ------------------------------------------------------------------------- composition

    @property
    def pallets(self) -> Mapping[str, Pallet]:
        """The pallets by name, in order."""
        return self._pallets

    def codec(self, hint: Any) -> Codec[Any]:
        """Return the codec of a type hint, the runtime's own call and event included."""
        if hint not in self._codecs:
            self._codecs[hint] = compile_codec(shape_of(hint), self.outer)
        return self._codecs[hint]

    def _bind(self, pallet: Pallet) -> None:
        for spec in pallet.call_specs.values():
            fields = tuple(Field(name, shape_of(hint), hint) for name, hint in spec.arguments)
            arguments = compile_codec(Struct(_Arguments, fields), self.outer)
            bound = BoundCall(
                pallet,
                spec,
                getattr(pallet, spec.name),
                bytes((pallet.index, spec.index)),
                _argument_writer(fields, self.outer),
                arguments.read,
            )
            self._calls[pallet.name, spec.name] = bound
            self._calls_by_index[pallet.index, spec.index] = bound
        for index, event in pallet.event_types.items():
            codec = compile_codec(struct_shape(event), self.outer)
            head = bytes((pallet.index, index))
            self._events[pallet.index, index] = (event, codec.read)
            self._event_writers[event] = (head, codec.write)

    def call(self, pallet: str, name: str, /, **arguments: Any) -> Call:
        """Return a call with named arguments. Raises UnknownCallError or TypeError."""
        bound = self.bound(pallet, name)
        names = [argument for argument, _ in bound.spec.arguments]
        if set(names) != set(arguments):
            raise TypeError(f"{pallet}.{name} takes ({', '.join(names)})")
        return Call(pallet, name, tuple(arguments[argument] for argument in names))

    def bound(self, pallet: str, name: str) -> BoundCall:
        """Return the declaration of a call. Raises UnknownCallError."""
        bound = self._calls.get((pallet, name))
        if bound is None:
            raise UnknownCallError(f"this runtime has no call {pallet}.{name}")
        return bound

    def _write_call(self, call: Call, put: Callable[[bytes], Any]) -> None:
        bound = self._calls.get((call.pallet, call.name))
        if bound is None:
            raise EncodeError(f"this runtime has no call {call.pallet}.{call.name}")
        put(bound.head)
        bound.write(call.arguments, put)

    def _read_call(self, data: bytes, at: int, depth: int) -> tuple[Call, int]:
        if depth > CALL_DEPTH_MAX:
            raise DecodeError("calls are nested too deeply")
        bound = self._calls_by_index.get((data[at], data[at + 1]))
        if bound is None:
            raise DecodeError(f"no pallet has the call {data[at]}.{data[at + 1]}")
        arguments, end = bound.read(data, at + 2, depth + 1)
        return Call(bound.pallet.name, bound.spec.name, arguments), end

    def _write_event(self, event: Event, put: Callable[[bytes], Any]) -> None:
        head, write = self._event_writers[type(event)]
        put(head)
        write(event, put)

    def _read_event(self, data: bytes, at: int, depth: int) -> tuple[Event, int]:
        bound = self._events.get((data[at], data[at + 1]))
        if bound is None:
            raise DecodeError(f"no pallet has the event {data[at]}.{data[at + 1]}")
        value, end = bound[1](data, at + 2, depth + 1)
        return value, end

    # --------------------------------------------------------------------------- execution

    @property
    def overlay(self) -> Overlay:
        """The overlay of the block being executed."""
        assert self._overlay is not None, "no state: use `with machine.on(overlay)`"
        return self._overlay

    def pallet(self, cls: type[P]) -> P:
        """Return this runtime's pallet of a class; its items read the overlay of `on`."""
        pallet = self.pallets[cls.__name__]
        assert isinstance(pallet, cls), f"the runtime has another pallet of the name {cls.__name__}"
        return pallet

    @contextmanager
    def on(self, overlay: Overlay) -> Iterator[None]:
        """Execute over an overlay; events start empty. Not reentrant."""
        assert self._overlay is None, "this machine is executing already"
        self._overlay, self._records, self.phase = overlay, [], Initialization()
        try:
            yield
        finally:
            self._overlay = None

    @property
    def records(self) -> Sequence[EventRecord]:
        """The events of the block so far."""
        return self._records

    def deposit_event(self, event: Event) -> None:
        """Record an event in the current phase; undone with the transaction it happened in."""
        self._records.append(EventRecord(self.phase, event))

    def transaction(self) -> Transaction:
        """Undo state and events of the body when it raises."""
        return self.overlay.transaction(self._records)

    def begin_extrinsic(self, index: int) -> None:
        """Enter the phase of an extrinsic."""
        self.phase = ApplyExtrinsic(index)

    def begin_finalization(self) -> None:
        """Enter the phase after the extrinsics."""
        self.phase = Finalization()

    def weight_of(self, call: Call) -> Weight:
        """Return the declared weight of a call with its arguments."""
        bound = self.bound(call.pallet, call.name)
        weight = bound.spec.weight
        return weight if isinstance(weight, Weight) else weight(bound.pallet, *call.arguments)

    def class_of(self, call: Call) -> DispatchClass:
        """Return the dispatch class of a call."""
        spec = self.bound(call.pallet, call.name).spec
        if spec.origin is Inherent:
            return DispatchClass.Mandatory
        return DispatchClass.Operational if spec.operational else DispatchClass.Normal

    def check_call(self, call: Call, account: AccountId) -> None:
        """Refuse an operational call that cannot succeed now, before it is in a block.

        Raises DispatchFailed or an Error of the pallet.
        """
        bound = self.bound(call.pallet, call.name)
        if bound.spec.operational and bound.spec.origin is Root:
            raise DispatchFailed(BadOrigin())
        if bound.spec.check is not None:
            bound.spec.check(bound.pallet, account, *call.arguments)

    def is_inherent(self, call: bytes) -> bool:
        """Return whether an encoded call is an inherent, by its first two bytes."""
        bound = self._calls_by_index.get((call[0], call[1])) if len(call) >= 2 else None
        return bound is not None and bound.spec.origin is Inherent

    def dispatch(self, call: Call, origin: Origin) -> Weight | None:
        """Run a call in the current transaction; returns its actual weight if it has one.

        Raises DispatchFailed or an Error of the pallet.
        """
        bound = self.bound(call.pallet, call.name)
        required = bound.spec.origin
        if required is Root:
            allowed, who = origin.root, None
        elif required is Inherent:
            allowed, who = origin.account is None and not origin.root, None
        else:
            allowed, who = origin.account is not None, origin.account
        if not allowed:
            raise DispatchFailed(BadOrigin())
        actual: Weight | None = bound.function(who or required(), *call.arguments)
        return actual


def _Arguments(*values: Any) -> tuple[Any, ...]:  # noqa: N802 - stands in for a struct's class
    return values


def _argument_writer(
    fields: tuple[Field, ...], outer: Mapping[str, Codec[Any]]
) -> Callable[[Any, Callable[[bytes], Any]], None]:
    writers = tuple(compile_codec(field.shape, outer).write for field in fields)

    def write(arguments: Any, put: Callable[[bytes], Any]) -> None:
        for writer, argument in zip(writers, arguments, strict=True):
            writer(argument, put)

    return write
