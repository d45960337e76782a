"""Owners, contributors and strangers: asking oneself, splitting or copying rows, meddling."""

from __future__ import annotations

from typing import Final

from benchmarks.market.answers import Question, as_sketch
from benchmarks.market.parties import Party
from benchmarks.market.servers import Server
from benchmarks.market.strategies.serving import FRIEND, SERVER, OwnAsker
from benchmarks.market.strategies.strategy import SCORING, Strategy
from benchmarks.market.terms import MODEL
from benchmarks.market.world import World, aggregates_of
from runtime.shared.documents import ContributorAggregate
from runtime.types.primitives import ZERO_HASH, AccountId

SPLIT: Final = "sybil1"
COPIED: Final = "contributor1"
STRANGER: Final = "stranger"


class AsksItself(OwnAsker):
    """Asks an honest server for its own rows, word for word."""

    def ask_perhaps(self) -> None:
        """Ask a question that the own rows have all to do with."""
        dice = self.world.dice(self.name, str(self.block))
        question = Question(
            f"{self.name}/{self.block}",
            dice.randint(10, 60),
            dice.randint(20, 240),
            as_sketch(list(self.world.psi[FRIEND])),
        )
        server = self.world.parties[SERVER]
        assert isinstance(server, Server), "servers serve"
        self.world.lies += 1
        self.ask(server, question)


class Meddles(Party):
    """Calls whatever anybody may call, as early as it can."""

    def act(self) -> None:
        """Try everything."""
        servers = [self.world.parties[name].account for name in self.world.servers]
        for server in servers:
            self.meddle_with(server)
        for number, _ in list(self.chain.inference.channels.items()):
            for name in ("finish_close", "remove_channel", "take_back", "close_channel"):
                self.chain.attempt(self.account, "Inference", name, channel=number)
        for party in list(self.world.parties.values()):
            self.chain.attempt(self.account, "Attribution", "claim_for", account=party.account)
        self.world.lies += 1

    def meddle_with(self, server: AccountId) -> None:
        """Sweep a server's pool, close an epoch of it, report it."""
        self.chain.attempt(self.account, "Attribution", "sweep_pool", model=MODEL, server=server)
        ledger = self.chain.attribution.pool(MODEL, server)
        self.chain.attempt(
            self.account,
            "Attribution",
            "close_epoch",
            model=MODEL,
            receipts_root=ZERO_HASH,
            receipts=1,
            fees_planck=ledger.redeemed_planck,
            missing_planck=0,
            receipts_blob=ZERO_HASH,
        )
        if ledger.settling is not None:
            record = self.chain.attribution.epoch(MODEL, server, ledger.settling)
            assert record is not None, "the epoch being settled exists"
            for attempt in range(2):
                self.chain.attempt(
                    self.account, "Attribution", "report_withheld", job=record.job, attempt=attempt
                )


def split_rows(world: World) -> tuple[ContributorAggregate, ...]:
    """Return the rows with those of one contributor spread over two accounts."""
    dice, psi = world.dice("split"), dict(world.psi)
    part = tuple(value // 2 + dice.randint(-500, 500) for value in psi[FRIEND])
    psi[SPLIT] = tuple(whole - own for whole, own in zip(psi[FRIEND], part, strict=True))
    psi[FRIEND] = part
    return aggregates_of(psi)


def copied_rows(world: World) -> tuple[ContributorAggregate, ...]:
    """Return the rows with those of one contributor copied from another."""
    return aggregates_of(world.psi | {FRIEND: world.psi[COPIED]})


STRATEGIES: Final = (
    Strategy(
        "self-asker",
        "The owner of model and rows asks for its own rows.",
        ("owner", FRIEND, "sybil0"),
        {"sybil0": AsksItself},
    ),
    Strategy(
        "splitter",
        "A contributor spreads its rows over two accounts.",
        (FRIEND, SPLIT),
        rows=split_rows,
        mark=SCORING,
    ),
    Strategy(
        "row copier",
        "A contributor copies the rows of another one.",
        (FRIEND,),
        rows=copied_rows,
        mark=SCORING,
    ),
    Strategy(
        "meddler",
        "A stranger closes epochs, sweeps pools, removes channels, takes back.",
        (STRANGER,),
        {STRANGER: Meddles},
    ),
)
