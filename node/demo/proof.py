"""The story's proof: every receipt is replayed, and no OPEN has appeared or vanished."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from genesis.amounts import format_amount
from node.demo.stage import StoryFailedError, StoryStage
from runtime.types.primitives import OPEN, Hash

SUPPLY: Final = 1_000_000_000 * OPEN


def verify(stage: StoryStage, receipts: Sequence[Hash]) -> int:
    """Replay all receipts by the command of users; return their number. Raises StoryFailedError."""
    stage.print_line("\n6. Every receipt is replayed: openledger verify RECEIPT ...")
    program = "from cli import main; main()"
    url = stage.client.endpoint.websocket_url
    keys = str(stage.keys_folder)
    command = [sys.executable, "-c", program, "verify", "--json", "--url", url, "--keys", keys]
    replay = subprocess.run(
        [*command, *(receipt.hex() for receipt in receipts)],
        capture_output=True,
        text=True,
        check=False,
    )
    if replay.returncode != 0:
        raise StoryFailedError(f"A receipt does not hold: {replay.stderr.strip()}")
    for document in json.loads(replay.stdout)["receipts"]:
        passed, unchecked = document["passed"], document["not_checked"]
        more = f", {unchecked} not checkable here" if unchecked else ""
        stage.print_line(f"   {document['receipt'][:18]}...  {passed} steps hold{more}")
    return len(receipts)


def check_issuance(stage: StoryStage) -> bool:
    """Compare all balances with the issuance. Raises StoryFailedError where they differ."""
    block = stage.client.finalized_hash()
    issuance = stage.client.query("Balances", "total_issuance", at=block)
    burned = stage.client.query("Balances", "burned", at=block)
    accounts = stage.client.entries("System", "account", at=block)
    balances = sum(info.data.free + info.data.reserved for _, info in accounts)
    conserved = bool(balances == issuance and issuance + burned == SUPPLY)
    stage.print_line(
        f"\n7. Issuance: {format_amount(issuance)} in {len(accounts)} accounts and "
        f"{format_amount(burned)} burned are {'exactly ' if conserved else 'NOT '}"
        "1,000,000,000 OPEN"
    )
    if not conserved:
        raise StoryFailedError("The issuance is not conserved.")
    return conserved
