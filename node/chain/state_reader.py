"""Typed reads of finalized state from any thread: the pallets' own storage items and APIs.

A reader has a machine of its own and a lock around it, so it never meets block execution.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from node.chain.chain import Chain
from pallets import compose
from pallets.attribution import Attribution
from pallets.datanets import Datanets
from pallets.inference import Inference
from pallets.jobs import Jobs
from pallets.models import Models
from runtime.frame.state import Overlay
from runtime.types.primitives import Hash


@dataclass(frozen=True, slots=True)
class Ledgers:
    """The pallets that node services read, over one state."""

    datanets: Datanets
    models: Models
    jobs: Jobs
    attribution: Attribution
    inference: Inference


class Reader:
    """Reads the state after a block."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._machine = compose()
        self._lock = threading.Lock()
        pallets = self._machine.pallets
        self._ledgers = Ledgers(
            cast(Datanets, pallets["Datanets"]),
            cast(Models, pallets["Models"]),
            cast(Jobs, pallets["Jobs"]),
            cast(Attribution, pallets["Attribution"]),
            cast(Inference, pallets["Inference"]),
        )

    @contextmanager
    def at(self, block_hash: Hash | None = None) -> Iterator[Ledgers]:
        """Read the state after a block, the last finalized one by default. Do not await inside."""
        backend = self._chain.state(block_hash or self._chain.finalized.hash)
        with self._lock, self._machine.on(Overlay(backend)):
            yield self._ledgers
