"""The places in a node's data folder that several rooms read or write.

The names are a frozen format: the data folders of all nodes have them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

KEYSTORE_FOLDER: Final = "keys"
CHAINS_FOLDER: Final = "chains"
SIGNER_FOLDER: Final = "signer"
DATABASE_FOLDER: Final = "db"
CONSENSUS_FOLDER: Final = "consensus"
WRITE_AHEAD_LOG_FILE: Final = "log"
NO_VOTE_FILE: Final = "no-vote"
MOVES_FILE: Final = "moves"
PEER_SEED_FILE: Final = "peer.seed"
READER_KEY_FILE: Final = "reader.key"
BLOBS_FOLDER: Final = "blobs"
RECEIPTS_FILE: Final = "receipts.sqlite3"
ANSWERS_FOLDER: Final = "outbox"
JOBS_FOLDER: Final = "jobs"
SERVED_FOLDER: Final = "served"


def chain_folder(base_path: Path, chain: str) -> Path:
    """Return the folder of a chain's data, by the id of its spec."""
    return base_path / CHAINS_FOLDER / chain


def signer_folder(base_path: Path, chain: str) -> Path:
    """Return the folder in which `openledger signer` has its signing histories of a chain."""
    return base_path / SIGNER_FOLDER / chain


def consensus_folder(chain_data: Path) -> Path:
    """Return the folder of consensus in a chain's data: log, evidence, signing histories."""
    return chain_data / CONSENSUS_FOLDER


def write_ahead_log_path(chain_data: Path) -> Path:
    """Return the file of the write-ahead log in a chain's data."""
    return consensus_folder(chain_data) / WRITE_AHEAD_LOG_FILE


def no_vote_path(chain_data: Path) -> Path:
    """Return the file that keeps a validator from voting from a chain's data: a sentence why.

    `openledger chain snapshot --move` leaves it in the original, `chain restore` in a copy.
    """
    return consensus_folder(chain_data) / NO_VOTE_FILE


def moves_path(chain_data: Path) -> Path:
    """Return the file of the moves that a chain's data went through: an id in each line."""
    return consensus_folder(chain_data) / MOVES_FILE
