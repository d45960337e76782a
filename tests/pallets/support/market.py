"""What Inference needs around it: one model that may be asked, and a fund that only counts.

Prices are round: with the rates here `OPEN_TOKENS` tokens cost 1 OPEN, and there is no platform
fee unless a test sets one, so that a fee can be chosen to the planck (`PLANCK_PER_TOKEN` apart).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pallets.attribution import ATTRIBUTION_POT
from pallets.balances import Balances, HoldReason
from pallets.inference import Genesis, GenesisServer, Inference, Parameters
from pallets.inference.records import Channel, Server
from pallets.models import Model
from pallets.system import System
from pallets.transaction_payment import TransactionPayment
from runtime.crypto.keys import Keypair
from runtime.frame.pallet import Pallet
from runtime.shared.receipts import (
    GREEDY,
    RECEIPT_VERSION,
    Rates,
    Receipt,
    SignedVoucher,
    Voucher,
    receipt_hash,
    voucher_hash,
    voucher_payload,
)
from runtime.types.primitives import OPEN, AccountId, Ed25519, Hash, Id, MultiSignature
from tests.pallets.support.ledger import (
    ALICE,
    BOB,
    CHARLIE,
    DAVE,
    ENDOWMENT,
    EVE,
    GENESIS_HASH,
    KEYS,
    Ledger,
)

ASKER, SERVER, MODEL_OWNER = BOB, CHARLIE, EVE
DEPOSIT = 10 * OPEN
BOND = 1_000 * OPEN
PLANCK_PER_TOKEN = 10**10
OPEN_TOKENS = OPEN // PLANCK_PER_TOKEN
RATE = 1_000 * PLANCK_PER_TOKEN
ZERO = Hash(bytes(32))
PARAMETERS = Parameters(platform_fee_planck=0, challenge_blocks=5, retention_blocks=10)
NAMES = {AccountId(pair.account): name for name, pair in KEYS.items()}


class Models(Pallet, index=21):
    """Stands in for the pallet: model 0 is published, there is no other."""

    record: Model

    def build_genesis(self) -> None:
        self.record = Model(
            owner=MODEL_OWNER,
            name="model",
            base=ZERO,
            datanets=(),
            rows=0,
            rate_in_planck=RATE,
            rate_out_planck=RATE,
            latest=None,
            deployed=None,
            is_retired=False,
            created_at=1,
            deposit_planck=0,
        )

    def get(self, model: int) -> Model | None:
        return self.record if model == 0 else None

    def may_use(self, account: AccountId, model: int) -> bool:
        return model == 0 and not self.record.is_retired


class Attribution(Pallet, index=23):
    """Stands in for the pallet: counts what it is told to have received."""

    funded: dict[tuple[int, AccountId], tuple[int, int]]
    epoch: int
    unsettled: int
    settles: bool
    was_open: bool
    answered: int

    def build_genesis(self) -> None:
        self.funded, self.epoch, self.unsettled = {}, 0, 0
        self.settles = self.was_open = False
        self.answered = 0
        system = self._machine.pallets["System"]
        assert isinstance(system, System)
        system.create_pot(ATTRIBUTION_POT)

    def fund(self, model: int, server: AccountId, redeemed_planck: int, part_planck: int) -> int:
        redeemed, part = self.funded.get((model, server), (0, 0))
        self.funded[model, server] = (redeemed + redeemed_planck, part + part_planck)
        return self.epoch

    def current_epoch(self, model: int, server: AccountId) -> int:
        return self.epoch

    def first_unsettled_epoch(self, model: int, server: AccountId) -> int:
        return self.unsettled

    def is_settling(self, server: AccountId) -> bool:
        return self.settles

    def unsettled_of(self, server: AccountId) -> int:
        return 0

    def answered_for(self, server: AccountId) -> int:
        return self.answered

    def has_opened(self, model: int) -> bool:
        return self.was_open

    def give_back(
        self, model: int, server: AccountId, redeemed_planck: int, asker: AccountId
    ) -> int:
        redeemed, part = self.funded[model, server]
        amount = part * redeemed_planck // redeemed
        self.funded[model, server] = (redeemed - redeemed_planck, part - amount)
        balances = self._machine.pallets["Balances"]
        assert isinstance(balances, Balances)
        balances.transfer(ATTRIBUTION_POT, asker, amount)
        return amount


class Market(Ledger):
    """A ledger of Inference and what it needs; SERVER is bonded from genesis."""

    def __init__(
        self,
        extra: tuple[tuple[AccountId, int], ...] = (),
        parameters: Parameters = PARAMETERS,
        servers: tuple[GenesisServer, ...] = (GenesisServer(SERVER, BOND),),
    ) -> None:
        endowed = tuple((who, ENDOWMENT) for who in (ALICE, BOB, CHARLIE, DAVE, EVE)) + extra
        super().__init__(
            (System, Balances, TransactionPayment, Models, Attribution, Inference),
            endowed=endowed,
            Inference=Genesis(parameters, servers),
        )
        self.inference = self.pallet(Inference)
        self.balances = self.pallet(Balances)
        self.models = self.pallet(Models)
        self.fund = self.pallet(Attribution)

    def __enter__(self) -> Market:
        return self

    # ----------------------------------------------------------------------------- reading

    def channel(self, number: int = 0) -> Channel:
        found = self.inference.channels.get(number)
        assert found is not None
        return found

    def server(self, who: AccountId = SERVER) -> Server:
        found = self.inference.servers.get(who)
        assert found is not None
        return found

    def held(self, who: AccountId = ASKER) -> int:
        return self.balances.held(HoldReason.InferenceChannel, who)

    def bond(self, who: AccountId = SERVER) -> int:
        return self.balances.held(HoldReason.ServerBond, who)

    # ---------------------------------------------------------------------------- documents

    def rates(self) -> Rates:
        rates = self.inference.rates(0)
        assert rates is not None
        return rates

    def voucher(self, sequence: int = 1, before: int = 0, **changes: Any) -> Voucher:
        """Return the voucher of an answer by the present price list, up to the deposit."""
        terms: dict[str, Any] = {
            "genesis": GENESIS_HASH,
            "channel": 0,
            "model": 0,
            "limit_planck": DEPOSIT,
            "rates": self.rates(),
            "question": ZERO,
            "train_job": 0,
            "sampling": GREEDY,
            "may_draw": False,
            "expires_at": self.number + 100,
            **changes,
        }
        return Voucher(sequence=sequence, before_planck=before, **terms)

    def receipt(self, voucher: Voucher, tokens: int, **changes: Any) -> Receipt:
        """Return the receipt that an honest server signs, with changes."""
        honest = Receipt(
            version=RECEIPT_VERSION,
            voucher=voucher_hash(voucher),
            server=SERVER,
            index_job=1,
            adapter=ZERO,
            tokens_in=tokens,
            tokens_out=0,
            fee_planck=voucher.fee(tokens, 0),
            answer=ZERO,
            evidence=ZERO,
        )
        return replace(honest, **changes)

    # --------------------------------------------------------------------------------- calls

    def open(self, who: AccountId = ASKER, **changes: Any) -> int:
        number = self.inference.next_id.get()
        arguments = {"model": 0, "server": Id(SERVER), "deposit": DEPOSIT, **changes}
        self.sign(who, "Inference", "open_channel", **arguments)
        return number

    def redeem(
        self,
        voucher: Voucher,
        tokens: int,
        *,
        out: int = 0,
        who: AccountId = SERVER,
        signature: MultiSignature | None = None,
    ) -> None:
        self.sign(
            who,
            "Inference",
            "redeem",
            voucher=voucher,
            tokens_in=tokens,
            tokens_out=out,
            signature=signature or signed(voucher).signature,
        )

    def pay(self, tokens: int, *, channel: int = 0, asker: AccountId = ASKER) -> Voucher:
        """Redeem one more answer of a channel; returns its voucher."""
        record = self.channel(channel)
        voucher = self.voucher(
            record.sequence + 1,
            record.redeemed_planck,
            channel=channel,
            limit_planck=record.deposit_planck,
        )
        signature = signed(voucher, asker).signature
        self.redeem(voucher, tokens, who=record.server, signature=signature)
        return voucher

    def end(self, who: AccountId, name: str = "close_channel", channel: int = 0) -> None:
        self.sign(who, "Inference", name, channel=channel)

    def report(
        self,
        voucher: Voucher,
        receipt: Receipt,
        *,
        who: AccountId = DAVE,
        asker: AccountId = ASKER,
        signature: bytes | None = None,
    ) -> None:
        self.sign(
            who,
            "Inference",
            "report_receipt",
            voucher=signed(voucher, asker),
            receipt=receipt,
            signature=signature or sign_receipt(receipt),
        )

    def report_double(self, voucher: Voucher, receipt: Receipt, other: Receipt) -> None:
        self.sign(
            DAVE,
            "Inference",
            "report_double_receipt",
            voucher=signed(voucher),
            receipt=receipt,
            signature=sign_receipt(receipt),
            other=other,
            other_signature=sign_receipt(other),
        )


def signed(voucher: Voucher, asker: AccountId = ASKER) -> SignedVoucher:
    """Return a voucher with the ed25519 signature of one of the five."""
    signature = KEYS[NAMES[asker]].sign(voucher_payload(voucher))
    return SignedVoucher(voucher, asker, Ed25519(signature))


def sign_receipt(receipt: Receipt, pair: Keypair | None = None) -> bytes:
    """Return the signature of a receipt by the server it names, or by another key."""
    signer = pair or KEYS[NAMES[receipt.server]]
    return signer.sign(receipt_hash(receipt))
