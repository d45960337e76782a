"""`openledger channel`: the payment channels of an account, its books, and what a server owes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from node.client import Client
from node.client.asker_ledger import AskerLedger, ChannelBook, is_signed
from node.commands.answers.answer_documents import read_receipt
from node.commands.base.account_signer import account_of, keys_folder_option
from node.commands.base.command import command_output, pass_client, refuse
from node.commands.base.command_group import CommandGroup
from node.commands.base.documents import Planck
from node.commands.base.output import Output
from node.commands.base.transaction import (
    SPENDING_DOCUMENTS,
    Spending,
    Spent,
    spend,
    transaction_options,
)
from node.keys.keystore import Keystore
from pallets.inference import Channel
from runtime.codec.scale import DecodeError
from runtime.crypto import ss58
from runtime.frame.dispatch import Call
from runtime.shared.receipts import SignedReceipt, receipt_hash, voucher_payload
from runtime.types.primitives import AccountId
from runtime.types.signature import is_signed_by


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """A channel of an account: what the chain says of it, and what the asker's books say."""

    channel: int
    role: str
    model: int
    server: str
    state: str
    deposit_planck: Planck
    redeemed_planck: Planck
    spent_planck: Planck | None
    """By the books; null where they do not know the channel."""
    is_disputed: bool
    """Whether the books hold a receipt that was refused: the channel is paid from no more."""


@dataclass(frozen=True, slots=True)
class ChannelsDocument:
    """The channels of an account."""

    account: str
    channels: tuple[ChannelRow, ...]


@dataclass(frozen=True, slots=True)
class RecoveredDocument:
    """The book of a channel that was begun again, and what it rests on."""

    channel: int
    deposit_planck: Planck
    spent_planck: Planck
    answers: int
    last_receipt: str | None
    """The server's last receipt with the asker's own voucher; null where it showed none."""


@click.group("channel", cls=CommandGroup)
def channel_command() -> None:
    """Look after payment channels: books, lost books, false receipts."""


@channel_command.command("list")
@click.argument("account", envvar="OPENLEDGER_FROM")
@keys_folder_option
@command_output(ChannelsDocument)
@pass_client
def list_channels(
    output: Output, client: Client, account: str, keystore: Keystore
) -> ChannelsDocument:
    """List the channels of ACCOUNT, as asker and as server."""
    who = account_of(account, keystore)
    ledger = AskerLedger(keystore.folder, client.genesis_hash, who)
    rows = [
        _row(who, entry.id, entry.channel, ledger.get(entry.id))
        for entry in client.api("InferenceApi_channels_of", who)
    ]
    return ChannelsDocument(ss58.encode(who), tuple(rows))


@channel_command.command("recover")
@click.argument("channel", type=click.IntRange(0))
@click.option("--from", "sender", required=True, envvar="OPENLEDGER_FROM", help="Who asked.")
@keys_folder_option
@command_output(RecoveredDocument)
@pass_client
def recover(
    output: Output, client: Client, channel: int, sender: str, keystore: Keystore
) -> RecoveredDocument:
    """Begin the lost book of CHANNEL again, from the chain and the server's last receipt.

    The receipt counts only where it carries your own signature. Ask at the node of the server: what
    no receipt shows is not in the book, and the server then names what it is owed.
    """
    asker = account_of(sender, keystore)
    record = _channel(client, channel)
    if record.asker != asker:
        refuse(f"Channel {channel} is not one that {sender} asks with.")
    last = client.serving.channel_receipt(channel)
    if last is not None and not _is_own(client, channel, record, last):
        output.note("The server's last receipt does not carry your voucher, so it is left out.")
        last = None
    ledger = AskerLedger(keystore.folder, client.genesis_hash, asker)
    with ledger.held():
        book = ledger.recover(channel, _book(record, last))
    if last is None:
        output.note("The node shows no receipt of yours: the book rests on the chain alone.")
    return RecoveredDocument(
        channel=channel,
        deposit_planck=Planck(record.deposit_planck),
        spent_planck=Planck(book.spent_planck),
        answers=book.sequence,
        last_receipt=None if last is None else "0x" + receipt_hash(last.receipt).hex(),
    )


