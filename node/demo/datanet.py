"""The first steps of the story: funds, a datanet, and rows from contributors of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from genesis.amounts import format_amount
from ml.rows.row import Row, encode_batch, row_hash
from node.client import Finalized
from node.demo.contributors import Contributor
from node.demo.stage import BANK, OWNER, StoryStage, event_of
from pallets.datanets.records import Access, Verdict
from runtime.crypto.keys import Keypair
from runtime.types.primitives import OPEN, AccountId, Hash, Id

BATCH_ROWS: Final = 500
FUNDS: Final = 10_000 * OPEN


def fund(stage: StoryStage, pairs: Sequence[Keypair]) -> None:
    """Give each account what its steps cost."""
    for pair in pairs:
        stage.send(
            BANK,
            "Balances",
            "transfer_keep_alive",
            dest=Id(AccountId(pair.account)),
            value=FUNDS,
        )


def open_datanet(stage: StoryStage) -> int:
    """Open the datanet; return its number."""
    stage.print_line("\n2. Grace opens a datanet; contributors post a bond and upload their rows")
    included = stage.send(
        OWNER,
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
    return int(event_of(included, "Created").datanet)


def contribute(stage: StoryStage, datanet: int, people: Sequence[Contributor]) -> dict[str, int]:
    """Contribute, accept and publish all rows; return the accepted rows of each contributor."""
    accepted: dict[str, int] = {}
    for person in people:
        count = 0
        for start in range(0, len(person.rows), BATCH_ROWS):
            rows = person.rows[start : start + BATCH_ROWS]
            included = _contribute_batch(stage, datanet, person, rows)
            if included is None:
                break
            batch = int(event_of(included, "Contributed").batch)
            stage.send(
                OWNER,
                "Datanets",
                "review",
                datanet=datanet,
                batch=batch,
                verdict=Verdict.Accept,
            )
            count += len(rows)
        accepted[person.name] = count
    included = stage.send(OWNER, "Datanets", "publish", datanet=datanet)
    published = event_of(included, "Published")
    stage.print_line(f"   version {published.version} published: {published.rows:,} rows")
    return accepted


def _contribute_batch(
    stage: StoryStage, datanet: int, person: Contributor, rows: Sequence[Row]
) -> Finalized | None:
    data = encode_batch(list(rows))
    blob = stage.client.blobs.upload(data)
    arguments = {
        "datanet": datanet,
        "blob": blob,
        "size_bytes": len(data),
        "row_hashes": tuple(Hash(row_hash(row)) for row in rows),
    }
    included = stage.send(person.pair, "Datanets", "contribute", may_fail=True, **arguments)
    if included.error is not None:
        stage.print_line(f"   {person.name:<24} refused: {included.error}")
        return None
    bond = event_of(included, "Held").amount
    stage.print_line(
        f"   {person.name:<24} {len(rows):>5} rows in block {included.block_number}, "
        f"bond {format_amount(bond)}"
    )
    return included
