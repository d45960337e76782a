"""A client whose node answers questions, honestly or not: for the asker's commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Self

from node.client import Answer, Text
from node.client.serving import ServedReceipt
from pallets import compose
from pallets.attribution.records import Ledger
from pallets.inference import Channel
from pallets.inference.records import ChannelInfo, Server
from runtime.codec.hexadecimal import to_hex
from runtime.codec.scale import codec
from runtime.crypto import ss58
from runtime.frame.dispatch import Call
from runtime.frame.events import EventRecord
from runtime.shared.receipts import (
    SignedReceipt,
    SignedVoucher,
    receipt_hash,
    salted_hash,
)
from runtime.types.primitives import AccountData, AccountId, Hash
from tests.node.support.paid_answers import (
    CHANNEL,
    GENESIS,
    HASH,
    MODEL,
    RATES,
    SERVER_ACCOUNT,
    open_channel,
    receipt_for,
)

TEXT = "because."
MACHINE = compose()


def arguments_of(call: Call) -> dict[str, Any]:
    """Return the arguments of a call by their names."""
    specs = MACHINE.pallets[call.pallet].call_specs.values()
    (spec,) = [each for each in specs if each.name == call.name]
    names = [name for name, _ in spec.arguments]
    return dict(zip(names, call.arguments, strict=True))


@dataclass
class AnsweringClient:
    """A client, its node and chain in one; fields say how the server lies."""

    channels: dict[int, Channel] = field(default_factory=lambda: {CHANNEL: open_channel()})
    changed: dict[str, Any] = field(default_factory=dict)
    """What is changed of a receipt before it is signed."""
    overcount: int = 0
    """How many tokens a receipt counts beyond what `usage` says."""
    breaks_off: bool = False
    redeems: int | None = None
    """What is redeemed with each answer beyond what its receipt gives; None redeems nothing."""
    shown: str = TEXT
    receipts: dict[int, SignedReceipt] = field(default_factory=dict)
    asked: list[SignedVoucher] = field(default_factory=list)
    salts: list[bytes] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    adapter: Hash = HASH
    ledgers: dict[tuple[int, AccountId], Ledger] = field(default_factory=dict)
    epochs: dict[int, Any] = field(default_factory=dict)
    credited: set[int] = field(default_factory=set)
    events: tuple[EventRecord, ...] = ()
    """What a dry run says that a call would do."""
    files: dict[Hash, bytes] = field(default_factory=dict)
    server: Server | None = None
    settlements: list[dict[str, Any]] = field(default_factory=list)
    genesis_hash: Hash = GENESIS
    machine = MACHINE

    def __call__(self, *_: Any, **__: Any) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def serving(self) -> Self:
        return self

    @property
    def blobs(self) -> Self:
        return self

    # ------------------------------------------------------------------------------ the chain

    def finalized_hash(self) -> Hash:
        return GENESIS

    def header(self, _: object = None) -> Any:
        return SimpleNamespace(number=50)

    def balance(self, _: object) -> AccountData:
        return AccountData(free=10**18)

    def problems(self) -> tuple[str, ...]:
        return ()

    def api(self, name: str, *arguments: Any) -> Any:
        return getattr(self, f"_api_{name.partition('_')[2]}")(*arguments)

    def _api_model(self, _: int) -> Any:
        training = SimpleNamespace(train_job=1, trained=SimpleNamespace(adapter=self.adapter))
        model = SimpleNamespace(name="m", base=HASH, trainings=(training,), answering=training)
        return SimpleNamespace(id=MODEL, model=model)

    _api_model_named = _api_model

    def _api_models(self, *_: object) -> list[Any]:
        return [SimpleNamespace(id=MODEL)]

    def _api_price_list(self, _: int) -> Any:
        return RATES

    def _api_channel(self, number: int) -> Channel | None:
        return self.channels.get(number)

    def _api_channels_of(self, _: AccountId) -> list[ChannelInfo]:
        return [ChannelInfo(*each) for each in self.channels.items()]

    def entries(self, pallet: str, item: str, model: int) -> list[tuple[Any, Any]]:
        assert (pallet, item) == ("Attribution", "ledgers")
        return [(key, ledger) for key, ledger in self.ledgers.items() if key[0] == model]

    def _api_epoch(self, model: int, server: AccountId, epoch: int) -> Any:
        return self.epochs.get(epoch)

    def _api_is_credited(self, model: int, server: AccountId, epoch: int, at: int) -> bool:
        return epoch in self.credited

    def _api_server(self, _: AccountId) -> Server | None:
        return self.server

    def _api_current_parameters(self) -> Any:
        return SimpleNamespace(server_bond_planck=100, retention_blocks=20)

    def make_call(self, pallet: str, name: str, **arguments: Any) -> Call:
        return self.machine.call(pallet, name, **arguments)

    def dry_run(self, call: Call, _: AccountId, *, tip: int) -> Any:
        self.calls.append(call)
        data = AccountData()
        return SimpleNamespace(
            error=None, needs_funds=False, fee_planck=0, before=data, after=data, events=self.events
        )

    # ------------------------------------------------------------------------------ the server

    def call(self, method: str, *arguments: Any) -> Any:
        if method == "openledger_status":
            return {"account": ss58.encode(SERVER_ACCOUNT)}
        if method == "openledger_settlements":
            return self.settlements
        assert method == "openledger_receipts", method
        return [{"signedReceipt": self.hex_of(each), "feedback": None} for each in self._all()]

    def download(self, blob: Hash) -> bytes:
        return self.files[blob]

    def chat(
        self,
        model: str,
        turns: Sequence[Mapping[str, str]],
        promise: SignedVoucher,
        salt: bytes,
        **settings: Any,
    ) -> Iterator[Text | Answer]:
        self.asked.append(promise)
        self.salts.append(salt)
        made = receipt_for(
            promise,
            tokens_out=5 + self.overcount,
            answer=salted_hash(salt, TEXT),
            **self.changed,
        )
        number = promise.voucher.channel
        self.receipts[number] = made
        yield Text(self.shown)
        if self.breaks_off:
            raise KeyboardInterrupt
        if self.redeems is not None:
            total = made.ends_planck + self.redeems
            self.channels[number] = replace(
                self.channels[number], redeemed_planck=total, sequence=made.sequence
            )
        yield Answer(self.shown, 4, 5, {}, receipt_hash(made.receipt))

    def receipt(self, identity: Hash, salt: bytes | None = None) -> ServedReceipt:
        (found,) = [
            each for each in self.receipts.values() if receipt_hash(each.receipt) == identity
        ]
        return ServedReceipt(found, {"answer": TEXT} if salt in self.salts else {})

    def channel_receipt(self, channel: int) -> SignedReceipt | None:
        return self.receipts.get(channel)

    def _all(self) -> list[SignedReceipt]:
        return list(self.receipts.values())

    @staticmethod
    def hex_of(signed: SignedReceipt) -> str:
        return to_hex(codec(SignedReceipt).encode(signed))
