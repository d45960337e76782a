"""Typed reads of states, from any thread: the pallets' own storage items and runtime APIs.

A reader has a machine of its own and a lock around it, so it never meets block execution. Readers
on the event loop have a reader of their own, so that no worker thread makes them wait.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from node.chain.chain import Chain
from pallets import compose
from pallets.attribution import Attribution
from pallets.datanets import Datanets
from pallets.inference import Inference
from pallets.jobs import Jobs
from pallets.models import Models
from pallets.offences import Offences
from pallets.randomness import Randomness
from pallets.session import Session
from pallets.system import System
from pallets.timestamp import Timestamp
from runtime.frame.machine import Machine
from runtime.frame.state import Overlay
from runtime.types.primitives import Hash


@dataclass(frozen=True, slots=True)
class PalletViews:
    """The pallets that a node reads, over one state."""

    system: System
    timestamp: Timestamp
    session: Session
    offences: Offences
    randomness: Randomness
    datanets: Datanets
    models: Models
    jobs: Jobs
    attribution: Attribution
    inference: Inference

    @classmethod
    def of(cls, machine: Machine) -> PalletViews:
        """Return the pallets of a machine; they read the state that it is on."""
        return cls(
            system=machine.pallet(System),
            timestamp=machine.pallet(Timestamp),
            session=machine.pallet(Session),
            offences=machine.pallet(Offences),
            randomness=machine.pallet(Randomness),
            datanets=machine.pallet(Datanets),
            models=machine.pallet(Models),
            jobs=machine.pallet(Jobs),
            attribution=machine.pallet(Attribution),
            inference=machine.pallet(Inference),
        )


class StateReader:
    """Reads the states after blocks of one chain."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._machine = compose()
        self._lock = threading.Lock()
        self._pallets = PalletViews.of(self._machine)

    @contextmanager
    def at(self, block_hash: Hash | None = None) -> Iterator[PalletViews]:
        """Read the state after a block, the last finalized one by default. Do not await inside.

        Raises UnknownBlockError or StatePrunedError.
        """
        backend = self._chain.state(block_hash or self._chain.finalized.hash)
        with self._lock, self._machine.on(Overlay(backend)):
            yield self._pallets
