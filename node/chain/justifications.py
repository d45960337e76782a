"""Checks that the blocks of a chain with validators are proven final, in the order of the chain.

A certificate proves its block and all before it. So a block without one waits for the next block
that has one; the last block of an epoch decides who may sign for the next, so none waits beyond it.

Blocks of a solo author (no claim of a leader, no certificates) prove nothing. They are taken on a
chain without validators, and on a development chain, which names validators but may run alone.
"""

from __future__ import annotations

from typing import Final

from pallets.session import Session
from runtime.codec.scale import DecodeError, codec
from runtime.errors import OpenLedgerError
from runtime.frame.machine import Machine
from runtime.frame.state import Overlay
from runtime.shared.finality import (
    AuthoritySet,
    BadCertificateError,
    Certificate,
    Kind,
    check_certificate,
    claim_of,
)
from runtime.trie.backend import Backend
from runtime.types.primitives import Hash, Header

_CERTIFICATE: Final = codec(Certificate)


class JustificationError(OpenLedgerError):
    """A block's finality is not proven; the message names its height."""


def authorities_in(machine: Machine, state: Backend) -> AuthoritySet:
    """Return who decides the children of the block with this state; empty without validators."""
    with machine.on(Overlay(state)):
        return machine.pallet(Session).authorities.get()


class FinalityCheck:
    """Takes blocks in order; says which are final."""

    def __init__(self, genesis: Hash, chain_type: str) -> None:
        self._genesis = genesis
        self._is_development = chain_type == "Development"
        self._waiting: tuple[Header, int] | None = None
        """The newest block that waits for a certificate, and its epoch."""

    def take(self, header: Header, justification: bytes | None, authorities: AuthoritySet) -> bool:
        """Take the next block, with who decides it; True when all so far are final.

        Raises JustificationError.
        """
        if self._waiting is not None and self._waiting[1] != authorities.epoch:
            self.end()
        is_solo = self._is_development and claim_of(header) is None and self._waiting is None
        if not authorities.authorities or (is_solo and justification is None):
            return True
        if justification is None:
            self._waiting = header, authorities.epoch
            return False
        check_justification(self._genesis, authorities, header, justification)
        self._waiting = None
        return True

    def end(self) -> None:
        """Refuse blocks that still wait for a certificate. Raises JustificationError."""
        if self._waiting is not None:
            number = self._waiting[0].number
            raise JustificationError(
                f"Block {number} has no certificate of finality, and no later block of its epoch "
                "has one. Get the blocks again from a node that has them."
            )


def check_justification(
    genesis: Hash, authorities: AuthoritySet, header: Header, justification: bytes
) -> None:
    """Check that a certificate makes a block final. Raises JustificationError."""
    try:
        certificate = _CERTIFICATE.decode(justification)
        ballot = certificate.ballot
        if (ballot.kind, ballot.digest) != (Kind.FINALIZE, header.hash):
            raise BadCertificateError("it does not finalize this block")
        if ballot.epoch != authorities.epoch:
            raise BadCertificateError(f"it is of epoch {ballot.epoch}, not {authorities.epoch}")
        check_certificate(genesis, authorities, certificate)
    except (DecodeError, BadCertificateError) as error:
        raise JustificationError(
            f"The certificate of finality of block {header.number} proves nothing: {error}. "
            "Get the blocks again from a node that you trust."
        ) from error
