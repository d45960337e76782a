"""Random lives of two datanets, with a model in plain Python as the oracle."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pallets.balances import Balances, HoldReason
from pallets.datanets import Datanets
from pallets.datanets.records import BYTE_DEPOSIT, ROW_BOND, Access, BatchStatus, Verdict
from pallets.system import System
from runtime.crypto.hashing import blake2b_256
from runtime.frame.dispatch import Error
from runtime.trie.merkle import merkle_root
from runtime.types.primitives import AccountId, Hash
from tests.pallets.support.ledger import ALICE, BOB, CHARLIE, DAVE, ENDOWMENT, Ledger

WRITERS = (BOB, CHARLIE, DAVE)
ROWS = tuple(Hash(blake2b_256(bytes([number]))) for number in range(12))
SIZE_BYTES = 10
FINAL = {
    Verdict.Accept: BatchStatus.Accepted,
    Verdict.Reject: BatchStatus.Rejected,
    Verdict.Spam: BatchStatus.Spam,
}


@dataclass
class ModelBatch:
    writer: AccountId
    rows: tuple[Hash, ...]
    status: BatchStatus = BatchStatus.Pending

    @property
    def posted(self) -> int:
        return len(self.rows) * ROW_BOND + SIZE_BYTES * BYTE_DEPOSIT


@dataclass
class ModelNet:
    batches: list[ModelBatch] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)

    def taken(self) -> set[Hash]:
        alive = (BatchStatus.Pending, BatchStatus.Accepted)
        return {row for batch in self.batches if batch.status in alive for row in batch.rows}


class DatanetLife(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.ledger = Ledger((System, Balances, Datanets))
        self.datanets = self.ledger.pallet(Datanets)
        self.balances = self.ledger.pallet(Balances)
        self.nets = [ModelNet(), ModelNet()]
        for name in ("first", "second"):
            self.ledger.sign(
                ALICE,
                "Datanets",
                "create",
                name=name,
                summary="s",
                description="",
                tags=(),
                licence="MIT",
                source="s",
                purpose="p",
                schema="s",
                access=Access.Public,
            )

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()

    def attempt(self, who: AccountId, name: str, **arguments: object) -> type[Error] | None:
        try:
            self.ledger.sign(who, "Datanets", name, **arguments)
        except Error as failure:
            return type(failure)
        return None

    @rule(
        net=strategies.integers(0, 1),
        writer=strategies.sampled_from(WRITERS),
        rows=strategies.lists(strategies.sampled_from(ROWS), max_size=4),
    )
    def contribute(self, net: int, writer: AccountId, rows: list[Hash]) -> None:
        outcome = self.attempt(
            writer,
            "contribute",
            datanet=net,
            blob=ROWS[0],
            size_bytes=SIZE_BYTES,
            row_hashes=tuple(rows),
        )
        if not rows:
            assert outcome is Datanets.EmptyBatch
        elif len(set(rows)) < len(rows) or set(rows) & self.nets[net].taken():
            assert outcome is Datanets.DuplicateRow
        else:
            assert outcome is None
            self.nets[net].batches.append(ModelBatch(writer, tuple(rows)))

    @rule(
        net=strategies.integers(0, 1),
        number=strategies.integers(0, 8),
        verdict=strategies.sampled_from(Verdict),
        who=strategies.sampled_from((ALICE, ALICE, BOB)),
    )
    def review(self, net: int, number: int, verdict: Verdict, who: AccountId) -> None:
        outcome = self.attempt(who, "review", datanet=net, batch=number, verdict=verdict)
        batches = self.nets[net].batches
        if who != ALICE:
            assert outcome is Datanets.NotCurator
        elif number >= len(batches):
            assert outcome is Datanets.UnknownBatch
        elif batches[number].status is not BatchStatus.Pending:
            assert outcome is Datanets.NotPending
        else:
            assert outcome is None
            batches[number].status = FINAL[verdict]
            if verdict is Verdict.Accept:
                self.nets[net].accepted.append(number)

    @rule(
        net=strategies.integers(0, 1),
        number=strategies.integers(0, 8),
        who=strategies.sampled_from(WRITERS),
    )
    def withdraw(self, net: int, number: int, who: AccountId) -> None:
        outcome = self.attempt(who, "withdraw", datanet=net, batch=number)
        batches = self.nets[net].batches
        if number >= len(batches):
            assert outcome is Datanets.UnknownBatch
        elif batches[number].status is not BatchStatus.Pending:
            assert outcome is Datanets.NotPending
        elif batches[number].writer != who:
            assert outcome is Datanets.NotContributor
        else:
            assert outcome is None
            batches[number].status = BatchStatus.Withdrawn

    @rule(net=strategies.integers(0, 1))
    def publish(self, net: int) -> None:
        outcome = self.attempt(ALICE, "publish", datanet=net)
        model = self.nets[net]
        published = model.versions[-1] if model.versions else 0
        if len(model.accepted) == published:
            assert outcome is Datanets.NothingNew
        else:
            assert outcome is None
            model.versions.append(len(model.accepted))

    @precondition(lambda self: hasattr(self, "ledger"))
    @invariant()
    def agrees_with_the_model(self) -> None:
        self.ledger.check()
        spent = dict.fromkeys(WRITERS, 0)
        bonds = dict.fromkeys(WRITERS, 0)
        for number, model in enumerate(self.nets):
            rows = {key[1] for key in self.datanets.rows.keys(number)}
            assert rows == model.taken()
            for batch in model.batches:
                bonds[batch.writer] += batch.posted * (batch.status is BatchStatus.Pending)
                spent[batch.writer] += batch.posted * (batch.status is BatchStatus.Spam)
            roots = [merkle_root(model.batches[at].rows) for at in model.accepted]
            for version, count in enumerate(model.versions, start=1):
                stored = self.datanets.get_version(number, version)
                assert stored is not None
                assert stored.root == merkle_root(roots[:count])
        for who in WRITERS:
            assert self.balances.held(HoldReason.DatanetBond, who) == bonds[who]
            assert self.balances.free(who) == ENDOWMENT - bonds[who] - spent[who]


DatanetLife.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
test_random_lives_of_datanets_agree_with_the_model = DatanetLife.TestCase
