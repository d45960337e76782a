"""A small economy of the chain's own pallets, and books in plain Python that say who has what.

`economy()` gives a chain with two published models of EVE's: model 0 has the rows that attribution
pays for, model 1 never has. `Books` begins with the balances of that moment; tests enter what the
rules say, and compare.
"""

from __future__ import annotations

from collections import Counter

from pallets.attribution import ATTRIBUTION_POT, Attribution
from pallets.attribution import Genesis as AttributionGenesis
from pallets.attribution import Parameters as AttributionParameters
from pallets.authorship import Authorship
from pallets.balances import Balances, HoldReason
from pallets.datanets import Datanets
from pallets.datanets.records import Access, Verdict
from pallets.inference import PLATFORM_POT, GenesisServer, Inference
from pallets.inference import Genesis as InferenceGenesis
from pallets.inference import Parameters as InferenceParameters
from pallets.jobs import Genesis as JobsGenesis
from pallets.jobs import GenesisExecutor, Jobs
from pallets.jobs import Parameters as JobsParameters
from pallets.jobs.settlement import JOB_POT
from pallets.models import Base, Models
from pallets.models import Genesis as ModelsGenesis
from pallets.randomness import Randomness
from pallets.session import Session
from pallets.system import System
from pallets.transaction_payment import FEE_POT, TransactionPayment
from runtime.shared.documents import (
    DatanetVersion,
    JobOutput,
    Recipe,
    Train,
    commitment,
    output_root,
)
from runtime.types.primitives import OPEN, AccountId, Hash
from tests.pallets.support.ledger import (
    ALICE,
    BOB,
    CHARLIE,
    DAVE,
    ENDOWMENT,
    EVE,
    GENESIS_HASH,
    Ledger,
)
from tests.pallets.support.workshop import (
    BASE,
    BOND,
    EXECUTORS,
    LIMITS,
    PROFILE,
    READER,
    SALT,
    indexed,
    trained,
)

OWNER, SERVERS, ASKERS = EVE, (CHARLIE, DAVE), (ALICE, BOB, CHARLIE)
WORKERS = EXECUTORS[:2]
CONTRIBUTORS = (AccountId(b"\1" * 32), AccountId(b"\2" * 32), BOB)
POTS = (ATTRIBUTION_POT, PLATFORM_POT, FEE_POT, JOB_POT)
EVERYBODY = tuple(dict.fromkeys((ALICE, BOB, CHARLIE, DAVE, EVE, *CONTRIBUTORS, *WORKERS, *POTS)))
PAYING, SMALL = 0, 1
"""The models: one of enough rows, one of too few."""
SERVER_BOND = 150 * OPEN
PER_TOKEN = 10**12
PLATFORM_FEE = OPEN // 10_000
WINDOW, RETENTION, TEXT_BLOCKS = 5, 6, 5
COMMIT_BLOCKS = 9
HOLDS = (
    HoldReason.JobEscrow,
    HoldReason.JobBond,
    HoldReason.InferenceChannel,
    HoldReason.ServerBond,
    HoldReason.ModelDeposit,
)

PALLETS = (
    System, Balances, TransactionPayment, Authorship, Randomness, Session, Datanets, Models, Jobs,
    Attribution, Inference,
)  # fmt: skip