@channel_command.command("report")
@click.argument("evidence", metavar="CHANNEL|FILE")
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def report(output: Output, client: Client, evidence: str, spending: Spending) -> Spent:
    """Report a server by a receipt that asks too much, or less than it has redeemed.

    CHANNEL is one of your books, which keep the receipt; FILE holds a signed receipt as hexadecimal
    digits. The server pays what you were wronged by out of its bond.
    """
    return spend(output, client, spending, _report_call(client, evidence, spending))


@channel_command.command("take-back")
@click.argument("channel", type=click.IntRange(0))
@command_output(*SPENDING_DOCUMENTS)
@pass_client
@transaction_options
def take_back(output: Output, client: Client, channel: int, spending: Spending) -> Spent:
    """Give the asker of CHANNEL back what waits for contributors whom a retired model never pays.

    The tokens go to the asker, whoever sends this.
    """
    call = client.make_call("Inference", "take_back", channel=channel)
    return spend(output, client, spending, call)


def _row(who: AccountId, number: int, channel: Channel, book: ChannelBook | None) -> ChannelRow:
    state = "open" if channel.closes_at is None else "closing"
    return ChannelRow(
        channel=number,
        role="asker" if channel.asker == who else "server",
        model=channel.model,
        server=ss58.encode(channel.server),
        state="closed" if channel.is_closed else state,
        deposit_planck=Planck(channel.deposit_planck),
        redeemed_planck=Planck(channel.redeemed_planck),
        spent_planck=None if book is None else Planck(book.spent_planck),
        is_disputed=book is not None and book.disputed is not None,
    )


def _channel(client: Client, number: int) -> Channel:
    channel: Channel | None = client.api("InferenceApi_channel", number)
    if channel is None:
        refuse(f"There is no channel {number} on the chain, or it was removed.")
    return channel


def _is_own(client: Client, number: int, channel: Channel, last: SignedReceipt) -> bool:
    """Return whether a receipt is one for a voucher that the channel's asker has signed."""
    voucher = last.voucher.voucher
    return (
        (voucher.genesis, voucher.channel) == (client.genesis_hash, number)
        and last.receipt.server == channel.server
        and is_signed_by(channel.asker, voucher_payload(voucher), last.voucher.signature)
        and last.asker == channel.asker
        and is_signed(last)
        and last.is_whole
    )


def _book(channel: Channel, last: SignedReceipt | None) -> ChannelBook:
    return ChannelBook(
        server=channel.server,
        model=channel.model,
        spent_planck=max(channel.redeemed_planck, last.ends_planck if last else 0),
        sequence=max(channel.sequence, last.sequence if last else 0),
        last=last,
    )


def _report_call(client: Client, text: str, spending: Spending) -> Call:
    """Return the call that reports what a channel's book or a file holds."""
    if not text.isdecimal():
        return _single_report(client, _receipt_in(Path(text)))
    signer = spending.signer
    ledger = AskerLedger(signer.keystore.folder, client.genesis_hash, signer.account)
    book = ledger.get(int(text))
    if book is None or (book.last is None and book.disputed is None):
        refuse(f"Your books hold no receipt of channel {text}. Name a file that has one.")
    first, second = book.last, book.disputed
    if first is None or second is None or first.voucher != second.voucher or first == second:
        chosen = second or first
        assert chosen is not None, "checked"
        return _single_report(client, chosen)
    return client.make_call(
        "Inference",
        "report_double_receipt",
        voucher=first.voucher,
        receipt=first.receipt,
        signature=first.signature,
        other=second.receipt,
        other_signature=second.signature,
    )


def _single_report(client: Client, signed: SignedReceipt) -> Call:
    return client.make_call(
        "Inference",
        "report_receipt",
        voucher=signed.voucher,
        receipt=signed.receipt,
        signature=signed.signature,
    )


def _receipt_in(path: Path) -> SignedReceipt:
    try:
        return read_receipt(path.read_text().strip())
    except (OSError, UnicodeDecodeError, DecodeError, ValueError) as error:
        refuse(f"{path} holds no signed receipt as hexadecimal digits ({error}).")
