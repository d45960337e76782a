"""The oracle of a simulation: sees everything, and raises Violation where an invariant breaks.

- agreement: honest nodes hold the same final block at every height;
- validity: a final block is of its view's leader, valid, on its parent, its skips are proven;
- accountability: evidence holds, and never names an honest node; no honest node reports another;
- durability: an honest key never contradicts itself, and what is acted on is in the log;
- liveness and responsiveness are measured by tests/simulation/simulate.py, which knows the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import TYPE_CHECKING

from consensus import messages as m
from consensus.light import EpochProof, LightClient, LightClientError
from consensus.write_ahead_log import encode_record
from runtime.shared.finality import (
    AuthoritySet,
    BadCertificateError,
    BadEvidenceError,
    Ballot,
    Certificate,
    Equivocation,
    Kind,
    Vote,
    check_certificate,
    check_evidence,
    claim_of,
    conflict,
    skips_hash,
)
from runtime.shared.leaders import LeaderSchedule
from runtime.types.primitives import Hash, Header
from tests.simulation.ledger import GENESIS, GENESIS_HEADER, Ledger, evidence_in

if TYPE_CHECKING:
    from tests.simulation.node import Node


class Violation(AssertionError):
    """An invariant is broken. `invariant` is its name."""

    def __init__(self, invariant: str, story: str) -> None:
        super().__init__(f"{invariant}: {story}")
        self.invariant = invariant
        self.story = story


class Oracle:
    """Judges one simulation. Forks and halts are expected only where `may_fork`."""

    def __init__(self, ledger: Ledger, byzantine: frozenset[int], *, may_fork: bool) -> None:
        self.ledger = ledger
        self.byzantine = byzantine
        self.may_fork = may_fork
        self.chain: dict[int, Hash] = {0: GENESIS}
        self.counts: Counter[str] = Counter()
        self.fork_heights: set[int] = set()
        self.convicted: set[tuple[int, int]] = set()
        """Epoch and identity of whom evidence was found against."""
        self.nullified: list[Ballot] = []
        """NULLIFY votes of honest nodes, in order."""
        self.proposed_at: dict[tuple[int, int], int] = {}
        """When each epoch's view was led."""
        self.final_at: dict[tuple[int, Hash], int] = {}
        self._said: dict[tuple[int, int, int], list[Ballot]] = {}
        self._voters: dict[Ballot, set[int]] = {}
        self._proposals: dict[Hash, list[m.Proposal]] = {}
        self._checked: dict[tuple[Hash, Certificate], bool] = {}
        self._schedules: dict[Hash, LeaderSchedule] = {}

    # ---------------------------------------------------------------------------- what nodes do

    def on_epoch(self, node: Node) -> None:
        """Note that a node is in an epoch."""
        self.counts["epochs"] = max(self.counts["epochs"], node.epoch)

    def on_propose(self, node: Node, wanted: m.Propose) -> None:
        """Note when a view is led."""
        if node.is_honest:
            self.proposed_at[node.epoch, wanted.view] = node.world.now

    def on_proposal(self, proposal: m.Proposal) -> None:
        """Note a proposal that is sent: it may prove a final block's skips."""
        known = self._proposals.setdefault(proposal.vote.ballot.digest, [])
        if not known or proposal not in known:
            known.append(proposal)

    def on_sign(self, node: Node, vote: Vote) -> None:
        """Check that an honest node does not contradict itself, and votes for what it executed."""
        ballot = vote.ballot
        self._voters.setdefault(ballot, set()).add(node.identity)
        if not node.is_honest:
            return
        said = self._said.setdefault((node.identity, int(ballot.epoch), int(ballot.view)), [])
        if ballot in said:
            return
        for other in said:
            if conflict(other, ballot):
                raise Violation("durability", f"node {node.identity} signed {other} and {ballot}")
        said.append(ballot)
        if ballot.kind == Kind.NULLIFY:
            self.nullified.append(ballot)
            self.counts["nullify-votes"] += 1
        elif ballot.kind == Kind.NOTARIZE and ballot.digest not in node.library.blocks:
            raise Violation(
                "validity", f"node {node.identity} voted for what it did not execute: {ballot}"
            )
        if node.halted is not None:
            raise Violation("agreement", f"node {node.identity} signed after it had halted")
        if encode_record(ballot) not in node.disk.records:
            raise Violation("durability", f"node {node.identity} signed unlogged {ballot}")

    def on_commit(self, node: Node, certificate: Certificate) -> None:
        """Check what an engine commits."""
        if not node.is_honest:
            return
        if certificate.ballot.kind != Kind.FINALIZE:
            raise Violation("validity", f"node {node.identity} commits {certificate.ballot}")
        if not self._is_certified(node.authorities, certificate):
            raise Violation("validity", f"node {node.identity} commits without a quorum")
        if encode_record(certificate) not in node.disk.records:
            raise Violation("durability", f"node {node.identity} acts on an unlogged certificate")

    def on_imported(self, node: Node, certificate: Certificate) -> None:
        """Note that sync brought a block."""
        self.counts["imported"] += 1

    def on_final(self, node: Node, added: list[Header], certificate: Certificate) -> None:
        """Check what became final on a node."""
        if not node.is_honest:
            return
        for header in added:
            digest = header.hash
            self.final_at[node.identity, digest] = node.world.now
            known = self.chain.get(header.number)
            if known is None:
                self.chain[header.number] = digest
                self._check_block(node, header)
            elif known != digest:
                if not self.may_fork:
                    raise Violation(
                        "agreement", f"node {node.identity} has another block {header.number}"
                    )
                self.fork_heights.add(header.number)
                self._check_block(node, header)

    def on_convict(self, node: Node, evidence: Equivocation) -> None:
        """Check evidence that an engine found."""
        if node.is_honest:
            self.check_guilt(node.authorities, evidence)

    def on_report(self, node: Node, source: Hashable, reason: str) -> None:
        """Check that no honest node is reported."""
        self.counts["reports"] += 1
        if node.is_honest and source not in self.byzantine and not self.may_fork:
            raise Violation("accountability", f"node {node.identity} reports {source}: {reason}")

    def on_halt(self, node: Node, _halt: m.Halt) -> None:
        """Check that a node halts only where there are forks."""
        self.counts["halts"] += 1
        if node.is_honest and not self.may_fork:
            raise Violation("agreement", f"node {node.identity} halted")

    # ------------------------------------------------------------------------- what is checked

    def check_guilt(self, authorities: AuthoritySet, evidence: Equivocation) -> int:
        """Check that evidence holds and names a Byzantine one, and return its index."""
        try:
            check_evidence(GENESIS, authorities, evidence)
        except BadEvidenceError as error:
            raise Violation("accountability", f"evidence does not hold: {error}") from error
        epoch, voter = int(authorities.epoch), int(evidence.first.voter)
        identity = self.ledger.members(epoch)[voter][0]
        if identity not in self.byzantine:
            raise Violation("accountability", f"honest node {identity} is convicted: {evidence}")
        self.convicted.add((epoch, identity))
        return voter

    def check_follower(self, node: Node) -> None:
        """Check that a light client can follow a node from genesis to its last final block."""
        ledger, library = self.ledger, node.library
        client = LightClient(GENESIS, ledger.set_after(GENESIS_HEADER), ledger.epoch_blocks)
        try:
            for number in range(ledger.epoch_blocks, node.height + 1, ledger.epoch_blocks):
                header = library.finals[number]
                proof = EpochProof(header, library.justifications[number], ledger.set_after(header))
                client.follow(proof)
            for number in range(client.epoch * ledger.epoch_blocks + 1, node.height + 1):
                found = library.justifications.get(number)
                if found is not None:
                    client.verify(library.finals[number], found)
        except LightClientError as error:
            raise Violation("light client", str(error)) from error

    def _check_block(self, node: Node, header: Header) -> None:
        """Check that the leader of its view proposed a block, on its parent, with real skips."""
        digest, claim = header.hash, claim_of(header)
        parent = node.library.finals[header.number - 1]
        story = f"final block {header.number} of node {node.identity}"
        body = node.library.bodies[digest]
        if claim is None or not self.ledger.is_valid(header, parent, body, node.set_of):
            raise Violation("validity", f"{story} is invalid")
        epoch = int(claim.epoch)
        authorities = node.set_of(epoch)
        is_of_epoch = (header.number - 1) // self.ledger.epoch_blocks == epoch
        if authorities is None or not is_of_epoch:
            raise Violation("validity", f"{story} is of another epoch")
        leader = self._leader(authorities, int(claim.view))
        ballot = Ballot(claim.epoch, claim.view, int(Kind.NOTARIZE), digest)
        identity = self.ledger.members(epoch)[leader][0]
        if identity not in self._voters.get(ballot, ()):
            raise Violation("validity", f"{story} is not of its leader {identity}")
        if not any(
            self._proves(authorities, proposal, header)
            for proposal in self._proposals.get(digest, ())
            if proposal.vote.ballot == ballot
        ):
            raise Violation("validity", f"{story} has unproven skips")
        self.counts["blocks"] += 1
        self.counts["convictions-on-chain"] += len(evidence_in(body))

    def _proves(self, authorities: AuthoritySet, proposal: m.Proposal, header: Header) -> bool:
        claim, parent = claim_of(header), proposal.parent
        assert claim is not None, "it was read before"
        root = (header.number - 1) % self.ledger.epoch_blocks == 0
        if (parent is None) != root or claim.skips != skips_hash(proposal.skips):
            return False
        below = 0
        if parent is not None:
            is_right = parent.ballot.digest == header.parent_hash
            if not is_right or not self._is_certified(authorities, parent):
                return False
            below = int(parent.ballot.view)
        views = [int(skip.ballot.view) for skip in proposal.skips]
        return views == list(range(below + 1, int(claim.view))) and all(
            skip.ballot.kind == Kind.NULLIFY and self._is_certified(authorities, skip)
            for skip in proposal.skips
        )

    def _is_certified(self, authorities: AuthoritySet, certificate: Certificate) -> bool:
        key = (authorities.hash, certificate)
        found = self._checked.get(key)
        if found is None:
            try:
                check_certificate(GENESIS, authorities, certificate)
                found = bool(certificate.votes)
            except BadCertificateError:
                found = False
            self._checked[key] = found
        return found

    def _leader(self, authorities: AuthoritySet, view: int) -> int:
        found = self._schedules.get(authorities.hash)
        if found is None:
            weights = [authority.weight for authority in authorities.authorities]
            found = self._schedules[authorities.hash] = LeaderSchedule(weights, authorities.seed)
        return found.leader(view)
