"""Vouchers, receipts and what a serving node reads of the chain, made for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from node.storage.receipt_store import StoredReceipt
from node.transactions.errors import BadFormatError
from pallets.attribution.records import Epoch, EpochState, Ledger, Parameters
from pallets.inference import Channel
from pallets.inference.records import MARKS_MAX, Mark
from pallets.inference.records import Parameters as InferenceParameters
from runtime.codec.scale import Bytes64
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared.receipts import (
    GREEDY,
    RECEIPT_VERSION,
    Evidence,
    Rates,
    Receipt,
    SignedReceipt,
    SignedVoucher,
    Voucher,
    evidence_hash,
    receipt_hash,
    salted_hash,
    voucher_hash,
    voucher_payload,
)
from runtime.types.primitives import AccountId, Ed25519, Hash, Sr25519

GENESIS, HASH = Hash(b"g" * 32), Hash(b"h" * 32)
ASKER, SERVER = Keypair.from_uri("//Asker"), Keypair.from_uri("//Server")
SERVER_ACCOUNT = AccountId(SERVER.account)
MODEL, CHANNEL = 3, 7
RATES = Rates(rate_in_planck=0, rate_out_planck=1_000, platform_fee_planck=10)
"""One planck for each token of an answer, and ten for each answer."""
QUESTION, ANSWER, SALT = "why?", "because.", b"s" * 32
EVIDENCE = Evidence(phi=b"phi", top=(), spans=(), retrieved=(), remainder_permille=0)
LIFE = 10_000


def open_channel(**changed: Any) -> Channel:
    """Return a channel as it is on the chain."""
    record = Channel(AccountId(ASKER.account), SERVER_ACCOUNT, MODEL, 100_000)
    return replace(record, **changed)


def voucher(**changed: Any) -> Voucher:
    """Return a voucher for the first answer of a channel."""
    first = Voucher(
        genesis=GENESIS,
        channel=CHANNEL,
        model=MODEL,
        train_job=1,
        sequence=1,
        before_planck=0,
        limit_planck=110,
        rates=RATES,
        question=salted_hash(SALT, QUESTION),
        sampling=GREEDY,
        may_draw=False,
        expires_at=LIFE,
    )
    return replace(first, **changed)


def signed(promise: Voucher, pair: Keypair = ASKER) -> SignedVoucher:
    """Return a voucher with an asker's signature."""
    wrap = Ed25519 if pair.kind is KeyKind.ED25519 else Sr25519
    signature = wrap(pair.sign(voucher_payload(promise)))
    return SignedVoucher(promise, AccountId(pair.account), signature)


def receipt_for(
    promise: SignedVoucher, tokens_out: int = 5, pair: Keypair = SERVER, **changed: Any
) -> SignedReceipt:
    """Return the receipt of an answer, signed by its server after what is changed of it."""
    receipt = Receipt(
        version=RECEIPT_VERSION,
        voucher=voucher_hash(promise.voucher),
        server=AccountId(pair.account),
        index_job=2,
        adapter=HASH,
        tokens_in=4,
        tokens_out=tokens_out,
        fee_planck=promise.voucher.fee(4, tokens_out),
        answer=salted_hash(SALT, ANSWER),
        evidence=evidence_hash(EVIDENCE),
    )
    receipt = replace(receipt, **changed)
    signature = Bytes64(pair.sign(receipt_hash(receipt)))
    return SignedReceipt(promise, receipt, EVIDENCE, signature)


def stored(
    sequence: int = 1,
    channel: int = CHANNEL,
    model: int = MODEL,
    before: int = 0,
    tokens_out: int = 5,
    expires_at: int = LIFE,
) -> StoredReceipt:
    """Return a receipt as its server keeps it."""
    promise = signed(
        voucher(
            sequence=sequence,
            channel=channel,
            model=model,
            before_planck=before,
            limit_planck=before + RATES.fee(4, tokens_out),
            expires_at=expires_at,
        )
    )
    made = receipt_for(promise, tokens_out)
    identity = f"att-{channel}-{sequence}"
    return StoredReceipt(made, identity, QUESTION, ANSWER, SALT, (1, 2, 70_000))


