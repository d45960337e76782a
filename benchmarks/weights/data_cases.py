"""Datanets and Models at their worst cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from benchmarks.weights.case import Benchmarks, Work
from benchmarks.weights.stage import WeighingStage
from pallets.datanets import Datanets
from pallets.datanets.records import (
    BATCH_ROWS_MAX,
    CREATION_DEPOSIT,
    CURATORS_MAX,
    SUMMARY_BYTES_MAX,
    TAG_BYTES_MAX,
    TAGS_MAX,
    TEXT_BYTES_MAX,
    Access,
    Datanet,
    Profile,
    Progress,
    Verdict,
    Version,
)
from pallets.models import Base, Model, Models, Training
from runtime.crypto.hashing import blake2b_256
from runtime.shared.documents import DATANETS_MAX, DatanetVersion, Trained
from runtime.types.primitives import OPEN, ZERO_HASH, AccountId, Hash, Id

DATANETS: Final = Benchmarks("Datanets")
MODELS: Final = Benchmarks("Models")

BATCHES: Final = 256
"""Accepted batches of the version that is published; a datanet may have more, at the same slope."""
BASE: Final = Hash(b"base".ljust(32, b"\0"))
ROWS: Final = 2_000


def texts() -> dict[str, Any]:
    """Return the longest texts that a datanet may have."""
    return {
        "summary": "s" * SUMMARY_BYTES_MAX,
        "description": "d" * TEXT_BYTES_MAX,
        "tags": ("t" * TAG_BYTES_MAX,) * TAGS_MAX,
        "licence": "CC-BY-SA-4.0",
        "source": "o" * TEXT_BYTES_MAX,
        "purpose": "p" * TEXT_BYTES_MAX,
        "schema": "c" * TEXT_BYTES_MAX,
    }


def publish_datanets(
    stage: WeighingStage, owner: AccountId, count: int
) -> tuple[DatanetVersion, ...]:
    """Store published datanets that an account reads by a grant; returns their versions."""
    datanets, stranger = stage.pallet(Datanets), stage.account("stranger")
    curators = stage.accounts("curator", CURATORS_MAX - 1)
    uses = []
    for number in range(count):
        profile = Profile(**texts())
        record = Datanet(
            owner=stranger,
            name=f"datanet {number}",
            profile=profile,
            access=Access.Private,
            curators=curators,
            created_at=1,
            deposit_planck=CREATION_DEPOSIT,
        )
        datanets.records.put(number, record)
        datanets.readers.put((number, owner), 1)
        progress = Progress(
            batches=1,
            pending_batches=0,
            accepted_batches=1,
            accepted_rows=ROWS,
            versions=1,
            published_batches=1,
            published_rows=ROWS,
        )
        datanets.progress.put(number, progress)
        version = Version(1, 1, ROWS, ZERO_HASH, published_at=1)
        datanets.versions.put((number, 1), version)
        uses.append(DatanetVersion(number, 1))
    return tuple(uses)


def _owned(stage: WeighingStage, **changes: Any) -> AccountId:
    """Return the owner of datanet 0, which has the longest texts and room for one curator."""
    owner, datanets = stage.account("owner"), stage.pallet(Datanets)
    publish_datanets(stage, owner, 1)
    record = datanets.records.get(0)
    assert record is not None, "published just now"
    datanets.records.put(0, replace(record, owner=owner, **changes))
    return owner


def _rows(count: int) -> tuple[Hash, ...]:
    return tuple(Hash(blake2b_256(b"row %d" % at)) for at in range(count))


def _contributed(stage: WeighingStage, rows: int) -> AccountId:
    """Return the contributor of a batch of datanet 0 that waits for its review."""
    owner = _owned(stage)
    contributor = stage.account("contributor")
    stage.pallet(Datanets).readers.put((0, contributor), 1)
    _contribution(stage, contributor, rows)()
    return owner


def _contribution(stage: WeighingStage, who: AccountId, rows: int) -> Work:
    return stage.signed(
        who,
        "Datanets",
        "contribute",
        datanet=0,
        blob=ZERO_HASH,
        size_bytes=1_000,
        row_hashes=_rows(rows),
    )


@DATANETS.constant
def datanets_create(stage: WeighingStage) -> Work:
    owner, access = stage.account("owner"), Access.Public
    return stage.signed(
        owner, "Datanets", "create", name="Datanet " + "x" * 56, access=access, **texts()
    )


@DATANETS.constant
def datanets_edit(stage: WeighingStage) -> Work:
    owner, access = _owned(stage), Access.Public
    return stage.signed(owner, "Datanets", "edit", datanet=0, access=access, **texts())


@DATANETS.constant
def datanets_request_access(stage: WeighingStage) -> Work:
    _owned(stage, access=Access.OnRequest)
    return stage.signed(stage.account("reader"), "Datanets", "request_access", datanet=0)


@DATANETS.constant
def datanets_grant_access(stage: WeighingStage) -> Work:
    owner, reader = _owned(stage), stage.account("reader")
    stage.pallet(Datanets).requests.put((0, reader), 1)
    return stage.signed(owner, "Datanets", "grant_access", datanet=0, account=Id(reader))


@DATANETS.constant
def datanets_revoke_access(stage: WeighingStage) -> Work:
    owner, reader = _owned(stage), stage.account("reader")
    stage.pallet(Datanets).readers.put((0, reader), 1)
    stage.pallet(Datanets).requests.put((0, reader), 1)
    return stage.signed(owner, "Datanets", "revoke_access", datanet=0, account=Id(reader))


@DATANETS.constant
def datanets_add_curator(stage: WeighingStage) -> Work:
    owner, curator = _owned(stage), Id(stage.account("curator"))
    return stage.signed(owner, "Datanets", "add_curator", datanet=0, curator=curator)


@DATANETS.constant
def datanets_remove_curator(stage: WeighingStage) -> Work:
    owner, curator = _owned(stage), Id(stage.accounts("curator", 1)[0])
    return stage.signed(owner, "Datanets", "remove_curator", datanet=0, curator=curator)


@DATANETS.constant
def datanets_review_accept(stage: WeighingStage) -> Work:
    owner = _contributed(stage, BATCH_ROWS_MAX)
    verdict = Verdict.Accept
    return stage.signed(owner, "Datanets", "review", datanet=0, batch=1, verdict=verdict)


@DATANETS.linear(rows=(1, BATCH_ROWS_MAX))
def datanets_contribute(stage: WeighingStage, rows: int) -> Work:
    """Return the weight of Datanets.contribute, which looks up and stores each row."""
    _owned(stage)
    contributor = stage.account("contributor")
    stage.pallet(Datanets).readers.put((0, contributor), 1)
    return _contribution(stage, contributor, rows)


@DATANETS.linear(rows=(1, BATCH_ROWS_MAX))
def datanets_review_refuse(stage: WeighingStage, rows: int) -> Work:
    """Return the weight of Datanets.review that rejects a batch or calls it spam."""
    owner, verdict = _contributed(stage, rows), Verdict.Spam
    return stage.signed(owner, "Datanets", "review", datanet=0, batch=1, verdict=verdict)


@DATANETS.linear(rows=(1, BATCH_ROWS_MAX))
def datanets_withdraw(stage: WeighingStage, rows: int) -> Work:
    """Return the weight of Datanets.withdraw, which frees each row."""
    _contributed(stage, rows)
    contributor = AccountId(stage.pair("contributor").account)
    return stage.signed(contributor, "Datanets", "withdraw", datanet=0, batch=1)


@DATANETS.linear(batches=(1, BATCHES))
def datanets_publish(stage: WeighingStage, batches: int) -> Work:
    """Return the weight of Datanets.publish, which hashes the root of each accepted batch."""
    owner = _contributed(stage, 1)
    datanets = stage.pallet(Datanets)
    batch = datanets.contributions.get((0, 1))
    assert batch is not None, "contributed just now"
    for position in range(batches):
        datanets.contributions.put((0, position), batch)
        datanets.accepted.put((0, position), position)
    progress = datanets.progress.get(0)
    datanets.progress.put(0, replace(progress, accepted_batches=batches, published_batches=0))
    return stage.signed(owner, "Datanets", "publish", datanet=0)


# ------------------------------------------------------------------------------------------- Models


def store_model(stage: WeighingStage, owner: AccountId, datanets: int = DATANETS_MAX) -> Model:
    """Store model 0 of an owner, trained on so many datanets and indexed."""
    models = stage.pallet(Models)
    models.bases.put(BASE, Base("base", 10**9, 4_096))
    uses = publish_datanets(stage, owner, datanets)
    trained = Trained(
        adapter=BASE,
        moments=BASE,
        trace_root=BASE,
        row_root=BASE,
        steps=7,
        rows_trained=95,
        rows_held_out=5,
        base_loss_micronats=2_000_000,
        adapter_loss_micronats=1_500_000,
    )
    model = Model(
        owner=owner,
        name="Model",
        base=BASE,
        datanets=uses,
        rows=ROWS * datanets,
        rate_in_planck=500,
        rate_out_planck=1_500,
        latest=Training(0, trained, 1),
        deployed=None,
        is_retired=False,
        created_at=1,
        deposit_planck=0,
    )
    models.records.put(0, model)
    models.next_id.put(1)
    return model


@MODELS.constant
def models_register_base(stage: WeighingStage) -> Work:
    return stage.root(
        "Models", "register_base", base=BASE, name="b" * 128, parameters=1, context_tokens=1
    )


@MODELS.linear(datanets=(1, DATANETS_MAX))
def models_create(stage: WeighingStage, datanets: int) -> Work:
    """Return the weight of Models.create, which looks up each datanet version."""
    owner = stage.account("owner")
    uses = publish_datanets(stage, owner, datanets)
    stage.pallet(Models).bases.put(BASE, Base("base", 10**9, 4_096))
    return stage.signed(
        owner,
        "Models",
        "create",
        name="Model " + "x" * 58,
        base=BASE,
        datanets=uses,
        rate_in_planck=OPEN,
        rate_out_planck=OPEN,
    )


@MODELS.linear(datanets=(1, DATANETS_MAX))
def models_set_datanets(stage: WeighingStage, datanets: int) -> Work:
    """Return the weight of Models.set_datanets, which looks up each datanet version."""
    owner = stage.account("owner")
    uses = store_model(stage, owner).datanets[:datanets]
    return stage.signed(owner, "Models", "set_datanets", model=0, datanets=uses)


@MODELS.constant
def models_publish(stage: WeighingStage) -> Work:
    owner = stage.account("owner")
    store_model(stage, owner)
    return stage.signed(owner, "Models", "publish", model=0, adapter=BASE)


@MODELS.constant
def models_set_rates(stage: WeighingStage) -> Work:
    owner = stage.account("owner")
    store_model(stage, owner)
    return stage.signed(
        owner, "Models", "set_rates", model=0, rate_in_planck=OPEN, rate_out_planck=OPEN
    )


@MODELS.constant
def models_retire(stage: WeighingStage) -> Work:
    owner = stage.account("owner")
    publish_datanets(stage, owner, DATANETS_MAX)
    stage.pallet(Models).bases.put(BASE, Base("base", 10**9, 4_096))
    uses = tuple(DatanetVersion(number, 1) for number in range(DATANETS_MAX))
    rates = {"rate_in_planck": OPEN, "rate_out_planck": OPEN}
    stage.signed(owner, "Models", "create", name="Model", base=BASE, datanets=uses, **rates)()
    return stage.signed(owner, "Models", "retire", model=0)
