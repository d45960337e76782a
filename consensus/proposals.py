"""The form of a proposal, checked before any signature.

A block is proposed on the parent's certificate, with the NULLIFICATIONS of all views since; its
header claims the view and commits to them. The boundary block of an epoch is proposed again with
its old header: then `parent` is its own certificate and the header claims an earlier view.
"""

from __future__ import annotations

from consensus.messages import Proposal
from runtime.shared.finality import Kind, claim_of, skips_hash
from runtime.types.primitives import Hash


class BadProposalError(ValueError):
    """No honest leader proposes this; the message says why."""


class OtherSkipsError(BadProposalError):
    """The skips are proven by other certificates than the header commits to.

    No honest leader proposes this, but an honest peer that restarted answers so: it has other
    certificates of the same skips than the leader had. It is valid for a block that is certified.
    """


def is_again(proposal: Proposal) -> bool:
    """Return whether this proposes a boundary block again."""
    parent = proposal.parent
    return parent is not None and parent.ballot.digest == proposal.vote.ballot.digest


def check_form(proposal: Proposal, epoch: int, root: Hash, last_number: int) -> None:
    """Check all that needs no signature and no other block. Raises BadProposalError."""
    header, ballot = proposal.header, proposal.vote.ballot
    if ballot.epoch != epoch or ballot.kind != Kind.NOTARIZE or ballot.digest != header.hash:
        raise BadProposalError("its vote is not for its header")
    if header.number > last_number:
        raise BadProposalError(f"block {header.number} is beyond the epoch's last, {last_number}")
    claim = claim_of(header)
    if claim is None or claim.epoch != epoch:
        raise BadProposalError("its header claims no view of this epoch")
    parent_view = _check_certificates(proposal, epoch)
    if is_again(proposal):
        if header.number != last_number or not 1 <= claim.view <= parent_view:
            raise BadProposalError("it proposes again what is not the epoch's boundary")
        return
    parent_hash = root if proposal.parent is None else proposal.parent.ballot.digest
    if header.parent_hash != parent_hash:
        raise BadProposalError("its header has another parent than its certificate")
    if claim.view != ballot.view:
        raise BadProposalError(f"its header claims view {claim.view}, not {ballot.view}")
    if claim.skips != skips_hash(proposal.skips):
        raise OtherSkipsError("its header commits to other skips")


def _check_certificates(proposal: Proposal, epoch: int) -> int:
    """Check that the certificates cover every view since the parent; return the parent's view."""
    parent, view = proposal.parent, proposal.vote.ballot.view
    parent_view = 0
    if parent is not None:
        parent_view = parent.ballot.view
        if parent.ballot.epoch != epoch or parent.ballot.kind == Kind.NULLIFY:
            raise BadProposalError("its parent's certificate does not certify a block")
    if not parent_view < view or len(proposal.skips) != view - parent_view - 1:
        raise BadProposalError("it does not prove the skips since its parent, each once")
    for skipped, skip in zip(range(parent_view + 1, view), proposal.skips, strict=True):
        ballot = skip.ballot
        if (ballot.epoch, ballot.view, ballot.kind) != (epoch, skipped, Kind.NULLIFY):
            raise BadProposalError(f"it does not prove that view {skipped} was skipped")
    return parent_view