@dataclass
class FakeNode:
    """Chain state, transactions and final blocks of one server, for what redeems and closes."""

    account: AccountId = SERVER_ACCOUNT
    channels: dict[int, Channel] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    epochs: dict[int, Epoch] = field(default_factory=dict)
    jobs: dict[int, Any] = field(default_factory=dict)
    others: dict[int, tuple[Ledger, Epoch | None]] = field(default_factory=dict)
    """Ledgers of other models, each with the epoch that is being settled."""
    bond: int = 1_000_000
    duty: int = 0
    """What a settlement costs, in planck."""
    room: int | None = None
    """What the bond answers for that is not redeemed yet; None without limit."""
    is_open: bool = True
    is_refusing: bool = False
    slashed: int = 0
    """What was due and closed without its receipts, in planck."""
    parameters: Parameters = field(
        default_factory=lambda: Parameters(rows_minimum=50, receipts_maximum=1_000)
    )
    challenge_blocks: int = 100
    height: int = 0
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    views: dict[Hash, Any] = field(default_factory=dict)
    """The state after each final block, as it was when the block was last asked for."""

    @property
    def finalized(self) -> Any:
        block = Hash(self.height.to_bytes(32))
        self.views[block] = self._state()
        return SimpleNamespace(number=self.height, hash=block)

    @contextmanager
    def at(self, block: Hash | None = None) -> Iterator[Any]:
        yield self._state() if block is None else self.views[block]

    def _state(self) -> Any:
        ledgers = {MODEL: self.ledger} | {model: each[0] for model, each in self.others.items()}
        epochs = {model: {each[0].epoch - 1: each[1]} for model, each in self.others.items()}
        epochs[MODEL] = dict(self.epochs)
        room = self.room
        bond, is_open, at_risk, parameters = self.bond, self.is_open, self.at_risk, self.parameters
        duty = self.duty
        payments = InferenceParameters(challenge_blocks=self.challenge_blocks)
        return SimpleNamespace(
            inference=SimpleNamespace(
                channels=dict(self.channels),
                bond_of=lambda _: bond,
                redeemable=lambda *_: room,
                parameters=SimpleNamespace(get=lambda: payments),
            ),
            attribution=SimpleNamespace(
                ledgers={(model, self.account): ledger for model, ledger in ledgers.items()},
                pool=lambda model, _: ledgers.get(model, Ledger()),
                epoch=lambda model, _, epoch: epochs.get(model, {}).get(epoch),
                has_opened=lambda _: is_open,
                at_risk=SimpleNamespace(get=lambda _: at_risk),
                parameters=lambda: parameters,
                settlement_price=lambda *_: duty,
            ),
            jobs=SimpleNamespace(jobs=dict(self.jobs)),
        )

    @property
    def at_risk(self) -> int:
        """Return the fees of all epochs that are being settled."""
        others = [epoch for _, epoch in self.others.values() if epoch is not None]
        settling = [each for each in others if each.state is EpochState.Settling]
        if self.ledger.settling is not None:
            settling.append(self.epochs[self.ledger.settling])
        return sum(each.fees_planck for each in settling)

    def submit(self, pallet: str, name: str, **arguments: Any) -> Hash:
        if self.is_refusing:
            raise BadFormatError("refused")
        self.sent.append((name, arguments))
        return _identity(arguments)

    def rebroadcast(self, transaction: Hash) -> bool:
        return any(_identity(arguments) == transaction for _, arguments in self.sent)

    def calls(self, name: str) -> list[dict[str, Any]]:
        """Return the arguments of what was sent by this name and has not landed."""
        return [arguments for sent, arguments in self.sent if sent == name]

    def drawn(self) -> list[tuple[int, int]]:
        """Return (channel, owed in all) of the redemptions that have not landed."""
        return [(each["voucher"].channel, _total(each)) for each in self.calls("redeem")]

    def land(self) -> None:
        """Let what was sent be final."""
        for name, arguments in self.sent:
            if name == "redeem":
                self._redeem(arguments)
            else:
                self._close(arguments.get("epoch", self.ledger.next_epoch), arguments)
        self.sent.clear()

    def end_epoch(self, state: EpochState) -> None:
        """Let the epoch that is being settled end."""
        number = self.ledger.settling
        assert number is not None, "an epoch is being settled"
        record = self.epochs[number]
        self.epochs[number] = replace(record, state=state)
        back = record.fees_planck if state is EpochState.Failed else 0
        redeemed = self.ledger.redeemed_planck + back
        ended = replace(self.ledger, settling=None, redeemed_planck=redeemed, due_from=None)
        self.ledger = self._timed(ended)

    def _redeem(self, arguments: dict[str, Any]) -> None:
        promise = arguments["voucher"]
        channel, total = self.channels.get(promise.channel), _total(arguments)
        if channel is None or channel.is_closed or promise.sequence <= channel.sequence:
            return
        assert self.height <= promise.expires_at, "an expired voucher draws nothing"
        assert channel.redeemed_planck <= total <= channel.deposit_planck
        self._fund(total - channel.redeemed_planck)
        marks = channel.marks
        if not marks or marks[-1].epoch != self.ledger.epoch:
            mark = Mark(self.ledger.epoch, channel.redeemed_planck)
            marks = (*marks, mark)[-MARKS_MAX:]
        self.channels[promise.channel] = replace(
            channel, redeemed_planck=total, sequence=promise.sequence, marks=marks
        )

    def _fund(self, amount: int) -> None:
        former = self.ledger
        self.ledger = replace(former, redeemed_planck=former.redeemed_planck + amount)
        if not self.is_open:
            self.ledger = replace(self.ledger, early_planck=self.ledger.redeemed_planck)
        elif former.early_planck and not former.due_planck:
            self.ledger = replace(self.ledger, epoch=former.epoch + 1)
        self.ledger = self._timed(self.ledger)

    def _timed(self, ledger: Ledger) -> Ledger:
        has_duty = ledger.due_planck >= max(1, self.duty)
        begins = has_duty and ledger.due_from is None
        return replace(ledger, due_from=self.height) if begins else ledger

    def _close(self, number: int, arguments: dict[str, Any]) -> None:
        fees = arguments["fees_planck"]
        if self.ledger.settling is not None:
            return
        former = self.epochs.get(number)
        declared = (arguments["receipts_root"], arguments["receipts"], fees)
        if former is not None:
            same = (former.receipts_root, former.receipts, former.fees_planck)
            assert declared == same, "an epoch is closed again with the same receipts"
        early, due = self.ledger.early_planck, self.ledger.due_planck
        assert fees <= self.ledger.next_planck, "no more than was redeemed"
        assert fees + self.at_risk <= self.bond, "no more than the bond answers for"
        left = self.ledger.redeemed_planck - fees
        if former is None:
            assert number == self.ledger.next_epoch
            latest = self.epochs.get(number - 1)
            assert latest is None or latest.state is not EpochState.Failed, "epochs are not skipped"
            if arguments["missing_planck"] != self.ledger.next_planck - fees:
                return
            self.slashed += 0 if early else due - fees
            left = due if early else 0
        self.ledger = replace(
            self.ledger,
            epoch=max(self.ledger.epoch, number + 1),
            redeemed_planck=left,
            settling=number if arguments["receipts"] else None,
            early_planck=0,
        )
        if not arguments["receipts"]:
            return
        job = len(self.jobs)
        self.jobs[job] = SimpleNamespace(failure=None, slots=())
        self.epochs[number] = Epoch(
            state=EpochState.Settling,
            job=job,
            closed_at=self.height,
            receipts_root=arguments["receipts_root"],
            receipts=arguments["receipts"],
            fees_planck=fees,
            pool_planck=0,
            receipts_blob=arguments["receipts_blob"],
        )


def _identity(arguments: dict[str, Any]) -> Hash:
    return Hash(id(arguments).to_bytes(32))


def _total(arguments: dict[str, Any]) -> int:
    promise: Voucher = arguments["voucher"]
    fee = promise.fee(arguments["tokens_in"], arguments["tokens_out"])
    return promise.before_planck + fee
