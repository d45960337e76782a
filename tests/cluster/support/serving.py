"""A served model on a cluster: trained and published, asked by vouchers, its epochs closed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from node.client import Client
from node.client.answer_events import Answer
from node.client.asker_ledger import AskerLedger
from node.client.promises import sign_promise
from pallets.attribution.records import Epoch, EpochState
from runtime.crypto.keys import Keypair
from runtime.shared.documents import DatanetVersion, Recipe, Train
from runtime.types.primitives import OPEN, AccountId, Hash, Id
from tests.story.support.steps import publish_rows, rows_of, send, until

OWNER: Final = Keypair.from_uri("//Bob")
ASKER: Final = Keypair.from_uri("//Charlie")
ASKER_ID: Final = AccountId(ASKER.account)
RECIPE: Final = Recipe(
    learning_rate_nano=5_000_000, epochs=1, max_tokens=48, rank=4, warmup_steps=1
)
MODEL: Final = 0
ANSWER_TOKENS: Final = 12


def publish_model(client: Client, rows: int) -> None:
    """Bring rows, a trained and indexed model onto the chain, and let everybody ask it."""
    publish_rows(client, rows_of("json", "random", "shutil", "textwrap")[:rows], OWNER)
    base, version = client.entries("Models", "bases")[0][0], (DatanetVersion(0, 1),)
    rates = {"rate_in_planck": OPEN, "rate_out_planck": OPEN}
    send(client, "Models", "create", OWNER, name="model", base=base, datanets=version, **rates)
    send(client, "Jobs", "submit", OWNER, spec=Train(MODEL, base, version, RECIPE))

    def indexed() -> Any:
        latest = client.query("Models", "records", MODEL, at=client.finalized_hash()).latest
        return None if latest is None or latest.index_job is None else latest

    until(lambda: indexed() is not None, "training and sketching")
    adapter = indexed().trained.adapter
    send(client, "Models", "publish", OWNER, model=MODEL, adapter=adapter)


class Customer:
    """An asker with one channel to a server, whose books lie in a folder."""

    def __init__(self, client: Client, server: AccountId, folder: Path) -> None:
        self.server = server
        self._books = AskerLedger(folder, client.genesis_hash, ASKER_ID)
        landed = send(
            client,
            "Inference",
            "open_channel",
            ASKER,
            model=MODEL,
            server=Id(server),
            deposit=1_000 * OPEN,
        )
        [opened] = [r.event for r in landed.events if type(r.event).__name__ == "ChannelOpened"]
        self.channel = int(opened.channel)  # type: ignore[attr-defined]
        self._books.begin(self.channel, server, MODEL)

    def ask(self, client: Client, question: str) -> Hash:
        """Pay for an answer of the server that a client is connected to; returns the receipt."""
        book = self._books.get(self.channel)
        assert book is not None, "begun"
        promise = sign_promise(
            client,
            ASKER,
            number=self.channel,
            channel=client.api("InferenceApi_channel", self.channel),
            book=book,
            question=question,
            max_tokens=ANSWER_TOKENS,
            may_draw=False,
        )
        self._books.promise(self.channel, promise)
        messages = [{"role": "user", "content": question}]
        pieces = client.serving.chat(
            "model",
            messages,
            promise.signed,
            promise.salt,
            max_tokens=ANSWER_TOKENS,
        )
        [answer] = [piece for piece in pieces if isinstance(piece, Answer)]
        assert answer.receipt is not None, "a paid answer has a receipt"
        self._books.settle(self.channel, client.serving.receipt(answer.receipt).signed)
        return answer.receipt

    def ask_all(self, client: Client, questions: Sequence[str]) -> None:
        """Ask one question after another."""
        for question in questions:
            self.ask(client, question)


def epoch_of(client: Client, server: AccountId, number: int) -> Epoch | None:
    """Return a closed epoch as it is final."""
    final = client.finalized_hash()
    found: Epoch | None = client.query("Attribution", "epochs", MODEL, server, number, at=final)
    return found


def has_ended(client: Client, server: AccountId, number: int) -> bool:
    """Return whether an epoch is settled or its server convicted."""
    epoch = epoch_of(client, server, number)
    return epoch is not None and epoch.state in (EpochState.Settled, EpochState.Convicted)
