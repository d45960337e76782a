"""A chain with executors for tests of jobs and attribution; datanets and models are stand-ins.

Model 0 and the datanets behind it exist; model 1 refuses every result. SERVER is bonded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pallets.attribution import Attribution
from pallets.attribution import Genesis as AttributionGenesis
from pallets.authorship import Authorship
from pallets.balances import Balances, HoldReason
from pallets.inference import Genesis as InferenceGenesis
from pallets.inference import GenesisServer, Inference
from pallets.jobs import Genesis, GenesisExecutor, Jobs, Parameters, Profile
from pallets.jobs.job import Job, JobState
from pallets.randomness import Randomness
from pallets.session import Session
from pallets.system import System
from pallets.transaction_payment import TransactionPayment
from runtime.codec.scale import u32
from runtime.crypto.hashing import blake2b_256
from runtime.frame.dispatch import Error
from runtime.frame.pallet import Pallet
from runtime.frame.storage import Map
from runtime.shared.documents import (
    DatanetVersion,
    Evaluate,
    Evaluated,
    Index,
    Indexed,
    JobOutput,
    Recipe,
    Train,
    Trained,
    commitment,
    output_root,
)
from runtime.types.primitives import OPEN, ZERO_HASH, AccountId, Hash
from tests.pallets.support.ledger import ALICE, DAVE, ENDOWMENT, GENESIS_HASH, KEYS, Ledger

BASE = Hash(b"base".ljust(32, b"\0"))
OTHER_BASE = Hash(b"other base".ljust(32, b"\0"))
BASE_PARAMETERS = 10**8
BASES = (BASE,)
PROFILE = Hash(b"profile".ljust(32, b"\0"))
OTHER_PROFILE = Hash(b"other profile".ljust(32, b"\0"))
LIMITS = Profile(
    name="test",
    blocks_per_unit_milli=0,
    parameters_max=BASE_PARAMETERS,
    work_max=10**9,
    context_tokens=8_192,
)
READER = Hash(b"reader".ljust(32, b"\0"))
USED = (DatanetVersion(0, 1),)
REFUSING_MODEL = 1
ROWS = 100
SECRET_DATANET = 9
BOND = 1_000 * OPEN
SERVER, SERVER_BOND = DAVE, 200 * OPEN
EXECUTORS = tuple(AccountId(blake2b_256(b"executor" + bytes((at,)))) for at in range(8))
SALT = b"s" * 32


@dataclass(frozen=True)
class Version:
    rows: int


@dataclass(frozen=True)
class ModelRecord:
    owner: AccountId
    base: Hash
    datanets: tuple[DatanetVersion, ...]
    is_retired: bool = False
    rate_in_planck: int = 0
    rate_out_planck: int = 0

    def lowest_rates(self, expires_at: int) -> tuple[int, int]:
        return self.rate_in_planck, self.rate_out_planck


@dataclass(frozen=True)
class BaseRecord:
    parameters: int
    context_tokens: int = 192


class Datanets(Pallet, index=20):
    """Stands in for datanets."""

    def get_version(self, datanet: int, version: int) -> Version | None:
        return Version(ROWS) if version == 1 else None

    def may_read(self, account: AccountId, datanet: int) -> bool:
        return datanet != SECRET_DATANET


class Models(Pallet, index=21):
    """Stands in for models."""

    trained: Map[u32, Trained]
    indexed: Map[u32, Indexed]

    class Refused(Error, index=0):
        """Refused, for a test."""

    def get(self, model: int) -> ModelRecord | None:
        datanets = {
            3: (DatanetVersion(SECRET_DATANET, 1),),
            4: (DatanetVersion(0, 7),),
        }
        return ModelRecord(ALICE, BASE, datanets.get(model, USED)) if model < 5 else None

    def base(self, hash: Hash) -> BaseRecord | None:
        return BaseRecord(BASE_PARAMETERS) if hash in (BASE, OTHER_BASE) else None

    def may_use(self, account: AccountId, model: int) -> bool:
        return account == ALICE

    def record_trained(self, model: int, job: int, output: Trained) -> None:
        self.trained.put(job, output)
        if model == REFUSING_MODEL:
            raise self.Refused

    def record_indexed(self, model: int, job: int, output: Indexed, train_job: int | None) -> None:
        assert train_job is not None
        self.indexed.put(job, output)


PALLETS = (
    System, Balances, TransactionPayment, Authorship, Randomness, Session, Datanets, Models, Jobs,
    Attribution, Inference,
)  # fmt: skip


class Workshop(Ledger):
    """A ledger whose first `count` executors are registered from genesis."""

    def __init__(
        self,
        count: int = 1,
        profiles: tuple[tuple[Hash, Profile], ...] = ((PROFILE, LIMITS),),
        **settings: Any,
    ) -> None:
        values = {"executors_per_job": 1, "spare_executors": 0, "assignment_blocks": 1}
        values |= {"commit_blocks": 10, "decline_blocks": 3, "age_blocks": 1}
        values |= {"reveal_blocks": 5, "open_blocks": 20, "sketch_size": 64, **settings}
        entries = tuple(
            GenesisExecutor(who, PROFILE, BOND, BASES, READER) for who in EXECUTORS[:count]
        )
        endowed = [(AccountId(pair.account), ENDOWMENT) for pair in KEYS.values()] + [
            (who, 2 * BOND) for who in EXECUTORS
        ]
        super().__init__(
            PALLETS,
            endowed=endowed,
            Jobs=Genesis(Parameters(**values), profiles, entries),
            Attribution=AttributionGenesis(),
            Inference=InferenceGenesis(servers=(GenesisServer(SERVER, SERVER_BOND),)),
        )
        self.jobs = self.pallet(Jobs)
        self.attribution = self.pallet(Attribution)
        self.inference = self.pallet(Inference)
        self.balances = self.pallet(Balances)

    def __enter__(self) -> Workshop:
        return self

    def job(self, job: int) -> Job:
        found = self.jobs.job(job)
        assert found is not None
        return found

    def state(self, job: int) -> JobState:
        return self.job(job).state

    def bond(self, who: AccountId) -> int:
        return self.balances.held(HoldReason.JobBond, who)

    def escrow(self, who: AccountId) -> int:
        return self.balances.held(HoldReason.JobEscrow, who)

    def register(
        self,
        who: AccountId,
        bond: int = BOND,
        *,
        profile: Hash = PROFILE,
        bases: tuple[Hash, ...] = BASES,
    ) -> None:
        """Register an executor."""
        arguments = {"profile": profile, "bond": bond, "bases": bases, "reader": ZERO_HASH}
        self.sign(who, "Jobs", "register_executor", **arguments)

    def submit(self, spec: Any = None, who: AccountId = ALICE) -> int:
        number = self.jobs.next_job.get()
        self.sign(who, "Jobs", "submit", spec=spec or train())
        return number

    def assigned(self, spec: Any = None) -> int:
        """Submit a job and let executors be drawn for it."""
        number = self.submit(spec)
        self.next_block()
        assert self.state(number) is JobState.Assigned
        return number

    def executors(self, job: int) -> list[AccountId]:
        """Return who is to answer in the current attempt."""
        return [slot.executor for slot in self.job(job).current()]

    def commit(self, who: AccountId, job: int, output: JobOutput, salt: bytes = SALT) -> None:
        attempt = next(slot.attempt for slot in self.job(job).slots if slot.executor == who)
        sealed = commitment(GENESIS_HASH, job, who, attempt, output_root(output), salt)
        self.sign(who, "Jobs", "commit", job=job, attempt=attempt, commitment=sealed)

    def reveal(self, who: AccountId, job: int, output: JobOutput, salt: bytes = SALT) -> None:
        self.sign(who, "Jobs", "reveal", job=job, output=output, salt=salt)

    def answer(self, job: int, output: JobOutput) -> None:
        """Let all executors of the current attempt commit, reveal and be compared."""
        who = self.executors(job)
        for executor in who:
            self.commit(executor, job, output)
        for executor in who:
            self.reveal(executor, job, output)
        self.next_block()


def train(model: int = 0, base: Hash = BASE, **recipe: Any) -> Train:
    return Train(model, base, USED, Recipe(**recipe))


def trained(number: int = 0) -> Trained:
    digest = Hash(blake2b_256(number.to_bytes(4, "little")))
    return Trained(digest, digest, digest, digest, 7, 95, 5, 2_000_000, 1_500_000 + number)


def indexed(sketch_size: int = 64, rows: int = 2_000) -> Indexed:
    digest = Hash(bytes(32))
    roots = (digest, digest, digest, 5, digest, digest, digest, digest)
    return Indexed(*roots, digest, rows, sketch_size)


def honest_output(job: Job) -> JobOutput:
    """Return what every honest executor computes for a job."""
    if isinstance(job.spec, Train):
        return trained(job.opened_at)
    if isinstance(job.spec, Index):
        return indexed(job.spec.sketch_size)
    assert isinstance(job.spec, Evaluate)
    return Evaluated(2_000_000, 1_500_000)
