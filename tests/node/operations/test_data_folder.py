"""The names in a data folder are frozen."""

from __future__ import annotations

from pathlib import Path

from node.keys.vote_signer import history_path
from node.operations.data_folder import (
    DATABASE_FOLDER,
    KEYSTORE_FOLDER,
    chain_folder,
    consensus_folder,
    signer_folder,
    write_ahead_log_path,
)

BASE = Path("base")
DATA = chain_folder(BASE, "dev")


def test_the_names_are_those_of_the_folders_of_running_nodes() -> None:
    assert (BASE / KEYSTORE_FOLDER).as_posix() == "base/keys"
    assert (DATA / DATABASE_FOLDER).as_posix() == "base/chains/dev/db"
    assert write_ahead_log_path(DATA).as_posix() == "base/chains/dev/consensus/log"


def test_a_signing_history_has_the_name_of_its_key() -> None:
    key = bytes(range(32))
    name = "0001020304050607.mark"
    assert history_path(consensus_folder(DATA), key) == Path("base/chains/dev/consensus") / name
    assert history_path(signer_folder(BASE, "dev"), key) == Path("base/signer/dev") / name
