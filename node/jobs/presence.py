"""What this node's executor says of itself on chain: that it lives, its bases, its reader key.

A heartbeat goes out where the last sign of life is old, for a silent executor is not drawn. The
chain draws it for jobs of the bases that it declares and encrypts texts for the key that it
declares; where the chain has something else than this machine, the node corrects it by itself, and
is not drawn for `age_blocks` then. The profile needs the operator, because it is part of the
registration, and so does a reader key that is lost: another one is made only where the chain has
none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ml.base.content import content_hash
from ml.train.profile import native_profile
from node.chain.chain import Chain
from node.chain.state_reader import StateReader
from node.keys.reader_key import (
    ReaderKeyMissingError,
    load_reader_key,
    make_reader_key,
    public_reader_key,
)
from node.transactions.errors import PoolError
from node.transactions.submitter import RESEND_BLOCKS, Submitter
from pallets.jobs.registry import Executor
from runtime.errors import OpenLedgerError
from runtime.types.primitives import ZERO_HASH, Hash

HEARTBEATS: Final = 3
"""Signs of life in the time in which the chain wants one, so that some may get lost."""

logger = logging.getLogger(__name__)


class Presence:
    """Keeps the record of this node's executor true."""

    def __init__(
        self,
        chain: Chain,
        reader: StateReader,
        submitter: Submitter,
        folder: Path,
        base_model: str = "",
        threads: int = 1,
    ) -> None:
        self._chain = chain
        self._reader = reader
        self._submitter = submitter
        self._folder = folder
        self._base_model = base_model
        self.profile = Hash(native_profile(threads).id)
        self.bases: tuple[Hash, ...] | None = None
        self.reader: Hash | None = None
        """None until `learn` has read them."""
        self._missing_reader: ReaderKeyMissingError | None = None
        self._sent: dict[str, int] = {}
        """The final height at which a call was last sent, by its name."""
        self._is_warned = False

    def learn(self) -> None:
        """Read what this machine has: slow, for the whole base is hashed."""
        try:
            self.bases = (Hash(content_hash(self._base_model or None)),)
        except (OpenLedgerError, OSError) as error:
            logger.error("base-unreadable reason=%r", str(error))
            self.bases = ()
        try:
            self.reader = public_reader_key(load_reader_key(self._folder))
        except ReaderKeyMissingError as error:
            self._missing_reader = error
        except (OpenLedgerError, OSError) as error:
            # Jobs go on that need no texts, and settlements are declined.
            logger.error("reader-key-unreadable reason=%r", str(error))

    def why_not(self, base: Hash | None, profile: Hash | None) -> str:
        """Return why this machine cannot do a job of a base in a profile; empty where it can."""
        if self.bases is not None and base not in self.bases:
            named = "no base" if base is None else f"the base {base.hex()}"
            return f"The job needs {named}, which is not on this machine."
        if profile not in (None, ZERO_HASH, self.profile):
            return f"The profile of this machine is {self.profile.hex()}, not the registered one."
        return ""

    def show(self) -> None:
        """Send what the record of this node's executor lacks, each call at most now and then."""
        height = self._chain.finalized.number
        with self._reader.at() as state:
            record = state.jobs.registry.get(self._submitter.account)
            window = state.jobs.parameters.get().heartbeat_blocks
        if record is None or record.leaving_at is not None:
            return
        self._warn_of_profile(record)
        if self._missing_reader is not None:
            self._make_reader(record, self._missing_reader)
        for name, arguments in self._due(record, height, window):
            if height >= self._sent.get(name, -RESEND_BLOCKS) + RESEND_BLOCKS:
                self._sent[name] = height
                if name == "set_reader" and record.reader != ZERO_HASH:
                    logger.warning(
                        "reader-key-changed registered=%s machine=%s",
                        record.reader.hex(),
                        arguments["reader"].hex(),
                    )
                self._send(name, arguments)

    def _due(
        self, record: Executor, height: int, window: int
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        if self.bases is not None and record.bases != self.bases:
            yield "set_bases", {"bases": self.bases}
        if self.reader is not None and record.reader != self.reader:
            yield "set_reader", {"reader": self.reader}
        if window and height >= record.last_seen + max(1, window // HEARTBEATS):
            yield "heartbeat", {}

    def _send(self, name: str, arguments: dict[str, Any]) -> None:
        try:
            self._submitter.submit("Jobs", name, **arguments)
        except PoolError as error:
            logger.warning("%s-refused reason=%r", name.replace("_", "-"), str(error))

    def _make_reader(self, record: Executor, missing: ReaderKeyMissingError) -> None:
        """Make the reader key that an executor without one on chain still lacks."""
        self._missing_reader = None
        if record.reader != ZERO_HASH:
            logger.error("reader-key-unreadable reason=%r", str(missing))
            return
        try:
            self.reader = public_reader_key(make_reader_key(self._folder))
        except OSError as error:
            logger.error("reader-key-unwritable reason=%r", str(error))

    def _warn_of_profile(self, record: Executor) -> None:
        if record.profile in (ZERO_HASH, self.profile) or self._is_warned:
            return
        self._is_warned = True
        logger.error(
            "profile-differs registered=%s machine=%s action=decline "
            "help='register again with `openledger executor register`'",
            record.profile.hex(),
            self.profile.hex(),
        )