def economy() -> Ledger:
    """Return the chain, with both models trained, indexed and published."""
    five = (ALICE, BOB, CHARLIE, DAVE, EVE)
    jobs = JobsParameters(
        assignment_blocks=1,
        spare_executors=0,
        commit_blocks=COMMIT_BLOCKS,
        reveal_blocks=3,
        open_blocks=8,
        extra_attempts=0,
        sketch_size=64,
    )
    ledger = Ledger(
        PALLETS,
        endowed=[(who, ENDOWMENT) for who in five] + [(who, 2 * BOND) for who in WORKERS],
        Models=ModelsGenesis(bases=((BASE, Base("tiny", 3_400_000, 192)),)),
        Jobs=JobsGenesis(
            jobs,
            ((PROFILE, LIMITS),),
            tuple(GenesisExecutor(who, PROFILE, BOND, (BASE,), READER) for who in WORKERS),
        ),
        Attribution=AttributionGenesis(
            AttributionParameters(rows_minimum=1_500, text_blocks=TEXT_BLOCKS)
        ),
        Inference=InferenceGenesis(
            InferenceParameters(challenge_blocks=WINDOW, retention_blocks=RETENTION),
            tuple(GenesisServer(who, SERVER_BOND) for who in SERVERS),
        ),
    )
    _publish_datanet(ledger)
    rates = {"rate_in_planck": 1_000 * PER_TOKEN, "rate_out_planck": 1_000 * PER_TOKEN}
    used = (DatanetVersion(0, 1),)
    for model, (name, rows) in enumerate((("paying", 2_000), ("small", 3))):
        ledger.sign(OWNER, "Models", "create", name=name, base=BASE, datanets=used, **rates)
        train = ledger.pallet(Jobs).next_job.get()
        ledger.sign(OWNER, "Jobs", "submit", spec=Train(model, BASE, used, Recipe(max_steps=3)))
        answer(ledger, train, trained(model))
        answer(ledger, train + 1, indexed(rows=rows))
        adapter = trained(model).adapter
        ledger.sign(OWNER, "Models", "publish", model=model, adapter=adapter)
    return ledger


def _publish_datanet(ledger: Ledger) -> None:
    texts = ("summary", "description", "source", "purpose", "schema")
    words = {"name": "poems", "licence": "MIT", **{text: text for text in texts}}
    ledger.sign(OWNER, "Datanets", "create", tags=(), access=Access.Public, **words)
    rows = tuple(Hash(bytes([row]) * 32) for row in range(3))
    batch = {"datanet": 0, "blob": BASE, "size_bytes": 9, "row_hashes": rows}
    ledger.sign(OWNER, "Datanets", "contribute", **batch)
    ledger.sign(OWNER, "Datanets", "review", datanet=0, batch=0, verdict=Verdict.Accept)
    ledger.sign(OWNER, "Datanets", "publish", datanet=0)


def answer(ledger: Ledger, job: int, output: JobOutput) -> None:
    """Let both executors commit to an output and reveal it, as soon as they are assigned."""
    while (record := ledger.pallet(Jobs).job(job)) is not None and not record.slots:
        ledger.next_block()
    for who in WORKERS:
        sealed = commitment(GENESIS_HASH, job, who, 0, output_root(output), SALT)
        ledger.sign(who, "Jobs", "commit", job=job, attempt=0, commitment=sealed)
    for who in WORKERS:
        ledger.sign(who, "Jobs", "reveal", job=job, output=output, salt=SALT)
    ledger.next_block()


class Books:
    """Who has what, free and held, by what the rules say; begun with what a chain has now."""

    def __init__(self, ledger: Ledger) -> None:
        self._balances = ledger.pallet(Balances)
        self.free = Counter({who: self._balances.free(who) for who in EVERYBODY})
        self.held = Counter(
            {
                (reason, who): amount
                for reason in HOLDS
                for who in EVERYBODY
                if (amount := self._balances.held(reason, who))
            }
        )
        self.burned = self._balances.burned.get()
        self._all = self._balances.total_issuance.get() + self.burned

    def hold(self, reason: HoldReason, who: AccountId, amount: int) -> None:
        self.free[who] -= amount
        self.held[reason, who] += amount

    def release(self, reason: HoldReason, who: AccountId, amount: int) -> None:
        self.hold(reason, who, -amount)

    def pay_held(self, reason: HoldReason, who: AccountId, dest: AccountId, amount: int) -> None:
        self.held[reason, who] -= amount
        self.free[dest] += amount

    def burn_held(self, reason: HoldReason, who: AccountId, amount: int) -> None:
        self.held[reason, who] -= amount
        self.burned += amount

    def pay(self, source: AccountId, dest: AccountId, amount: int) -> None:
        self.free[source] -= amount
        self.free[dest] += amount

    def compare(self) -> None:
        """Assert that everybody has what the books say, and that nothing was made or lost."""
        balances = self._balances
        for who in EVERYBODY:
            difference = balances.free(who) - self.free[who]
            assert not difference, f"{who.hex()} has {difference} planck more than the rules give"
            for reason in HOLDS:
                held = balances.held(reason, who)
                assert held == self.held[reason, who], f"{reason.name} of {who.hex()}"
        assert balances.burned.get() == self.burned, "burned by the rules alone"
        assert balances.total_issuance.get() + self.burned == self._all, "issued and burned"
