"""The events of a block, with the phase in which they happened."""

from __future__ import annotations

import enum
from typing import Annotated

from runtime.codec.scale import Enumeration, scale, u32
from runtime.codec.shape import Outer, rust
from runtime.frame.dispatch import Call, DispatchClass
from runtime.frame.pallet import Event
from runtime.types.primitives import Hash, Weight

RuntimeEvent = Annotated[Event, Outer("event")]
"""An event of any pallet of the composed runtime."""

RuntimeCall = Annotated[Call, Outer("call")]
"""A call of any pallet of the composed runtime."""


@rust("frame_system::Phase", bare=True)
class Phase(Enumeration):
    """When in the block something happened (frame_system::Phase)."""


class ApplyExtrinsic(Phase, index=0):
    """While the extrinsic with this index was applied."""

    index: u32


class Finalization(Phase, index=1):
    """After the extrinsics."""


class Initialization(Phase, index=2):
    """Before the extrinsics."""


@rust("frame_system::EventRecord", E=RuntimeEvent, T=Hash)
@scale
class EventRecord:
    """An event, when it happened, and topics (unused here)."""

    phase: Phase
    event: RuntimeEvent
    topics: tuple[Hash, ...] = ()


@rust("frame_support::dispatch::Pays")
class Pays(enum.IntEnum):
    """Whether a dispatch pays a fee."""

    Yes = 0
    No = 1


@rust("frame_support::dispatch::DispatchInfo")
@scale
class DispatchInfo:
    """Weight and class of a dispatched call (frame_support::dispatch::DispatchInfo)."""

    weight: Weight
    class_: DispatchClass
    pays_fee: Pays
