"""Steps that several stories share: sending as Bob, waiting, and publishing rows as datanet 0."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from ml.rows.harvest import harvest_standard_library
from ml.rows.row import Row, canonical_row, encode_batch, row_hash
from node.client import Client, Finalized, Wait
from pallets.datanets.records import Access, Verdict
from runtime.crypto.keys import Keypair
from runtime.types.primitives import Hash

OWNER: Final = Keypair.from_uri("//Bob")
WAIT_SECONDS: Final = 240.0


def send(
    client: Client, pallet: str, name: str, /, owner: Keypair = OWNER, **arguments: Any
) -> Finalized:
    call = client.make_call(pallet, name, **arguments)
    landed = client.submit(client.sign(call, owner), Wait.FINAL)
    assert isinstance(landed, Finalized)
    assert landed.error is None, landed.error
    return landed


def until(condition: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds} s"
        time.sleep(0.05)


def rows_of(*modules: str) -> list[Row]:
    """Return the distinct rows of some modules of the standard library."""
    harvested = harvest_standard_library(modules).values()
    rows = [canonical_row(row) for module in harvested for row in module]
    return list({row_hash(row): row for row in rows}.values())


def publish_rows(client: Client, rows: Sequence[Row], owner: Keypair = OWNER) -> None:
    """Bring rows onto the chain as version 1 of datanet 0."""
    data = encode_batch(list(rows))
    send(
        client,
        "Datanets",
        "create",
        owner,
        name="rows",
        summary="rows",
        description="rows",
        tags=(),
        licence="PSF-2.0",
        source="this Python",
        purpose="a test",
        schema="prompt, completion",
        access=Access.Public,
    )
    send(
        client,
        "Datanets",
        "contribute",
        owner,
        datanet=0,
        blob=client.blobs.upload(data),
        size_bytes=len(data),
        row_hashes=tuple(Hash(row_hash(row)) for row in rows),
    )
    send(client, "Datanets", "review", owner, datanet=0, batch=0, verdict=Verdict.Accept)
    send(client, "Datanets", "publish", owner, datanet=0)
