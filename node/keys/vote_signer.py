"""The vote signer: the only place that signs votes, and never two conflicting ones.

Whatever the engine believes, and whichever write-ahead log was restored from a copy: a signer has a
signing history of its own, on disk before a signature is given out. It signs the same ballot again,
and refuses one that conflicts with a ballot it signed or that lies below what it remembers. A key
of a set of one chain has one signer; a lock beside the history keeps a second one out.

A torn last record of the history was never signed. Two classes are a `VoteSigner`: the key in this
process, or behind a socket (node/keys/remote_signer.py).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO, Final, Protocol

import trio

from consensus.write_ahead_log import DamagedLogError, read_log
from node.storage.log_file import LogFile
from runtime.codec.compact import DecodeError
from runtime.codec.scale import codec
from runtime.crypto.keys import Keypair
from runtime.errors import ExitCode, OpenLedgerError
from runtime.shared.finality import Ballot, conflict, payload
from runtime.types.primitives import Hash

REMEMBERED_VIEWS: Final = 256
"""Ballots of so many views are remembered one by one; below them everything is refused."""
FILE_BYTES_MAX: Final = 1 << 20
FILE_SUFFIX: Final = ".mark"
"""Frozen, for signing histories on disk have it. Command output and the sentences of errors are
frozen too: there a signing history is called a mark."""
_ballot = codec(Ballot)


class SignerError(OpenLedgerError):
    """Base of what keeps a ballot from being signed; the message says why."""

    exit_code = ExitCode.USAGE


class ConflictingBallotError(SignerError):
    """Signing this would be an offence, or cannot be told from one."""


class SignerLockedError(SignerError):
    """Another process signs with this key."""


class DamagedHistoryError(SignerError):
    """The history is damaged, so what the key has signed is not known any more."""

    exit_code = ExitCode.DATA


class SignerUnreachableError(SignerError):
    """The remote signer does not answer."""


class VoteSigner(Protocol):
    """Signs ballots with one session key."""

    @property
    def public(self) -> bytes:
        """The session key, 32 bytes of ed25519."""
        ...

    async def sign(self, ballot: Ballot, /) -> bytes:
        """Return the signature, 64 bytes, once its ballot is on disk. Raises SignerError."""
        ...

    @property
    def has_signed(self) -> bool:
        """Whether the signing history holds any ballot."""
        ...

    def is_foreign(self, ballot: Ballot, /) -> bool:
        """Return whether a vote of this key for the ballot can only have been signed elsewhere."""
        ...


def history_path(folder: Path, session_key: bytes) -> Path:
    """Return the file of a session key's signing history in a folder."""
    return folder / f"{session_key.hex()[:16]}{FILE_SUFFIX}"


class RecentBallots:
    """The newest ballots of one key; below their floor everything is refused."""

    def __init__(self) -> None:
        self.ballots: list[Ballot] = []
        self._floor = (0, 0)

    def check(self, ballot: Ballot) -> None:
        """Raise ConflictingBallotError where signing a ballot may be an offence."""
        if (ballot.epoch, ballot.view) < self._floor:
            raise ConflictingBallotError(
                f"The ballot of epoch {ballot.epoch}, view {ballot.view} lies below the mark "
                f"{self._floor}; what was signed there is not remembered."
            )
        for signed in self.ballots:
            if conflict(signed, ballot):
                raise ConflictingBallotError(
                    f"A conflicting ballot of epoch {ballot.epoch}, view {ballot.view} is signed."
                )

    def add(self, ballot: Ballot) -> None:
        """Remember a signed ballot; the oldest are forgotten."""
        self.ballots.append(ballot)
        epoch, view = max((signed.epoch, signed.view) for signed in self.ballots)
        self._floor = max(self._floor, (epoch, max(0, view - REMEMBERED_VIEWS)))
        self.ballots = [
            signed for signed in self.ballots if (signed.epoch, signed.view) >= self._floor
        ]

    def is_foreign(self, ballot: Ballot) -> bool:
        """Return whether a ballot was never signed here, as far as is remembered."""
        return (ballot.epoch, ballot.view) >= self._floor and ballot not in self.ballots


def read_history(path: Path) -> RecentBallots:
    """Return the ballots in the file of a history, which stays as it is.

    Raises DamagedHistoryError.
    """
    recent = RecentBallots()
    try:
        for record in read_log(path.read_bytes())[0]:
            recent.add(_ballot.decode(record))
    except (DamagedLogError, DecodeError) as error:
        raise DamagedHistoryError(
            f"The mark {path} is damaged, so what its key has signed is not known. Make another "
            "key with `openledger validator keys`, and move that file away."
        ) from error
    return recent


class SigningHistory:
    """The ballots that one key signed on one chain: slashing protection, as a file with a lock."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises SignerLockedError, DamagedHistoryError."""
        self.recent = RecentBallots()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(path.with_suffix(".lock"))
        try:
            self._file = LogFile(path)
        except DamagedLogError as error:
            self._lock.close()
            raise DamagedHistoryError(
                f"The mark {path} is damaged at byte {error.offset}, so what its key has signed is "
                "not known any more. Never vote with this key again: make another with "
                "`openledger validator keys` and register it with `openledger validator set-keys`."
            ) from error
        for record in self._file.read():
            self.recent.add(_ballot.decode(record))

    def record_ballot(self, ballot: Ballot) -> None:
        """Make durable that a ballot is signed. Raises ConflictingBallotError."""
        if ballot in self.recent.ballots:
            return
        self.recent.check(ballot)
        self._file.append((_ballot.encode(ballot),))
        self.recent.add(ballot)
        if self._file.size_bytes > FILE_BYTES_MAX:
            self._file.rewrite([_ballot.encode(signed) for signed in self.recent.ballots])

    def close(self) -> None:
        """Release the file and its lock."""
        self._file.close()
        self._lock.close()


class LocalSigner:
    """A session key in this process."""

    def __init__(self, pair: Keypair, genesis: Hash, history: SigningHistory) -> None:
        self._pair = pair
        self._genesis = genesis
        self._history = history

    @property
    def public(self) -> bytes:
        """The session key, 32 bytes of ed25519."""
        return self._pair.account

    async def sign(self, ballot: Ballot) -> bytes:
        """Return the signature, 64 bytes, once its ballot is on disk. Raises SignerError."""
        await trio.to_thread.run_sync(self._history.record_ballot, ballot)
        return self._pair.sign(payload(self._genesis, ballot))

    @property
    def has_signed(self) -> bool:
        """Whether the signing history holds any ballot."""
        return bool(self._history.recent.ballots)

    def is_foreign(self, ballot: Ballot) -> bool:
        """Return whether a vote of this key for the ballot can only have been signed elsewhere."""
        return self._history.recent.is_foreign(ballot)

    def close(self) -> None:
        """Release the signing history."""
        self._history.close()


def _lock(path: Path) -> IO[bytes]:
    file = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise SignerLockedError(
            f"Another process signs with the mark {path.parent}. A session key has one signer: "
            "stop the other node first."
        ) from error
    return file
