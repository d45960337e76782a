"""Models: created private, trained, indexed, published, retired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pallets.balances import Balances, HoldReason
from pallets.datanets import Datanets
from pallets.datanets.records import Access, Verdict
from pallets.models import (
    CREATION_DEPOSIT,
    RATE_MAX,
    Base,
    Genesis,
    Models,
    Stage,
)
from pallets.models.records import FormerRates
from pallets.system import System
from runtime.frame.dispatch import DispatchFailed
from runtime.shared.documents import DATANETS_MAX, DatanetVersion, Indexed, Trained
from runtime.shared.receipts import VOUCHER_BLOCKS_MAX
from runtime.types.primitives import AccountId, Hash
from tests.pallets.support.ledger import ALICE, BOB, CHARLIE, ENDOWMENT, Ledger

BASE = Hash(b"base".ljust(32, b"\0"))
ADAPTER = Hash(b"adapter".ljust(32, b"\0"))
ZERO = Hash(bytes(32))
TRAINED = Trained(ADAPTER, ZERO, ZERO, ZERO, 10, 2, 0, 900, 800)
INDEXED = Indexed(ZERO, ZERO, ZERO, 1, ZERO, ZERO, ZERO, ZERO, ZERO, 2, 4096)
FIRST = DatanetVersion(0, 1)


@pytest.fixture
def shop() -> Iterator[Ledger]:
    """A ledger with one base and Alice's datanets: 0 public, 1 private, each with version 1."""
    genesis = Genesis(bases=((BASE, Base("tiny", 3_400_000, 192)),))
    with Ledger((System, Balances, Datanets, Models), Models=genesis) as ledger:
        for number, access in enumerate((Access.Public, Access.Private)):
            make_datanet(ledger, number, access)
        yield ledger
        ledger.check()


def make_datanet(ledger: Ledger, number: int, access: Access) -> None:
    ledger.sign(
        ALICE,
        "Datanets",
        "create",
        name=f"net {number}",
        summary="s",
        description="",
        tags=(),
        licence="MIT",
        source="s",
        purpose="p",
        schema="s",
        access=access,
    )
    rows = tuple(Hash(bytes([row]) * 32) for row in range(number + 2))
    ledger.sign(
        ALICE, "Datanets", "contribute", datanet=number, blob=ZERO, size_bytes=1, row_hashes=rows
    )
    ledger.sign(ALICE, "Datanets", "review", datanet=number, batch=0, verdict=Verdict.Accept)
    ledger.sign(ALICE, "Datanets", "publish", datanet=number)


def create(ledger: Ledger, who: AccountId = BOB, **changes: Any) -> None:
    arguments = {
        "name": "my model",
        "base": BASE,
        "datanets": (FIRST,),
        "rate_in_planck": 1_000,
        "rate_out_planck": 3_000,
    }
    ledger.sign(who, "Models", "create", **{**arguments, **changes})


def publish(ledger: Ledger, adapter: Hash = ADAPTER, who: AccountId = BOB) -> None:
    ledger.sign(who, "Models", "publish", model=0, adapter=adapter)


def train(ledger: Ledger, job: int = 7, adapter: Hash = ADAPTER) -> None:
    ledger.pallet(Models).record_trained(0, job, replace(TRAINED, adapter=adapter))


def stage(ledger: Ledger) -> Stage:
    info = ledger.pallet(Models).model(0)
    assert info is not None
    return info.stage


def test_a_created_model_is_private_and_its_deposit_is_held(shop: Ledger) -> None:
    create(shop)
    models = shop.pallet(Models)
    assert stage(shop) is Stage.Created
    assert models.may_use(BOB, 0)
    assert not models.may_use(CHARLIE, 0)
    assert models.rows_of(0) == 2
    assert shop.pallet(Balances).held(HoldReason.ModelDeposit, BOB) == CREATION_DEPOSIT


