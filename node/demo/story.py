"""The story that `openledger demo` tells: every step goes through a real node's public interface.

It signs with keys derived from the development phrase, uploads, submits, waits for finality and
reads back what the chain says. It asserts nothing that it does not print.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from genesis.amounts import format_amount
from ml.rows.row import Row, encode_batch, row_hash
from node.client import Client, Finalized, RejectedError, Wait
from node.client.serving import Answer
from node.demo.contributors import HONEST, Contributor, gather
from node.demo.node_process import NodeProcess
from pallets.datanets.records import Access, Verdict
from pallets.inference import DEPOSIT_MIN
from pallets.jobs.job import JobState
from runtime.crypto import ss58
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared.documents import (
    DatanetVersion,
    Recipe,
    SignedVoucher,
    Train,
    Trained,
    Voucher,
    voucher_payload,
)
from runtime.types.primitives import OPEN, AccountId, Ed25519, Hash, Id, Sr25519

Say = Callable[[str], None]

BATCH_ROWS: Final = 500
LEARNING_RATE_NANO: Final = 5_000_000
FUNDS: Final = 10_000 * OPEN
ANSWER_TOKENS: Final = 32
WAIT_SECONDS: Final = 900.0
SUPPLY: Final = 1_000_000_000 * OPEN
RATE_IN: Final = 2 * OPEN
RATE_OUT: Final = 20 * OPEN


class StoryFailedError(Exception):
    """A step did not end as the story needs; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long the story is."""

    rows: int
    questions: int
    epochs: int
    seed: int
    noise_rows: int = 150
    copied_rows: int = 100
    chain: str = "dev"
    nodes: int = 1
    """More than one are a cluster of validators, on a chain of their own."""


@dataclass(frozen=True, slots=True)
class Earned:
    """What a contributor brought and has at the end."""

    name: str
    address: str
    rows: int
    earned_planck: int


@dataclass(frozen=True, slots=True)
class Ending:
    """What the chain says at the end of the story."""

    rows: int
    base_loss_micronats: int
    adapter_loss_micronats: int
    questions: int
    receipts_verified: int
    contributors: tuple[Earned, ...]
    commons_planck: int
    issuance_is_conserved: bool
    seconds: int


def tell(plan: Plan, folder: Path, say: Say) -> Ending:
    """Start nodes in a folder, tell the story on them, and stop them. Raises StoryFailedError."""
    began = time.monotonic()
    with (_one_node if plan.nodes == 1 else _cluster)(plan, folder, say) as (url, *others):
        return tell_at(url, plan, say, began, others)


def tell_at(url: str, plan: Plan, say: Say, began: float, others: Sequence[str] = ()) -> Ending:
    """Tell the story on a development chain, at the node of //Alice, who serves the answers.

    `others` are nodes that may compute its jobs, and are asked how far they are.
    """
    with ExitStack() as clients:
        client, *more = (clients.enter_context(Client(each)) for each in (url, *others))
        say(f"  {client.info().chain} at {url}, genesis 0x{client.genesis_hash.hex()[:16]}...")
        return Story(plan, client, say, more).run(began)


@contextmanager
def _one_node(plan: Plan, folder: Path, say: Say) -> Iterator[list[str]]:
    say("Starting a development node ...")
    with NodeProcess(folder, chain=plan.chain) as node:
        yield [node.url]


@contextmanager
def _cluster(plan: Plan, folder: Path, say: Say) -> Iterator[list[str]]:
    from node.devnet.cluster import Cluster
    from node.devnet.errors import DevnetError

    say(f"Starting {plan.nodes} validators, each an executor; two of them answer each job ...")
    try:
        cluster = Cluster.up(
            folder / "devnet", "demo", plan.nodes, say=lambda line: say("  " + line)
        )
    except DevnetError as error:
        raise StoryFailedError(str(error)) from error
    try:
        yield [cluster.url(number) for number in cluster.nodes]
    finally:
        cluster.down(purge=False)


class Story:
    """The steps, in order."""

    def __init__(self, plan: Plan, client: Client, say: Say, others: Sequence[Client] = ()) -> None:
        self._plan = plan
        self._client = client
        self._others = others
        self._say = say
        self._bank = Keypair.from_uri("//Ferdie")
        self._owner = Keypair.from_uri("//Grace")
        self._asker = Keypair.from_uri("//Zoe", KeyKind.SR25519)
        self._server = AccountId(Keypair.from_uri("//Alice").account)

    def run(self, began: float) -> Ending:
        """Tell it all."""
        contributors = self._gather()
        self._fund([self._owner, self._asker, *(each.pair for each in contributors)])
        datanet = self._open_datanet()
        accepted = self._contribute(datanet, contributors)
        model = self._create_model(datanet)
        trained = self._train(model)
        receipts = self._ask(model, contributors)
        self._settle(model)
        earned, commons = self._pay_out(model, contributors, accepted)
        verified = self._verify(receipts)
        conserved = self._check_issuance()
        seconds = int(time.monotonic() - began)
        self._say(f"\nThe end, after {seconds // 60} min {seconds % 60} s.")
        return Ending(
            sum(accepted.values()),
            trained.base_loss_micronats,
            trained.adapter_loss_micronats,
            len(receipts),
            verified,
            earned,
            commons,
            conserved,
            seconds,
        )

    # ----------------------------------------------------------------------------------- rows

    def _gather(self) -> list[Contributor]:
        self._say("\n1. Rows: the documentation of your own Python, one row per function or class")
        plan = self._plan
        people = gather(plan.rows, plan.copied_rows, plan.noise_rows, plan.seed)
        for each in people:
            self._say(f"   {each.name:<24} {len(each.rows):>5} rows")
        return people

    def _fund(self, pairs: Sequence[Keypair]) -> None:
        for pair in pairs:
            self._send(
                self._bank,
                "Balances",
                "transfer_keep_alive",
                dest=Id(AccountId(pair.account)),
                value=FUNDS,
            )

    def _open_datanet(self) -> int:
        self._say("\n2. Grace opens a datanet; contributors post a bond and upload their rows")
        landed = self._send(
            self._owner,
            "Datanets",
            "create",
            name="Python documentation",
            summary="What the functions and classes of Python's standard library do",
            description="One row per public function, class or method, from its own docstring.",
            tags=("python", "documentation"),
            licence="PSF-2.0",
            source="docstrings of the contributor's own Python installation",
            purpose="instruction tuning of a small model that explains Python",
            schema="prompt: qualified name and signature; completion: documentation",
            access=Access.Public,
        )
        return int(_event(landed, "Created").datanet)

    def _contribute(self, datanet: int, people: Sequence[Contributor]) -> dict[str, int]:
        accepted: dict[str, int] = {}
        for each in people:
            count = 0
            for start in range(0, len(each.rows), BATCH_ROWS):
                rows = each.rows[start : start + BATCH_ROWS]
                landed = self._contribute_batch(datanet, each, rows)
                if landed is None:
                    break
                batch = int(_event(landed, "Contributed").batch)
                self._send(
                    self._owner,
                    "Datanets",
                    "review",
                    datanet=datanet,
                    batch=batch,
                    verdict=Verdict.Accept,
                )
                count += len(rows)
            accepted[each.name] = count
        landed = self._send(self._owner, "Datanets", "publish", datanet=datanet)
        published = _event(landed, "Published")
        self._say(f"   version {published.version} published: {published.rows:,} rows")
        return accepted

    def _contribute_batch(
        self, datanet: int, each: Contributor, rows: Sequence[Row]
    ) -> Finalized | None:
        data = encode_batch(list(rows))
        blob = self._client.blobs.upload(data)
        arguments = {
            "datanet": datanet,
            "blob": blob,
            "size_bytes": len(data),
            "row_hashes": tuple(Hash(row_hash(row)) for row in rows),
        }
        landed = self._send(each.pair, "Datanets", "contribute", may_fail=True, **arguments)
        if landed.error is not None:
            self._say(f"   {each.name:<24} refused: {landed.error}")
            return None
        held = _event(landed, "Held").amount
        self._say(
            f"   {each.name:<24} {len(rows):>5} rows in block {landed.block_number}, "
            f"bond {format_amount(held)}"
        )
        return landed

    # ---------------------------------------------------------------------------------- model

    def _create_model(self, datanet: int) -> int:
        self._say("\n3. Grace creates a model on the shipped base; validators train it as a job")
        bases = self._client.entries("Models", "bases")
        base, record = bases[0]
        landed = self._send(
            self._owner,
            "Models",
            "create",
            name="pydoc",
            base=base,
            datanets=(DatanetVersion(datanet, 1),),
            rate_in_planck=RATE_IN,
            rate_out_planck=RATE_OUT,
        )
        self._say(f"   base {record.name}, {record.parameters / 1e6:.1f}M parameters")
        self._base, self._datanet = base, datanet
        return int(_event(landed, "Created").model)

    def _train(self, model: int) -> Trained:
        recipe = Recipe(
            learning_rate_nano=LEARNING_RATE_NANO,
            epochs=self._plan.epochs,
            seed=self._plan.seed,
        )
        spec = Train(model, self._base, (DatanetVersion(self._datanet, 1),), recipe)
        landed = self._send(self._owner, "Jobs", "submit", spec=spec)
        job = int(_event(landed, "JobOpened").job)
        self._watch(job, "training")
        record = self._client.query("Models", "records", model)
        trained: Trained = record.latest.trained
        self._say(
            f"   held-out loss per token: base {trained.base_loss_micronats / 1e6:.4f} nats, "
            f"with adapter {trained.adapter_loss_micronats / 1e6:.4f} nats"
        )
        if trained.adapter_loss_micronats >= trained.base_loss_micronats:
            raise StoryFailedError("Training did not lower the held-out loss.")
        index_job = self._client.query("Jobs", "jobs", job).index_job
        self._watch(index_job, "sketching rows")
        self._send(self._owner, "Models", "publish", model=model, adapter=Hash(trained.adapter))
        self._say(f"   adapter 0x{trained.adapter.hex()[:16]}... published")
        return trained

    def _watch(self, job: int, what: str) -> None:
        """Follow a job to its end, a line for each tenth of the way."""
        began, told = time.monotonic(), -1
        while True:
            state = self._client.query("Jobs", "jobs", job).state
            if state is JobState.Settled:
                self._say(f"   job {job} settled after {time.monotonic() - began:.0f} s ({what})")
                return
            if state in (JobState.Failed, JobState.Expired, JobState.Cancelled):
                raise StoryFailedError(f"Job {job} ended as {state.name}.")
            if time.monotonic() - began > WAIT_SECONDS:
                raise StoryFailedError(f"Job {job} is not settled after {WAIT_SECONDS:.0f} s.")
            told = self._tell_progress(job, what, told)
            time.sleep(0.5)

    def _tell_progress(self, job: int, what: str, told: int) -> int:
        asked = (each.call("openledger_jobProgress", job) for each in (self._client, *self._others))
        reports = next((found for found in asked if found), None)
        if reports is None:
            return told
        last = reports[-1]
        tenth = 5 * last["step"] // max(last["steps"], 1)
        if tenth > told:
            loss = last["lossMicronats"]
            shown = "" if loss is None else f", loss {loss / 1e6:.3f}"
            self._say(f"   {what}: step {last['step']} of {last['steps']}{shown}")
        return max(told, int(tenth))

    # -------------------------------------------------------------------------------- answers

    def _ask(self, model: int, people: Sequence[Contributor]) -> list[Hash]:
        self._say("\n4. Zoe (sr25519) opens a channel and asks; each answer leaves a receipt")
        asked = self._questions(people)
        price = self._client.api("InferenceApi_quote", model, 256, ANSWER_TOKENS)
        deposit = max(DEPOSIT_MIN, price * (len(asked) + 1))
        landed = self._send(
            self._asker,
            "Inference",
            "open_channel",
            model=model,
            server=Id(self._server),
            deposit=deposit,
        )
        channel = int(_event(landed, "ChannelOpened").channel)
        spent = 0
        receipts: list[Hash] = []
        for question in asked:
            answer = self._ask_one(channel, question, spent + price)
            spent += int(answer.attribution["fee_planck"])
            assert answer.receipt is not None, "a paid answer has a receipt"
            receipts.append(answer.receipt)
            self._show(question, answer)
        self._spent = spent
        return receipts

    def _questions(self, people: Sequence[Contributor]) -> list[str]:
        """Rows of the contributors in turn: their prompts are the questions."""
        source = random.Random(self._plan.seed)  # noqa: S311 - a choice of questions
        honest = people[: len(HONEST)]
        return [
            source.choice(honest[number % len(honest)].rows).prompt
            for number in range(self._plan.questions)
        ]

    def _ask_one(self, channel: int, question: str, cumulative: int) -> Answer:
        voucher = Voucher(self._client.genesis_hash, channel, cumulative)
        signature = self._asker.sign(voucher_payload(voucher))
        signed = SignedVoucher(
            voucher,
            AccountId(self._asker.account),
            Ed25519(signature) if self._asker.kind is KeyKind.ED25519 else Sr25519(signature),
        )
        messages = [{"role": "user", "content": question}]
        for piece in self._client.serving.chat(
            "pydoc", messages, signed, max_tokens=ANSWER_TOKENS, temperature=0
        ):
            if isinstance(piece, Answer):
                return piece
        raise StoryFailedError("The answer ended without its last event.")

    def _show(self, question: str, answer: Answer) -> None:
        first = " ".join(question.split())[:72]
        text = " ".join(answer.text.split())[:100]
        fee = format_amount(int(answer.attribution["fee_planck"]))
        self._say(f"   Q {first}\n     {text}")
        rows = answer.attribution["rows"][:2]
        for row in rows:
            name = " ".join(str(row.get("prompt", "")).split())[:56]
            self._say(f"     <- row {row['row']:>5}  score {int(row['score']):>9,}  {name}")
        self._say(f"     {fee}, receipt {answer.attribution['receipt'][:18]}...")

    # ---------------------------------------------------------------------------------- money

    def _settle(self, model: int) -> None:
        self._say("\n5. The epoch closes: vouchers are redeemed, scores are netted, OPEN flows")
        epoch = int(self._client.call("openledger_closeEpoch", model))
        began = time.monotonic()
        while True:
            record = self._client.api("AttributionApi_epoch", model, epoch)
            if record is not None and record.state.name != "Settling":
                break
            if time.monotonic() - began > WAIT_SECONDS:
                raise StoryFailedError("The epoch is not settled in time.")
            time.sleep(0.5)
        if record.state.name != "Settled":
            raise StoryFailedError("The settlement of the epoch failed.")
        self._say(
            f"   {record.receipts} receipts, contributors' part {format_amount(record.fees_planck)}"
        )

    def _pay_out(
        self, model: int, people: Sequence[Contributor], accepted: dict[str, int]
    ) -> tuple[tuple[Earned, ...], int]:
        earned = []
        for each in people:
            account = AccountId(each.pair.account)
            earning = self._client.api("AttributionApi_earnings", account)
            if earning.claimable:
                self._send(each.pair, "Attribution", "claim")
            earned.append(
                Earned(each.name, ss58.encode(account), accepted[each.name], earning.lifetime)
            )
        commons = self._client.api("AttributionApi_pool", model).commons
        for person in earned:
            amount = format_amount(person.earned_planck)
            self._say(f"   {person.name:<24} {person.rows:>5} rows   {amount}")
        self._say(f"   {'commons (withheld bound)':<24} {'':>5}        {format_amount(commons)}")
        return tuple(earned), commons

    # ----------------------------------------------------------------------------------- proof

    def _verify(self, receipts: Sequence[Hash]) -> int:
        self._say("\n6. Every receipt is replayed: openledger verify RECEIPT ...")
        program = "from cli import main; main()"
        url = self._client.endpoint.websocket_url
        command = [sys.executable, "-c", program, "verify", "--json", "--url", url]
        done = subprocess.run(
            [*command, *(receipt.hex() for receipt in receipts)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StoryFailedError(f"A receipt does not hold: {done.stderr.strip()}")
        for document in json.loads(done.stdout)["receipts"]:
            passed, unchecked = document["passed"], document["not_checked"]
            more = f", {unchecked} not checkable here" if unchecked else ""
            self._say(f"   {document['receipt'][:18]}...  {passed} steps hold{more}")
        return len(receipts)

    def _check_issuance(self) -> bool:
        block = self._client.finalized_hash()
        issuance = self._client.query("Balances", "total_issuance", at=block)
        burned = self._client.query("Balances", "burned", at=block)
        accounts = self._client.entries("System", "account", at=block)
        held = sum(info.data.free + info.data.reserved for _, info in accounts)
        conserved = bool(held == issuance and issuance + burned == SUPPLY)
        self._say(
            f"\n7. Issuance: {format_amount(issuance)} in {len(accounts)} accounts and "
            f"{format_amount(burned)} burned are {'exactly ' if conserved else 'NOT '}"
            "1,000,000,000 OPEN"
        )
        if not conserved:
            raise StoryFailedError("The issuance is not conserved.")
        return conserved

    # --------------------------------------------------------------------------------- sending

    def _send(
        self, pair: Keypair, pallet: str, name: str, /, *, may_fail: bool = False, **arguments: Any
    ) -> Finalized:
        call = self._client.make_call(pallet, name, **arguments)
        try:
            landed = self._client.submit(self._client.sign(call, pair), Wait.FINAL)
        except RejectedError as error:
            raise StoryFailedError(f"{pallet}.{name} was refused: {error}") from error
        assert isinstance(landed, Finalized), "waited for finality"
        if landed.error is not None and not may_fail:
            raise StoryFailedError(f"{pallet}.{name} failed: {landed.error}")
        return landed


def _event(landed: Finalized, name: str) -> Any:
    for record in landed.events:
        if type(record.event).__name__ == name:
            return record.event
    raise StoryFailedError(f"The transaction has no event {name}.")
