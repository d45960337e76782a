"""A light client: which blocks are final, from the genesis set and one proof for each epoch.

It holds the set of one epoch. A boundary header with its FINALIZATION names the next set by hash,
so following the chain costs one header, one certificate and one set for each epoch. It does no I/O:
proofs come in as values, and each defect of a proof has an error class.
"""

from __future__ import annotations

from runtime.codec.scale import scale
from runtime.shared.finality import (
    AuthoritySet,
    BadCertificateError,
    Certificate,
    Kind,
    check_certificate,
    next_set_of,
)
from runtime.types.primitives import Hash, Header


class LightClientError(ValueError):
    """A proof is not valid; the subclass says why."""


class WrongBlockError(LightClientError):
    """The certificate is for another block than the header's."""


class NotFinalError(LightClientError):
    """The certificate is no FINALIZATION."""


class WrongEpochError(LightClientError):
    """The proof is of another epoch than the current one."""


class ForgedCertificateError(LightClientError):
    """The certificate's signatures are no quorum of the epoch's set."""


class WrongBoundaryError(LightClientError):
    """The header is not the last one of the epoch."""


class WrongSetError(LightClientError):
    """The set is not the one to which the boundary header commits."""


@scale
class EpochProof:
    """The proof of an epoch's boundary and of the next set."""

    header: Header
    certificate: Certificate
    next_set: AuthoritySet


class LightClient:
    """Follows the sets of a chain from `authorities`, the set of the genesis."""

    def __init__(self, genesis: Hash, authorities: AuthoritySet, epoch_blocks: int) -> None:
        if epoch_blocks < 1:
            raise ValueError("an epoch has at least one block")
        self._genesis = genesis
        self._epoch_blocks = epoch_blocks
        self.authorities = authorities
        self.boundary: Header | None = None
        """The header that ended the previous epoch; None in the first."""

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return int(self.authorities.epoch)

    def verify(self, header: Header, certificate: Certificate) -> None:
        """Check that a block of the current epoch is final.

        Raises WrongBlockError, NotFinalError, WrongEpochError, ForgedCertificateError.
        """
        ballot = certificate.ballot
        if ballot.digest != header.hash:
            raise WrongBlockError(
                f"The certificate is for another block than number {header.number}. Ask a"
                " different peer for this block's justification."
            )
        if ballot.kind != Kind.FINALIZE:
            raise NotFinalError(
                f"The certificate of block {header.number} does not finalize it. Ask for its"
                " justification."
            )
        first = self.epoch * self._epoch_blocks + 1
        last = first + self._epoch_blocks - 1
        if ballot.epoch != self.epoch or not first <= header.number <= last:
            raise WrongEpochError(
                f"Block {header.number} with a certificate of epoch {ballot.epoch} is not of epoch"
                f" {self.epoch}, which has the blocks {first} to {last}. Follow the epochs in turn."
            )
        try:
            check_certificate(self._genesis, self.authorities, certificate)
        except BadCertificateError as error:
            raise ForgedCertificateError(
                f"The certificate of block {header.number} proves nothing: {error}. Its sender is"
                " not to be trusted."
            ) from error

    def follow(self, proof: EpochProof) -> None:
        """Go on to the next epoch; nothing changes where the proof is wrong.

        Raises what `verify` raises, WrongBoundaryError and WrongSetError.
        """
        header, next_set = proof.header, proof.next_set
        self.verify(header, proof.certificate)
        last = (self.epoch + 1) * self._epoch_blocks
        committed = next_set_of(header)
        if header.number != last or committed is None:
            raise WrongBoundaryError(
                f"Block {header.number} does not end epoch {self.epoch}: its last is {last}, which"
                " names the next set. Ask for that one."
            )
        if next_set.epoch != self.epoch + 1 or next_set.hash != committed:
            raise WrongSetError(
                f"The set of epoch {next_set.epoch} is not the one that block {header.number}"
                " names. Its sender is not to be trusted."
            )
        self.authorities = next_set
        self.boundary = header
