"""Receipts of an epoch as a node lists them, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from node.client import Client, RequestRefusedError
from node.commands.answers.answer_documents import read_receipt
from node.commands.base.account_signer import account_of
from node.commands.base.command import refuse
from runtime.crypto import ss58
from runtime.shared.receipts import SignedReceipt
from runtime.types.primitives import AccountId

PAGE: Final = 256


def server_of(client: Client, server: str | None) -> AccountId:
    """Return the account that a user names, or the node's own."""
    if server is not None:
        return account_of(server)
    try:
        status = client.call("openledger_status")
    except RequestRefusedError:
        status = {}
    account = status.get("account") if isinstance(status, dict) else None
    if not isinstance(account, str):
        refuse("The node does not say which account answers. Name it with --server.")
    return account_of(account)


def signed_receipts_of(
    client: Client, model: int, server: AccountId, epoch: int | None
) -> Iterator[tuple[SignedReceipt, str | None]]:
    """Yield the receipts of an epoch by channel and sequence, each with its asker's verdict."""
    start = 0
    while True:
        page = client.call("openledger_receipts", model, ss58.encode(server), epoch, start, PAGE)
        for entry in page:
            yield read_receipt(entry["signedReceipt"]), entry["feedback"]
        if len(page) < PAGE:
            return
        start += PAGE
