"""How a validator's node is started: the command line, and the systemd unit that runs it."""

from __future__ import annotations

import getpass
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from genesis.spec import PRESETS, load_spec
from ml.durable_file import write_durably
from node.commands.base.command import refuse
from node.commands.staking.session_key import SessionKey
from node.keys.node_keys import check_account as check_node_account
from node.keys.node_keys import load_pair
from node.operations.config import NodeConfig
from p2p.transport.multiaddress import parse_peer_address

NO_FILE: Final = "SESSION_PASSWORD_FILE"
NO_ACCOUNT_FILE: Final = "ACCOUNT_PASSWORD_FILE"
"""These stand in the command line for files that the operator has not named."""
UNIT_MODE: Final = 0o644
UNIT: Final = """\
[Unit]
Description=OpenLedger validator {name}
Wants=network-online.target
After=network-online.target

[Service]
User={user}
ExecStart={command}
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 6 7 8
TimeoutStopSec=30
KillSignal=SIGTERM
LimitNOFILE=65536
NoNewPrivileges=true
ProtectSystem=strict
PrivateTmp=true
ReadWritePaths={base_path}

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class StartLine:
    """The options with which a node validates by a session key."""

    chain: str
    base_path: Path
    session_key: SessionKey
    account: str | None
    account_password: Path | None
    bootnodes: tuple[str, ...]

    @property
    def has_locked_account(self) -> bool:
        """Return whether the node has an account of its own that a password opens."""
        return self.account is not None and not self.account.startswith("//")

    @property
    def words(self) -> Sequence[str]:
        """The command line, word by word, without the program."""
        is_preset = self.chain in PRESETS
        chain = self.chain if is_preset else str(Path(self.chain).absolute())
        words = ["node", "start", "--chain", chain, "--base-path", str(self.base_path.absolute())]
        if is_preset:
            words += ["--sealing", "consensus"]  # else a preset's node is a solo author
        words += ["--validator", "--session-key", self.session_key.name]
        # Without an account of its own a node only votes: executor and answers need money.
        words += ["--account", self.account or self.session_key.name]
        words += [] if self.account else ["--no-executor", "--no-serve"]
        if not self.session_key.is_development:
            # Without an account of its own, the session key is the account as well.
            option = "--session-password-file" if self.account else "--password-file"
            file = self.session_key.password_file
            words += [option, NO_FILE if file is None else str(file.absolute())]
        if self.has_locked_account:
            file = self.account_password
            words += ["--password-file", NO_ACCOUNT_FILE if file is None else str(file.absolute())]
        for bootnode in self.bootnodes:
            words += ["--bootnode", bootnode]
        return words

    def __str__(self) -> str:
        """Return the line to type."""
        return shlex.join(["openledger", *self.words])


def check_line(line: StartLine, unit: Path | None) -> None:
    """Refuse what would keep the node from starting, or its unit file from being written.

    Raises AddressError, ConfigError, UsageError.
    """
    for address in line.bootnodes:
        parse_peer_address(address)
    _check_account(line)
    if unit is not None:
        _check_unit(line, unit)


def _check_account(line: StartLine) -> None:
    """Refuse an account with which the node would not start. Raises ConfigError."""
    if line.account is None:
        return
    config = NodeConfig(
        line.base_path, line.chain, account=line.account, password_file=line.account_password
    )
    chain_type = load_spec(line.chain).chain_type
    if line.account_password is None:
        check_node_account(config, chain_type)
    else:
        load_pair(config, chain_type)


def write_unit(line: StartLine, path: Path) -> None:
    """Write a systemd unit file; a file of the same text stays. Raises UsageError."""
    text = unit_of(line)
    if path.exists():
        if path.read_text(encoding="utf-8", errors="replace") == text:
            return
        refuse(f"{path} exists and says something else. Name a new file; nothing was overwritten.")
    write_durably(path, text.encode(), UNIT_MODE)


def _check_unit(line: StartLine, path: Path) -> None:
    """Refuse a line or path that cannot become a unit file. Raises UsageError."""
    if not line.session_key.is_development and line.session_key.password_file is None:
        refuse(
            "A unit starts without anybody to ask, so it needs the file with the session key's "
            "password. Name it with --session-password-file."
        )
    if line.has_locked_account and line.account_password is None:
        refuse(
            "A unit starts without anybody to ask, so it needs the file with the password of "
            f"{line.account}. Name it with --account-password-file."
        )
    if not path.parent.is_dir():
        refuse(f"The folder {path.parent} of the unit file does not exist. Make it first.")
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") != unit_of(line):
        refuse(f"{path} exists and says something else. Name a new file; nothing was overwritten.")


def unit_of(line: StartLine) -> str:
    """Return the text of the unit file."""
    command = " ".join(_quoted(word) for word in (*_program(), *line.words))
    base_path = _quoted(str(line.base_path.absolute()))
    name = line.session_key.name.replace("%", "%%")
    return UNIT.format(name=name, user=getpass.getuser(), command=command, base_path=base_path)


def _program() -> Sequence[str]:
    """Return how this program is run: the installed command, or this checkout by its Python."""
    installed = shutil.which("openledger")
    return [installed] if installed else [sys.executable, str(Path(sys.argv[0]).absolute())]


def _quoted(word: str) -> str:
    """Return a word as systemd reads it: quotes where needed, % and $ doubled."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if escaped and not set(escaped) & set(" \t\"'\\;") else f'"{escaped}"'
