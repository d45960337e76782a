"""Refusals of the chain: one error class for each cause."""

from __future__ import annotations

from runtime.errors import ExitCode, OpenLedgerError


class ChainError(OpenLedgerError):
    """Base of what the chain refuses."""

    exit_code = ExitCode.USAGE


class UnknownBlockError(ChainError):
    """This node does not know the block."""


class KnownBlockError(ChainError):
    """The block is final already; there is nothing to execute."""


class StatePrunedError(ChainError):
    """The state of this block is pruned; ask an archive node."""


class WrongChainError(ChainError):
    """The data folder belongs to another chain."""


class ForkTooOldError(ChainError):
    """The block branches off below the finalized one."""


class UnfinalizedLimitError(ChainError):
    """Finality is too far behind; no more blocks are taken until it catches up."""
