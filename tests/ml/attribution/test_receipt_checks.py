"""Receipts checked from chain and receipts alone: the fault named first decides who is paid."""

from dataclasses import replace

import pytest

from ml.attribution.epoch_files import (
    PAGE_BYTES_MAX,
    PAGE_RECEIPTS,
    ChannelRange,
    IndexInput,
    receipts_of,
)
from ml.attribution.receipt_checks import ReceiptChecks
from runtime.codec.scale import codec
from runtime.shared.documents import FaultKind, Indexed, Recipe, Settle
from runtime.shared.receipts import EpochReceipts
from runtime.types.primitives import ZERO_HASH, AccountId, Hash
from tests.runtime.support.paper_receipts import (
    ASKER,
    EVIDENCE,
    FEE,
    GENESIS,
    SERVER,
    paper_receipt,
    receipt_for,
    signed_voucher,
    voucher_of,
)

SPEC = Settle(
    model=1,
    server=AccountId(SERVER.account),
    epoch=0,
    receipts_root=ZERO_HASH,
    receipts=3,
    fees_planck=3 * FEE,
    pool_planck=FEE,
    bound_milli=0,
    draws=1,
    text_blocks=1,
)
INDEX = IndexInput(
    index_job=6,
    train_job=5,
    base=ZERO_HASH,
    recipe=Recipe(),
    adapter=Hash(b"a" * 32),
    moments=ZERO_HASH,
    seed=ZERO_HASH,
    indexed=Indexed(*(ZERO_HASH,) * 3, 1, *(ZERO_HASH,) * 5, 1, 8),
)
LONG_SKETCH = replace(EVIDENCE, phi=b"\x7f" * 8)
CHANNEL = ChannelRange(0, AccountId(ASKER.account), 0, 3 * FEE)


def fault_of(*receipts, channel=CHANNEL):
    checks = ReceiptChecks(SPEC, GENESIS, [channel], [INDEX])
    for at, signed in enumerate(receipts):
        fault = checks.check(at, signed)
        if fault is not None:
            return fault.kind, fault.position
    return None


ONE, TWO, THREE = (paper_receipt(number) for number in (1, 2, 3))


def test_receipts_in_their_order_have_no_fault():
    assert fault_of(ONE, TWO, THREE) is None
    assert fault_of(ONE, THREE) is None, "one that was left out is another matter"


@pytest.mark.parametrize(
    ("second", "kind"),
    [
        (ONE, FaultKind.Order),
        (paper_receipt(2, before=FEE - 1), FaultKind.Order),
        (paper_receipt(2, genesis=ZERO_HASH), FaultKind.Voucher),
        (paper_receipt(2, model=2), FaultKind.Voucher),
        (paper_receipt(2, channel=1), FaultKind.Voucher),
        (receipt_for(signed_voucher(voucher_of(2), asker=SERVER)), FaultKind.Voucher),
        (paper_receipt(4, before=3 * FEE), FaultKind.Range),
        (paper_receipt(2, server=ASKER), FaultKind.Receipt),
        (replace(TWO, signature=bytes(64)), FaultKind.Receipt),
        (replace(TWO, evidence=replace(EVIDENCE, phi=bytes(9))), FaultKind.Receipt),
        (receipt_for(signed_voucher(voucher_of(2)), version=1), FaultKind.Receipt),
        (receipt_for(signed_voucher(voucher_of(2)), index_job=7), FaultKind.Index),
        (receipt_for(signed_voucher(replace(voucher_of(2), train_job=7))), FaultKind.Index),
        (receipt_for(signed_voucher(voucher_of(2)), adapter=ZERO_HASH), FaultKind.Index),
        (receipt_for(signed_voucher(voucher_of(2)), replace(EVIDENCE, phi=b"")), FaultKind.Index),
        (receipt_for(signed_voucher(voucher_of(2)), LONG_SKETCH), FaultKind.Sketch),
    ],
)
def test_each_lie_has_its_name(second, kind):
    assert fault_of(ONE, second) == (kind, 1)


def test_what_was_redeemed_in_another_epoch_is_out_of_range():
    assert fault_of(ONE, channel=replace(CHANNEL, start_planck=1)) == (FaultKind.Range, 0)
    assert fault_of(ONE, channel=replace(CHANNEL, end_planck=FEE - 1)) == (FaultKind.Range, 0)


def test_no_asker_is_repaid_for_a_receipt_that_it_may_not_have_paid():
    """A voucher that is not its asker's or a range that was not redeemed comes before all else."""
    nonsense = receipt_for(
        signed_voucher(voucher_of(9, before=9 * FEE)), server=ASKER, fee_planck=1
    )
    assert fault_of(nonsense) == (FaultKind.Range, 0)


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, bytes(PAGE_BYTES_MAX + 1)])
def test_what_is_no_page_is_none(data):
    page = receipts_of(data)
    assert page is None or page.receipts == ()


def test_a_page_has_a_most_of_receipts():
    full = EpochReceipts((ONE,) * PAGE_RECEIPTS)
    over = EpochReceipts((ONE,) * (PAGE_RECEIPTS + 1))
    assert receipts_of(codec(EpochReceipts).encode(full)) == full
    assert receipts_of(codec(EpochReceipts).encode(over)) is None
