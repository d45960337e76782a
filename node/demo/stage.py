"""The means of the demo's story: a client, where its lines go, transactions that must succeed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node.client import Client, Finalized, RejectedError, Wait
from runtime.crypto.keys import KeyKind, Keypair

PrintLine = Callable[[str], None]

WAIT_SECONDS: Final = 900.0
POLL_SECONDS: Final = 0.5
BANK: Final = Keypair.from_uri("//Ferdie")
OWNER: Final = Keypair.from_uri("//Grace")
ASKER: Final = Keypair.from_uri("//Zoe", KeyKind.SR25519)


class StoryFailedError(Exception):
    """A step did not end as the story needs; the message says which and why."""


@dataclass(frozen=True, slots=True)
class StoryStage:
    """A node's client, clients of other nodes that may compute its jobs, where lines go, and the
    folder of the asker's books."""

    client: Client
    print_line: PrintLine
    others: Sequence[Client]
    keys_folder: Path

    def send(
        self, pair: Keypair, pallet: str, name: str, /, *, may_fail: bool = False, **arguments: Any
    ) -> Finalized:
        """Sign and send a call, and wait until it is final. Raises StoryFailedError."""
        call = self.client.make_call(pallet, name, **arguments)
        try:
            included = self.client.submit(self.client.sign(call, pair), Wait.FINAL)
        except RejectedError as error:
            raise StoryFailedError(f"{pallet}.{name} was refused: {error}") from error
        assert isinstance(included, Finalized), "waited for finality"
        if included.error is not None and not may_fail:
            raise StoryFailedError(f"{pallet}.{name} failed: {included.error}")
        return included


def event_of(included: Finalized, name: str) -> Any:
    """Return the event of this name that a transaction emitted. Raises StoryFailedError."""
    for record in included.events:
        if type(record.event).__name__ == name:
            return record.event
    raise StoryFailedError(f"The transaction has no event {name}.")
