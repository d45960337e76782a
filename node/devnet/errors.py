"""The errors of a devnet: one class for each cause, its message the sentence for the user."""

from __future__ import annotations

from runtime.errors import ExitCode, OpenLedgerError


class DevnetError(OpenLedgerError):
    """Base of everything that a devnet refuses or reports."""

    exit_code = ExitCode.USAGE


class UnknownDevnetError(DevnetError):
    """There is no devnet of this name or in this folder."""


class DevnetNameError(DevnetError):
    """A text cannot be the name of a devnet or of a save."""


class DevnetExistsError(DevnetError):
    """The devnet is up, or there with other settings."""


class DevnetBusyError(DevnetError):
    """Another command is changing the devnet."""


class DevnetFileError(DevnetError):
    """The devnet's file is not what this program wrote."""

    exit_code = ExitCode.DATA


class UnknownNodeError(DevnetError):
    """The devnet has no such node."""


class NodeStateError(DevnetError):
    """The node is not in the state that the request needs, such as running."""


class NodeStartError(DevnetError):
    """A node ended, or was not ready in time; the message quotes its log."""

    exit_code = ExitCode.REJECTED


class PortTakenError(DevnetError):
    """Another program listens on a port that `--port-base` fixes."""


class NodeStopError(DevnetError):
    """A node did not stop in time and was killed."""

    exit_code = ExitCode.REJECTED


class GroupsTextError(DevnetError):
    """A text is no partition of the devnet's nodes."""


class ControlError(DevnetError):
    """A node's control socket does not answer, or refuses."""

    exit_code = ExitCode.UNREACHABLE


class NotFinalInTimeError(DevnetError):
    """Blocks did not become final in time; they still may."""

    exit_code = ExitCode.MAY_LAND


class ForkError(DevnetError):
    """Two nodes have different final blocks at one height, which must never happen."""

    exit_code = ExitCode.REJECTED


class EnrolmentError(DevnetError):
    """A node that was added could not be made a validator; it runs and follows the chain."""

    exit_code = ExitCode.REJECTED


class SaveError(DevnetError):
    """A save is not there, or there already."""
