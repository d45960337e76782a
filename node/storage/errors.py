"""What keeps the database from serving: one error for each cause, in words for the operator."""

from pathlib import Path

from runtime.errors import ExitCode, OpenLedgerError


class DatabaseError(OpenLedgerError):
    """Anything that keeps the database from serving; one subclass for each cause."""

    exit_code = ExitCode.USAGE


class DatabaseInUseError(DatabaseError):
    """Another process has the folder open."""


class DatabaseDamagedError(DatabaseError):
    """The folder's content is not what was written."""

    exit_code = ExitCode.DATA


class DatabaseFolderError(DatabaseError):
    """The folder cannot be opened: it is missing, no folder, or not permitted."""


class SchemaVersionError(DatabaseError):
    """The folder was written by a newer version of this program."""


class DatabaseWriteError(DatabaseError):
    """Anything that keeps the database from taking a write, while it can still be read.

    A running node goes on without writing. Where one ends all the same (at its start), its exit
    code is not that of a request that makes no sense: a service manager may start it again.
    """

    exit_code = ExitCode.DISK


class DiskFullError(DatabaseWriteError):
    """There was no room left to write a block; the database has to be opened again."""


class DiskLowError(DatabaseWriteError):
    """Little room is left, or none is known of, so nothing is written until there is more."""


class WriteFailedError(DatabaseWriteError):
    """The operating system refused a write."""


class CommitOrderError(DatabaseError):
    """A block does not follow the head."""


class InstallError(DatabaseError):
    """A state from peers cannot become this database's state."""


class HeightUnknownError(DatabaseError):
    """There is no block, or no state any more, at a height."""


def disk_full(path: Path) -> DiskFullError:
    """Return the error of a disk without room."""
    return DiskFullError(
        f"There is no room left on the disk of {path}. Nothing of the last block was kept. "
        "Free space, then restart the node."
    )


def damaged(path: Path, why: str) -> DatabaseDamagedError:
    """Return the error of a folder whose content is not what was written."""
    return DatabaseDamagedError(
        f"The database in {path} is damaged: {why}. Restore a backup, or remove the folder and "
        "sync again."
    )
