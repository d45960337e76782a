"""`openledger key sign | verify`: signatures of messages, as polkadot.js wallets make them.

Wallets sign a message between `<Bytes>` and `</Bytes>`, so that nobody can get a transaction signed
by calling it a message. `sign` does the same unless it is told --raw, and `verify` reads both.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from node.commands.base.account_signer import (
    account_of,
    keys_folder_option,
    keys_options,
    signer_of,
)
from node.commands.base.command import command_output, refuse
from node.commands.base.output import Output
from node.keys.keystore import Keystore
from runtime.codec.hexadecimal import from_hex, to_hex
from runtime.crypto import ss58
from runtime.crypto.keys import SIGNATURE_BYTES, KeyKind
from runtime.crypto.keys import verify as verify_signature
from runtime.errors import ExitCode, OpenLedgerError

MESSAGE_BYTES_MAX: Final = 1 << 20
WRAPPED: Final = (b"<Bytes>", b"</Bytes>")
STDIN: Final = Path("-")


class SignatureMismatchError(OpenLedgerError):
    """A signature is not one of this message by this key."""

    exit_code = ExitCode.REJECTED


@dataclass(frozen=True, slots=True)
class SignatureDocument:
    """A signature of a message; `is_wrapped` where <Bytes></Bytes> stand around what was signed."""

    address: str
    public_key: str
    kind: str
    is_wrapped: bool
    message_bytes: int
    signature: str


file_option = click.option(
    "--file", type=click.Path(path_type=Path), help="The message is this file; - is stdin."
)


@click.command("sign")
@click.argument("key")
@click.argument("message", required=False)
@file_option
@click.option("--raw", is_flag=True, help="Sign the bytes as they are, not in <Bytes></Bytes>.")
@keys_options
@command_output(SignatureDocument)
def sign(
    output: Output,
    key: str,
    message: str | None,
    file: Path | None,
    raw: bool,
    keystore: Keystore,
    password_file: Path | None,
) -> SignatureDocument:
    """Sign MESSAGE, or a --file, with KEY, as wallets do."""
    data = _message(message, file)
    signer = signer_of(key, keystore, password_file)
    pair = signer.unlock()
    return SignatureDocument(
        address=ss58.encode(pair.account),
        public_key=to_hex(pair.account),
        kind=pair.kind.name.lower(),
        is_wrapped=not raw,
        message_bytes=len(data),
        signature=to_hex(pair.sign(data if raw else _wrapped(data))),
    )


@click.command("verify")
@click.argument("key")
@click.argument("signature")
@click.argument("message", required=False)
@file_option
@keys_folder_option
@command_output(SignatureDocument)
def verify(
    output: Output,
    key: str,
    signature: str,
    message: str | None,
    file: Path | None,
    keystore: Keystore,
) -> SignatureDocument:
    """Check that SIGNATURE (0x hex) of MESSAGE, or a --file, is by KEY; exit 1 where it is not.

    KEY is an address, a 0x public key, //Alice, or the name of a key of yours. Both kinds of keys
    are tried, and the message with <Bytes></Bytes> around it, as wallets sign, and without.
    """
    account, data = account_of(key, keystore), _message(message, file)
    given = _signature(signature)
    for is_wrapped in (True, False):
        for kind in KeyKind:
            signed = _wrapped(data) if is_wrapped else data
            if verify_signature(kind, given, signed, account):
                return SignatureDocument(
                    address=ss58.encode(account),
                    public_key=to_hex(account),
                    kind=kind.name.lower(),
                    is_wrapped=is_wrapped,
                    message_bytes=len(data),
                    signature=to_hex(given),
                )
    raise SignatureMismatchError(
        f"The signature is not one by {ss58.encode(account)} of these {len(data):,} bytes. Compare "
        "the message letter by letter (a line break at its end counts), and the key."
    )


def _wrapped(data: bytes) -> bytes:
    """Return a message as wallets sign it; one that is wrapped already stays."""
    head, tail = WRAPPED
    is_wrapped = data.startswith(head) and data.endswith(tail)
    return data if is_wrapped else head + data + tail


def _message(text: str | None, file: Path | None) -> bytes:
    if (text is None) == (file is None):
        refuse("Give the message either as an argument or with --file.")
    if text is not None:
        return text.encode()
    assert file is not None, "one of the two was given"
    if file == STDIN:
        data = sys.stdin.buffer.read(MESSAGE_BYTES_MAX + 1)
    else:
        with file.open("rb") as opened:
            data = opened.read(MESSAGE_BYTES_MAX + 1)
    if len(data) > MESSAGE_BYTES_MAX:
        refuse(
            f"{file} is longer than {MESSAGE_BYTES_MAX} bytes. Sign its hash instead, for example "
            "that of sha256sum."
        )
    return data


def _signature(text: str) -> bytes:
    try:
        data = from_hex(text)
    except ValueError:
        data = b""
    # Substrate's MultiSignature has the scheme's number before the 64 bytes; wallets give either.
    if len(data) == SIGNATURE_BYTES + 1 and data[0] in set(KeyKind):
        data = data[1:]
    if len(data) != SIGNATURE_BYTES:
        refuse(f"{text!r:.80} is no signature. A signature is 0x and 128 hex digits.")
    return data
