"""Executes a node's final blocks again and counts the tokens after each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final, cast

from genesis.spec import load_spec
from node.storage.database import Database
from pallets import compose
from pallets.balances import Balances
from runtime.codec.scale import codec
from runtime.crypto.hashing import twox_128
from runtime.frame.executive import Executive
from runtime.frame.state import Overlay
from runtime.trie.backend import MemoryBackend
from runtime.types.primitives import OPEN, AccountInfo, Header

SUPPLY: Final = 1_000_000_000 * OPEN
ACCOUNTS: Final = twox_128(b"System") + twox_128(b"Account")

_account = codec(AccountInfo)
_header = codec(Header)


def check_every_block(spec_path: Path, database_path: Path) -> int:
    """Assert of each final block of a node that is down that its state root is exact, its accounts
    are its issuance, and its issuance and what was burned are the supply; return their number."""
    genesis = load_spec(str(spec_path)).build()
    state = MemoryBackend()
    state.apply(genesis.changes, genesis.nodes)
    machine = compose()
    executive, balances = Executive(machine), cast(Balances, machine.pallets["Balances"])
    held = sum(_tokens(value) for key, value in state.values.items() if key.startswith(ACCOUNTS))
    database = Database.open(database_path)
    try:
        parent, last = genesis.header, database.head or 0
        for number in range(1, last + 1):
            raw, body = database.header(number), database.body(number)
            assert raw is not None
            assert body is not None
            executed = executive.execute(state, _header.decode(raw), body, parent)
            for key, value in executed.changes.items():
                if key.startswith(ACCOUNTS):
                    held += _tokens(value) - _tokens(state.values.get(key))
            state.apply(executed.changes, executed.nodes)
            parent = executed.header
            with machine.on(Overlay(state)):
                issuance, burned = balances.total_issuance.get(), balances.burned.get()
            assert (held, issuance + burned) == (issuance, SUPPLY), f"block {number}"
    finally:
        database.close()
    return last


def _tokens(value: bytes | None) -> int:
    if value is None:
        return 0
    data = _account.decode(value).data
    return int(data.free + data.reserved)