def test_a_model_sums_the_rows_of_its_datanets(shop: Ledger) -> None:
    create(shop, who=ALICE, datanets=(FIRST, DatanetVersion(1, 1)))
    assert shop.pallet(Models).rows_of(0) == 5


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"name": "x"}, Models.InvalidName),
        ({"base": ZERO}, Models.UnknownBase),
        ({"datanets": ()}, Models.DatanetCount),
        ({"datanets": (FIRST, FIRST)}, Models.DatanetCount),
        (
            {"datanets": tuple(DatanetVersion(at, 1) for at in range(DATANETS_MAX + 1))},
            Models.DatanetCount,
        ),
        ({"datanets": (DatanetVersion(0, 2),)}, Models.UnknownVersion),
        ({"datanets": (DatanetVersion(1, 1),)}, Models.NoAccess),
        ({"rate_in_planck": RATE_MAX + 1}, Models.RateTooHigh),
        ({"rate_out_planck": RATE_MAX + 1}, Models.RateTooHigh),
    ],
)
def test_a_wrong_model_is_refused(
    shop: Ledger, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        create(shop, **changes)
    assert shop.pallet(Models).next_id.get() == 0


def test_a_name_is_taken_once(shop: Ledger) -> None:
    create(shop)
    with pytest.raises(Models.NameTaken):
        create(shop, name="MY model", who=CHARLIE)
    found = shop.pallet(Models).model_named("My Model")
    assert found is not None
    assert found.id == 0
    assert shop.pallet(Models).model_named("other") is None


def test_publishing_deploys_the_tested_adapter(shop: Ledger) -> None:
    create(shop)
    train(shop)
    assert stage(shop) is Stage.Trained
    shop.pallet(Models).record_indexed(0, 8, INDEXED, train_job=7)
    assert stage(shop) is Stage.Indexed
    assert not shop.pallet(Models).may_use(CHARLIE, 0)
    publish(shop)
    assert stage(shop) is Stage.Published
    assert shop.pallet(Models).may_use(CHARLIE, 0)


def test_publishing_needs_training_then_the_index_then_the_same_adapter(shop: Ledger) -> None:
    create(shop)
    with pytest.raises(Models.NotTrained):
        publish(shop)
    train(shop)
    with pytest.raises(Models.NotIndexed):
        publish(shop)
    shop.pallet(Models).record_indexed(0, 8, INDEXED)
    with pytest.raises(Models.WrongAdapter):
        publish(shop, adapter=ZERO)
    publish(shop)
    with pytest.raises(Models.AlreadyPublished):
        publish(shop)


def test_a_new_training_leaves_the_deployed_adapter_until_it_is_published(shop: Ledger) -> None:
    create(shop)
    models = shop.pallet(Models)
    train(shop)
    models.record_indexed(0, 8, INDEXED)
    publish(shop)
    train(shop, job=9, adapter=ZERO)
    record = models.get(0)
    assert record is not None
    assert record.deployed is not None
    assert record.deployed.adapter == ADAPTER
    with pytest.raises(Models.StaleIndex):
        models.record_indexed(0, 10, INDEXED, train_job=7)
    models.record_indexed(0, 11, INDEXED, train_job=9)
    publish(shop, adapter=ZERO)
    record = models.get(0)
    assert record is not None
    assert record.deployed is not None
    assert record.deployed.adapter == ZERO


def test_an_index_without_training_is_refused(shop: Ledger) -> None:
    create(shop)
    with pytest.raises(Models.NotTrained):
        shop.pallet(Models).record_indexed(0, 8, INDEXED)


def test_the_owner_sets_the_rates_within_bounds(shop: Ledger) -> None:
    create(shop)
    shop.sign(BOB, "Models", "set_rates", model=0, rate_in_planck=5, rate_out_planck=RATE_MAX)
    record = shop.pallet(Models).get(0)
    assert record is not None
    assert (record.rate_in_planck, record.rate_out_planck) == (5, RATE_MAX)
    with pytest.raises(Models.RateTooHigh):
        shop.sign(
            BOB, "Models", "set_rates", model=0, rate_in_planck=RATE_MAX + 1, rate_out_planck=0
        )


def set_datanets(ledger: Ledger, *uses: DatanetVersion, who: AccountId = BOB) -> None:
    ledger.sign(who, "Models", "set_datanets", model=0, datanets=uses)


def second_version(ledger: Ledger) -> DatanetVersion:
    """Publish version 2 of datanet 0, which has one row more."""
    row = (Hash(b"\xff" * 32),)
    batch = {"datanet": 0, "blob": BASE, "size_bytes": 1, "row_hashes": row}
    ledger.sign(ALICE, "Datanets", "contribute", **batch)
    ledger.sign(ALICE, "Datanets", "review", datanet=0, batch=1, verdict=Verdict.Accept)
    ledger.sign(ALICE, "Datanets", "publish", datanet=0)
    return DatanetVersion(0, 2)


def test_the_owner_takes_a_newer_version_and_the_rows_follow(shop: Ledger) -> None:
    create(shop)
    newer = second_version(shop)
    set_datanets(shop, newer)
    record = shop.pallet(Models).get(0)
    assert record is not None
    assert (record.datanets, record.rows) == ((newer,), 3)
    assert shop.events(Models.DatanetsSet) == [Models.DatanetsSet(0, (newer,), 3)]


@pytest.mark.parametrize(
    ("uses", "error"),
    [
        ((), Models.DatanetCount),
        ((FIRST, FIRST), Models.DatanetCount),
        ((DatanetVersion(0, 2),), Models.UnknownVersion),
        ((DatanetVersion(0, 0),), Models.UnknownVersion),
        ((DatanetVersion(1, 1),), Models.NoAccess),
    ],
)
def test_datanets_that_could_not_be_created_on_cannot_be_taken(
    shop: Ledger, uses: tuple[DatanetVersion, ...], error: type[Exception]
) -> None:
    create(shop)
    with pytest.raises(error):
        set_datanets(shop, *uses)


def test_other_datanets_leave_training_and_deployment_as_they_are(shop: Ledger) -> None:
    create(shop)
    train(shop)
    shop.pallet(Models).record_indexed(0, 8, INDEXED, 7)
    publish(shop)
    before = shop.pallet(Models).get(0)
    set_datanets(shop, second_version(shop))
    after = shop.pallet(Models).get(0)
    assert before is not None
    assert after is not None
    assert (after.latest, after.deployed) == (before.latest, before.deployed)
    assert stage(shop) is Stage.Published


def test_only_the_owner_of_a_model_in_service_takes_other_datanets(shop: Ledger) -> None:
    with pytest.raises(Models.UnknownModel):
        set_datanets(shop, FIRST)
    create(shop)
    with pytest.raises(Models.NotOwner):
        set_datanets(shop, FIRST, who=CHARLIE)
    shop.sign(BOB, "Models", "retire", model=0)
    with pytest.raises(Models.IsRetired):
        set_datanets(shop, FIRST)


def test_vouchers_may_name_the_former_rates_while_they_can_live(shop: Ledger) -> None:
    create(shop)
    shop.sign(BOB, "Models", "set_rates", model=0, rate_in_planck=9_000, rate_out_planck=1)
    record = shop.pallet(Models).get(0)
    assert record is not None
    assert record.former_rates == FormerRates(1_000, 3_000, shop.number + VOUCHER_BLOCKS_MAX)
    assert record.lowest_rates(shop.number + VOUCHER_BLOCKS_MAX) == (1_000, 1)
    assert record.lowest_rates(shop.number + VOUCHER_BLOCKS_MAX + 1) == (9_000, 1)


def test_a_retired_model_is_refunded_and_stays_retired(shop: Ledger) -> None:
    create(shop)
    shop.sign(BOB, "Models", "retire", model=0)
    assert shop.pallet(Balances).free(BOB) == ENDOWMENT
    assert stage(shop) is Stage.Retired
    assert not shop.pallet(Models).may_use(BOB, 0)
    with pytest.raises(Models.IsRetired):
        publish(shop)
    with pytest.raises(Models.IsRetired):
        train(shop)
    with pytest.raises(Models.IsRetired):
        shop.sign(BOB, "Models", "retire", model=0)


def test_only_the_owner_changes_a_model(shop: Ledger) -> None:
    create(shop)
    with pytest.raises(Models.NotOwner):
        publish(shop, who=CHARLIE)
    with pytest.raises(Models.NotOwner):
        shop.sign(CHARLIE, "Models", "retire", model=0)
    with pytest.raises(Models.NotOwner):
        shop.sign(CHARLIE, "Models", "set_rates", model=0, rate_in_planck=0, rate_out_planck=0)


def test_an_unknown_model_is_refused_everywhere(shop: Ledger) -> None:
    models = shop.pallet(Models)
    with pytest.raises(Models.UnknownModel):
        publish(shop)
    with pytest.raises(Models.UnknownModel):
        train(shop)
    assert not models.may_use(BOB, 0)
    assert models.rows_of(0) == 0
    assert models.get(0) is models.model(0) is None


def test_root_registers_a_base_once(shop: Ledger) -> None:
    arguments = {"base": ZERO, "name": "bigger", "parameters": 10, "context_tokens": 64}
    with pytest.raises(DispatchFailed, match="BadOrigin"):
        shop.sign(ALICE, "Models", "register_base", **arguments)
    shop.root("Models", "register_base", **arguments)
    assert shop.pallet(Models).base(ZERO) == Base("bigger", 10, 64)
    with pytest.raises(Models.BaseRegisteredAlready):
        shop.root("Models", "register_base", **arguments)
    with pytest.raises(Models.InvalidName):
        shop.root("Models", "register_base", **{**arguments, "base": ADAPTER, "name": ""})


def test_models_are_listed_in_pages(shop: Ledger) -> None:
    for name in ("one", "two", "three"):
        create(shop, name=name)
    assert [info.model.name for info in shop.pallet(Models).models(1, 2**32 - 1)] == [
        "two",
        "three",
    ]
