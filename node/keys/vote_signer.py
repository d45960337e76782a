"""The signer: the only place that signs votes, and never two that exclude each other.

Whatever the engine believes, whichever write-ahead log was restored from a copy: a signer keeps a
mark of its own of what it has signed, on disk before the signature is given out. It signs the same
ballot again, and refuses one that conflicts with a ballot it signed or that lies below its window.
A key of a set of one chain has one signer; the lock on the mark's file keeps a second one out.

The mark is a log of ballots in the framing of `consensus/write_ahead_log.py`; a torn last record
was never signed. Two carry out `VoteSigner`: the key in this process, or a socket
(node/keys/remote_signer.py).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO, Final, Protocol

import trio

from consensus.write_ahead_log import DamagedLogError, frame, read_log, write_log
from ml.durable_file import write_durably
from node.storage.log_file import append_durably
from runtime.codec.scale import codec
from runtime.crypto.keys import Keypair
from runtime.errors import ExitCode, OpenLedgerError
from runtime.shared.finality import Ballot, conflict, payload
from runtime.types.primitives import Hash

WINDOW_VIEWS: Final = 256
"""Ballots of so many views are remembered one by one; below them everything is refused."""
MARK_BYTES_MAX: Final = 1 << 20
_ballot = codec(Ballot)


class SignerError(OpenLedgerError):
    """Base of what keeps a ballot from being signed; the message says why."""

    exit_code = ExitCode.USAGE


class ConflictingBallotError(SignerError):
    """Signing this would be an offence, or cannot be told from one."""


class SignerLockedError(SignerError):
    """Another process signs with this mark."""


class DamagedMarkError(SignerError):
    """Nobody knows any more what the key has signed."""


class SignerUnreachableError(SignerError):
    """The remote signer does not answer."""


class VoteSigner(Protocol):
    """Signs ballots with one session key."""

    @property
    def public(self) -> bytes:
        """The session key, 32 bytes of ed25519."""
        ...

    async def sign(self, ballot: Ballot, /) -> bytes:
        """Return the signature, 64 bytes, once the mark is on disk. Raises SignerError."""
        ...

    def is_foreign(self, ballot: Ballot, /) -> bool:
        """Say whether a vote of this key for the ballot can only have been signed elsewhere."""
        ...


class Window:
    """The newest ballots of one key, and how far back they reach."""

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
        newest = max((one.epoch, one.view) for one in self.ballots)
        self._floor = max(self._floor, (newest[0], max(0, newest[1] - WINDOW_VIEWS)))
        self.ballots = [one for one in self.ballots if (one.epoch, one.view) >= self._floor]

    def is_foreign(self, ballot: Ballot) -> bool:
        """Say whether a ballot was never signed here, as far as is remembered."""
        return (ballot.epoch, ballot.view) >= self._floor and ballot not in self.ballots


class Mark:
    """What one key has signed on one chain: a file with a lock, its window in memory."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises SignerLockedError, DamagedMarkError."""
        self._path = path
        self.window = Window()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(path.with_suffix(".lock"))
        data = path.read_bytes() if path.exists() else b""
        try:
            records, intact = read_log(data)
        except DamagedLogError as error:
            self._lock.close()
            raise DamagedMarkError(
                f"The mark {path} is damaged at byte {error.offset}, so what its key has signed is "
                "not known any more. Never vote with this key again: make another with "
                "`openledger validator keys` and register it with `openledger validator set-keys`."
            ) from error
        for record in records:
            self.window.add(_ballot.decode(record))
        if intact < len(data) or not path.exists():
            write_durably(path, data[:intact], 0o600)
        self._file: IO[bytes] = path.open("ab", buffering=0)
        self._size = intact

    def admit(self, ballot: Ballot) -> None:
        """Make durable that a ballot is signed. Raises ConflictingBallotError."""
        if ballot in self.window.ballots:
            return
        self.window.check(ballot)
        added = frame(_ballot.encode(ballot), self._size)
        append_durably(self._file, added, self._size)
        self._size += len(added)
        self.window.add(ballot)
        if self._size > MARK_BYTES_MAX:
            self._compact()

    def close(self) -> None:
        """Release the file and its lock."""
        self._file.close()
        self._lock.close()

    def _compact(self) -> None:
        self._file.close()
        kept = write_log([_ballot.encode(ballot) for ballot in self.window.ballots])
        write_durably(self._path, kept, 0o600)
        self._file = self._path.open("ab", buffering=0)
        self._size = len(kept)


class LocalSigner:
    """A session key in this process."""

    def __init__(self, pair: Keypair, genesis: Hash, mark: Mark) -> None:
        self._pair = pair
        self._genesis = genesis
        self._mark = mark

    @property
    def public(self) -> bytes:
        """The session key, 32 bytes of ed25519."""
        return self._pair.account

    async def sign(self, ballot: Ballot) -> bytes:
        """Return the signature, 64 bytes, once the mark is on disk. Raises SignerError."""
        await trio.to_thread.run_sync(self._mark.admit, ballot)
        return self._pair.sign(payload(self._genesis, ballot))

    def is_foreign(self, ballot: Ballot) -> bool:
        """Say whether a vote of this key for the ballot can only have been signed elsewhere."""
        return self._mark.window.is_foreign(ballot)

    def close(self) -> None:
        """Release the mark."""
        self._mark.close()


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
