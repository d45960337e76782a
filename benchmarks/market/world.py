"""One world: a chain, its parties, and the truth that the chain does not know.

The seed decides who asks what and when, who is down, which executors are drawn; the strategy
decides which parties lie. Two worlds of one seed differ in nothing but that.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final

from benchmarks.market import terms
from benchmarks.market.answers import Question, as_sketch
from benchmarks.market.askers import Asker
from benchmarks.market.chain import Chain
from benchmarks.market.contributors import Contributor
from benchmarks.market.executors import Executor
from benchmarks.market.keys import account
from benchmarks.market.parties import Party
from benchmarks.market.servers import LeavingServer, Server
from benchmarks.market.settling import EpochFile, Settlement, channel_ranges, settle_epoch
from benchmarks.market.strategies.strategy import Strategy
from ml.attribution.epoch_files import IndexInput
from pallets.balances import HoldReason
from pallets.jobs.job import Job
from pallets.models import Deployment, Model, Training
from pallets.models.records import CREATION_DEPOSIT
from pallets.names import name_key
from runtime.shared.documents import (
    ContributorAggregate,
    Indexed,
    Recipe,
    Settle,
    Trained,
)
from runtime.types.primitives import ZERO_HASH, AccountId, Hash

OWNER: Final = "owner"
STRANGER: Final = "stranger"
ASKERS: Final = tuple(f"asker{number}" for number in range(4))
CONTRIBUTORS: Final = tuple(f"contributor{number}" for number in range(5))
SYBILS: Final = ("sybil0", "sybil1")
SERVERS_MAX: Final = 3
EXECUTORS_MIN: Final = 5
EXECUTORS_MAX: Final = 7
PSI_MAX: Final = 4_000
MODEL_NAME: Final = "market model"

Indexes = Mapping[int, tuple[IndexInput, tuple[ContributorAggregate, ...]]]


class World:
    """A market under one seed, in which the parties of a strategy lie."""

    def __init__(self, seed: int, strategy: Strategy) -> None:
        self.seed = seed
        self.strategy = strategy
        self.contributors = CONTRIBUTORS
        self.servers = tuple(f"server{number}" for number in range(SERVERS_MAX - seed % 2))
        count = EXECUTORS_MIN + seed % (EXECUTORS_MAX - EXECUTORS_MIN + 1)
        self.executors = tuple(f"executor{number}" for number in range(count))
        self.names = (
            OWNER, *CONTRIBUTORS, *ASKERS, *SYBILS, *self.servers, *self.executors, STRANGER
        )  # fmt: skip
        self.chain = Chain(
            seed,
            [(account(name), terms.ENDOWMENT) for name in self.names],
            Jobs=terms.JOBS,
            Attribution=terms.ATTRIBUTION,
            Inference=terms.INFERENCE,
            Models=terms.MODELS,
        )
        self.files: dict[Hash, EpochFile | None] = {}
        """The files of receipts that servers published."""
        self.texts: dict[Hash, bool] = {}
        """Whether the executors can read a published file of texts."""
        self.tokens: dict[tuple[str, str], int] = {}
        """What the tokens are worth that an asker got of a server, in planck."""
        self.costs: dict[str, int] = {}
        """What a party spent outside the chain, on computing, in planck."""
        self.lies = 0
        """The epochs, jobs or answers in which the strategy lied."""
        self.refused = 0
        """The lies that the chain refused."""
        self.looked_at: list[tuple[AccountId, int]] = []
        """The servers whose epochs were settled, and the receipts that were looked at."""
        self.psi = self._psi()
        self.aggregates = strategy.rows(self) if strategy.rows else self.honest_rows()
        self._settlements: dict[tuple[int, bool], Settlement] = {}
        self._indexes: Indexes = {}
        self.parties: dict[str, Party] = {name: self._party(name) for name in self.names}

    # ----------------------------------------------------------------------------- running

    def run(self) -> None:
        """Go through all blocks, with all checks after each; then pay all claims."""
        self.begin()
        while self.chain.number <= terms.BLOCKS and not self.is_over():
            self.pass_block()
        for name in self.names:
            self.chain.attempt(account(STRANGER), "Attribution", "claim_for", account=account(name))
        self.chain.next_block()

    def begin(self) -> None:
        """Publish the model, and let servers and executors post their bonds."""
        self._store_model()
        for party in self.parties.values():
            if isinstance(party, Server | Executor):
                party.join()

    def pass_block(self) -> None:
        """Let every party act, and end the block."""
        for party in self.parties.values():
            party.act()
        self.chain.next_block()

    def is_over(self) -> bool:
        """Return whether every server has left; then nothing moves any more."""
        return self.chain.number > terms.LAST_CLOSE and not any(self.chain.inference.servers.keys())

    def _party(self, name: str) -> Party:
        made = self.strategy.parties.get(name)
        if made is not None:
            return made(self, name)
        if name in CONTRIBUTORS:
            return Contributor(self, name)
        if name in ASKERS:
            return Asker(self, name)
        if name in self.servers:
            return LeavingServer(self, name) if name == "server2" else Server(self, name)
        if name in self.executors:
            return Executor(self, name)
        return Party(self, name)

    def _store_model(self) -> None:
        """Write the published model and its index into the state: no money moves by them."""
        chain, owner, now = self.chain, account(OWNER), self.chain.number
        trained = Trained(
            adapter=terms.ADAPTER,
            moments=ZERO_HASH,
            trace_root=ZERO_HASH,
            row_root=ZERO_HASH,
            steps=1,
            rows_trained=terms.ROWS,
            rows_held_out=0,
            base_loss_micronats=0,
            adapter_loss_micronats=0,
        )
        training = Training(terms.TRAIN_JOB, trained, terms.INDEX_JOB)
        model = Model(
            owner=owner,
            name=MODEL_NAME,
            base=terms.BASE,
            datanets=(),
            rows=0,
            rate_in_planck=terms.RATE_IN,
            rate_out_planck=terms.RATE_OUT,
            latest=training,
            deployed=Deployment(training, now),
            is_retired=False,
            created_at=now,
            deposit_planck=CREATION_DEPOSIT,
        )
        chain.balances.hold(HoldReason.ModelDeposit, owner, CREATION_DEPOSIT)
        chain.models.records.put(terms.MODEL, model)
        chain.models.names.put(name_key(MODEL_NAME), terms.MODEL)
        chain.models.next_id.put(terms.MODEL + 1)
        indexed = Indexed(
            phi=ZERO_HASH,
            phi_root=ZERO_HASH,
            gram_hash=ZERO_HASH,
            damping=1,
            psi=ZERO_HASH,
            psi_root=ZERO_HASH,
            aggregates=ZERO_HASH,
            aggregate_root=ZERO_HASH,
            span_shards=ZERO_HASH,
            rows=terms.ROWS,
            sketch_size=terms.SKETCH_SIZE,
        )
        chain.attribution.record_indexed(terms.MODEL, terms.INDEX_JOB, indexed)
        index = IndexInput(
            index_job=terms.INDEX_JOB,
            train_job=terms.TRAIN_JOB,
            base=terms.BASE,
            recipe=Recipe(),
            adapter=terms.ADAPTER,
            moments=ZERO_HASH,
            seed=ZERO_HASH,
            indexed=indexed,
        )
        self._indexes = {terms.INDEX_JOB: (index, self.aggregates)}

    # --------------------------------------------------------------------- what a seed says

    def dice(self, *key: str) -> Random:
        """Return the randomness of one party for one purpose."""
        return Random("/".join((str(self.seed), *key)))

    def choose_server(self, dice: Random) -> Server:
        """Return the server that an asker turns to."""
        server = self.parties[dice.choice(self.servers)]
        assert isinstance(server, Server), "servers serve"
        return server

    def question(self, dice: Random, text: str) -> Question:
        """Return a question that the rows of one contributor have most to do with."""
        near = dice.choice(CONTRIBUTORS)
        tokens_in, tokens_out = dice.randint(10, 60), dice.randint(20, terms.PRICE_TOKENS_OUT)
        phi = [psi // 2 + dice.randint(-PSI_MAX // 2, PSI_MAX // 2) for psi in self.psi[near]]
        return Question(text, tokens_in, tokens_out, as_sketch(phi))

    def _psi(self) -> dict[str, tuple[int, ...]]:
        dice = self.dice("rows")
        return {
            name: tuple(dice.randint(-PSI_MAX, PSI_MAX) for _ in range(terms.SKETCH_SIZE))
            for name in CONTRIBUTORS
        }

    def honest_rows(self) -> tuple[ContributorAggregate, ...]:
        """Return the rows of all contributors, ascending by account."""
        return aggregates_of(self.psi)

    # ------------------------------------------------------------------ what is true of it

    def has_file(self, job: Job) -> bool:
        """Return whether the file of receipts can be had that the server of an epoch named."""
        return self._blob_of(job) in self.files

    def hide_file(self, job: Job) -> None:
        """Take the file of an epoch's receipts away, before anybody has read it."""
        self.files.pop(self._blob_of(job), None)

    def _blob_of(self, job: Job) -> Hash:
        spec = job.spec
        assert isinstance(spec, Settle), "the market has no other jobs"
        record = self.chain.attribution.epoch(spec.model, spec.server, spec.epoch)
        assert record is not None, "a settle job has an epoch"
        return record.receipts_blob

    def settlement(self, number: int, job: Job, *, is_honest: bool = True) -> Settlement:
        """Return the result of a settle job, computed once for all honest executors; with
        `is_honest` false that of one who overlooks all faults."""
        key = (number, is_honest)
        if key not in self._settlements:
            spec = job.spec
            assert isinstance(spec, Settle), "the market has no other jobs"
            assert job.seed is not None, "an assigned job has a seed"
            file = self.files[self._blob_of(job)]
            ranges = channel_ranges(self.chain, spec, file)
            settlement = settle_epoch(
                spec, job.seed, file, ranges, self._indexes, is_honest=is_honest
            )
            self._settlements[key] = settlement
            if is_honest:
                self.looked_at.append((spec.server, settlement.looked_at))
        return self._settlements[key]

    def note_tokens(self, asker: str, server: str, fair_planck: int) -> None:
        """Note that an asker got tokens of so much worth; who asks to be paid gets nothing of
        worth."""
        if asker not in SYBILS:
            key = (asker, server)
            self.tokens[key] = self.tokens.get(key, 0) + fair_planck

    def note_cost(self, name: str, planck: int) -> None:
        """Note what a party spent on computing."""
        self.costs[name] = self.costs.get(name, 0) + planck


def aggregates_of(psi: Mapping[str, tuple[int, ...]]) -> tuple[ContributorAggregate, ...]:
    """Return the rows of contributors, ascending by account."""
    rows = (ContributorAggregate(account(name), terms.ROWS, psi[name]) for name in psi)
    return tuple(sorted(rows, key=lambda row: row.contributor))
