"""The engine runner: carries out what the consensus engine of one epoch decides.

    peers, timers, own work  ->  events  ->  Engine.step  ->  actions  ->  log, signer, chain, peers

One task steps the engine and carries out its actions in their order. What may take long (building,
executing, fetching, finalizing) has tasks of its own and answers with an event. The runner ends
when the epoch's last block is final, from either source: the engine, or synchronization.

Rules: nothing is sent before the log has it on disk; a body is in the log before the vote for its
block; who halted, or whose key votes elsewhere, signs no more, and who cannot write final blocks
signs nothing until it can.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Final

import trio

from consensus import messages as m
from consensus.engine import Engine
from consensus.proposals import BadProposalError, check_form
from consensus.write_ahead_log import Body, bodies, decode_record, encode_record
from node.chain.epochs import Epoch
from node.chain.errors import (
    ChainError,
    ForkTooOldError,
    KnownBlockError,
    UnfinalizedLimitError,
    UnknownBlockError,
)
from node.chain.events import FinalChanged
from node.chain.import_checks import TimestampAheadError, check_timestamp
from node.finality.block_bodies import ProposedBodies
from node.finality.codec import write_message
from node.finality.local_faults import LocalFaults
from node.finality.runner_context import RunnerContext
from node.keys.vote_signer import SignerError
from node.storage.errors import DatabaseWriteError
from p2p.protocols.reputation import Fault
from p2p.transport.transport import PeerId, TransportError
from p2p.transport.wire import MessageKind
from runtime.codec.scale import codec
from runtime.frame.executive import ExecutedBlock, InvalidBlockError
from runtime.shared.finality import Ballot, Certificate, Vote
from runtime.shared.leaders import schedule_of
from runtime.types.primitives import AccountId, Hash, Header

EVENTS_MAX: Final = 4_096
RELAYS_MAX: Final = 64
"""Proposals that are passed on once their blocks are executed."""

logger = logging.getLogger(__name__)
_certificate = codec(Certificate)


class EngineRunner:
    """One engine at work."""

    def __init__(
        self,
        context: RunnerContext,
        epoch: Epoch,
        engine: Engine,
        me: int | None,
        faults: LocalFaults,
    ) -> None:
        self._context = context
        self._epoch = epoch
        self._engine = engine
        self._me = me
        self._bodies = ProposedBodies(context.chain, context.network)
        self._executing: dict[Hash, trio.Event] = {}
        self._relays: OrderedDict[Hash, tuple[PeerId, m.Proposal]] = OrderedDict()
        self._timers: dict[m.TimerKind, m.Timer] = {}
        self._inbox, self._events = trio.open_memory_channel[m.Event](EVENTS_MAX)
        self._commits, self._certificates = trio.open_memory_channel[Certificate](EVENTS_MAX)
        self._writing = trio.Lock()
        self._unwritten: list[bytes] = []
        self._committed: Hash | None = None
        self._faults = faults
        faults.signing_failure = ""  # of an epoch before, in which this node may have been a member
        self._refusal = ""
        """Why the last ballot was not signed; empty where it was."""
        self.is_halted = False

    async def run(self, records: tuple[bytes, ...]) -> None:
        """Work until the epoch's last block is final. `records` are this epoch's, of the log."""
        await self._restore(records)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._inbox.send_nowait(m.Start(records))
            nursery.start_soon(self._finalize_certified)
            nursery.start_soon(self._watch_finality)
            async for event in self._events:
                await self._handle(event)

    @property
    def view(self) -> int:
        """The view that the engine is in; 0 before it begins."""
        return self._engine.view

    def receive(self, source: PeerId, message: m.Message, body: tuple[bytes, ...] | None) -> None:
        """Take a message of a peer; dropped when the engine is thousands of messages behind."""
        if isinstance(message, m.Proposal) and body is not None:
            self._bodies.add_body(message.header.hash, source, body)
        try:
            self._inbox.send_nowait(m.Received(source, message))
        except trio.WouldBlock:
            logger.warning("consensus-message-dropped peer=%s cause=backlog", source)

    def relay(self, source: PeerId, proposal: m.Proposal) -> None:
        """Relay a proposal, once its block is executed, where nothing in it is wrong.

        A node that relays counts as the origin, so nothing is relayed unseen: any peer can give a
        leader's signed proposal another body or other certificates.
        """
        if not self._is_sound(proposal):
            return
        block = proposal.header.hash
        if self._context.chain.header(block) is not None:
            self._relay_executed(source, proposal)
        else:
            self._relays.setdefault(block, (source, proposal))
            while len(self._relays) > RELAYS_MAX:
                self._relays.popitem(last=False)

    def _is_sound(self, proposal: m.Proposal) -> bool:
        """Return whether a proposal is its leader's and proves all that it has to."""
        epoch, vote, parent = self._epoch, proposal.vote, proposal.parent
        signatures = self._engine.signatures
        try:
            check_form(proposal, epoch.number, epoch.root, epoch.last_number)
        except BadProposalError:
            return False
        certificates = (*(() if parent is None else (parent,)), *proposal.skips)
        # The certificates come first: only with them is the view one that the schedule reached.
        return (
            signatures.is_signed(vote)
            and all(map(signatures.is_certified, certificates))
            and schedule_of(epoch.authorities).leader(vote.ballot.view) == vote.voter
        )

    def _relay_executed(self, source: PeerId, proposal: m.Proposal) -> None:
        self._context.network.broadcast(*self._encode(proposal), besides=source)

    # ------------------------------------------------------------------------------ actions

    async def _handle(self, event: m.Event) -> None:
        if self.is_halted:
            return
        actions = self._engine.step(event)
        while actions:
            votes = await self._log_and_sign(actions)
            for action in actions:
                if isinstance(action, m.Commit):
                    await self._commits.send(action.certificate)
                elif not isinstance(action, m.Persist | m.Sign):
                    self._begin(action)
            actions = [more for vote in votes for more in self._engine.step(m.Signed(vote))]

    async def _log_and_sign(self, actions: Sequence[m.Action]) -> list[Vote]:
        """Do what must be durable: the log and the signing history sync their files side by side.

        When it returns, the log has all records, so everything may be sent.
        """
        records = [action.record for action in actions if isinstance(action, m.Persist)]
        ballots = [action.ballot for action in actions if isinstance(action, m.Sign)]
        votes: list[Vote] = []

        async def sign_all() -> None:
            for ballot in ballots:
                vote = await self._sign(ballot)
                if vote is not None:
                    votes.append(vote)

        async with trio.open_nursery() as nursery:
            if records:
                nursery.start_soon(self._write, records)
            nursery.start_soon(sign_all)
        return votes

    def _begin(self, action: m.Action) -> None:
        """Carry out an action that nothing after it waits for."""
        nursery, network = self._nursery, self._context.network
        match action:
            case m.Broadcast(message):
                network.broadcast(*self._encode(message))
            case m.Send(target, message):
                if _is_peer(target):
                    network.send(PeerId(str(target)), *self._encode(message))
            case m.SetTimer(timer, delay_ms):
                self._timers[timer.kind] = timer
                nursery.start_soon(self._run_timer, timer, delay_ms)
            case m.Propose(view, parent, claim):
                nursery.start_soon(self._propose, m.Propose(view, parent, claim))
            case m.Execute():
                nursery.start_soon(self._execute, action)
            case m.Notarized(certificate):
                self._prefer(certificate)
            case m.ReportEquivocation(evidence):
                logger.warning(
                    "offence-found voter=%d epoch=%d view=%d",
                    evidence.first.voter,
                    evidence.first.ballot.epoch,
                    evidence.first.ballot.view,
                )
                self._context.proposer.evidence.add(evidence)
            case m.Report(source, reason):
                if _is_peer(source):
                    network.penalize(PeerId(str(source)), Fault.BAD_MESSAGE, reason)
            case m.Halt(first, second):
                self._halt(second, f"it conflicts with 0x{first.ballot.digest.hex()}")

    async def _sign(self, ballot: Ballot) -> Vote | None:
        signer = self._context.signer
        assert signer is not None, "an engine without a signer casts no ballots"
        assert self._me is not None, "an engine with a signer is a member"
        try:
            # Its bodies would fill the log while the database cannot take what becomes final.
            await trio.to_thread.run_sync(self._context.chain.database.check_writable)
            vote = Vote(ballot, self._me, await signer.sign(ballot))
        except DatabaseWriteError as error:
            self._refuse_vote(ballot, str(error))
            return None
        except (SignerError, OSError) as error:
            self._faults.signing_failure = str(error)
            self._refuse_vote(ballot, str(error))
            return None
        self._refusal = self._faults.signing_failure = ""
        return vote

    def _refuse_vote(self, ballot: Ballot, cause: str) -> None:
        """Log a vote that is not signed; the engine repeats it, a log for each would fill disks."""
        if cause != self._refusal:
            logger.error("vote-refused epoch=%d view=%d cause=%r", ballot.epoch, ballot.view, cause)
        self._refusal = cause

    async def _write(self, records: list[bytes]) -> None:
        async with self._writing:
            bodies_first, self._unwritten = [*self._unwritten, *records], []
            await self._faults.write_until_done(self._context.log.append, bodies_first)

    def _encode(self, message: m.Message) -> tuple[MessageKind, bytes]:
        body = None
        if isinstance(message, m.Proposal):
            body = self._context.chain.body(message.header.hash)
        return write_message(message, body)

    async def _run_timer(self, timer: m.Timer, delay_ms: int) -> None:
        await trio.sleep(delay_ms / 1_000)
        if self._timers.get(timer.kind) == timer:
            await self._inbox.send(m.TimedOut(timer))

    # -------------------------------------------------------------------------------- blocks

    async def _propose(self, wanted: m.Propose) -> None:
        header = None
        try:
            parent = await self._obtain(wanted.parent, None)
            await trio.to_thread.run_sync(self._context.chain.database.check_writable)
            executed = await self._context.proposer.propose(parent, wanted.claim, self._account())
            self._keep_body(executed)
            self._context.chain.add(executed)
            header = executed.header
        except (ChainError, DatabaseWriteError, InvalidBlockError, TransportError) as error:
            logger.info("proposal-given-up view=%d cause=%r", wanted.view, str(error))
        await self._inbox.send(m.Built(wanted.view, header))

    def _account(self) -> AccountId:
        assert self._me is not None, "only a member proposes"
        return self._epoch.authorities.authorities[self._me].account

    async def _execute(self, wanted: m.Execute) -> None:
        """Execute a proposed block and answer the engine, which decides on another attempt."""
        await trio.sleep(wanted.pause_ms / 1_000)
        header, chain = wanted.header, self._context.chain
        block = header.hash
        peer = PeerId(str(wanted.source)) if _is_peer(wanted.source) else None
        is_valid: bool | None = None
        done = self._executing[block] = trio.Event()
        try:
            await self._obtain(header.parent_hash, peer)
            body = await self._bodies.obtain(header, peer)
            check_timestamp(chain.machine, body, self._context.clock_ms)
            executed = await chain.execute(header, body)
            self._keep_body(executed)
            chain.add(executed)
            is_valid = True
        except KnownBlockError:
            is_valid = True  # it became final meanwhile
        except InvalidBlockError as error:
            logger.warning("block-refused number=%d cause=%r", header.number, str(error))
            is_valid = False
        except TimestampAheadError as error:
            self._faults.note_ahead(error.ahead_ms)
            logger.warning("block-not-executed number=%d cause=%r", header.number, str(error))
        except TransportError as error:
            self._faults.note_missing(block, header.number)
            logger.warning("block-not-executed number=%d cause=%r", header.number, str(error))
        except ChainError as error:
            if isinstance(error, UnfinalizedLimitError):
                self._faults.unfinalized_limit = str(error)
            logger.warning("block-not-executed number=%d cause=%r", header.number, str(error))
        finally:
            done.set()
            del self._executing[block]
        relay = self._relays.pop(block, None)
        if is_valid and relay is not None:
            self._relay_executed(*relay)
        if is_valid is None:
            await self._inbox.send(m.BlockUnavailable(block))
        else:
            self._faults.missing_blocks.pop(block, None)
            await self._inbox.send(m.BlockExecuted(block, is_valid))

    async def _restore(self, records: tuple[bytes, ...]) -> None:
        """Execute again the blocks that were voted for and not final when the node ended."""
        chain = self._context.chain
        known = {body.block: body.extrinsics for body in bodies(records)}
        headers = [record for record in map(decode_record, records) if isinstance(record, Header)]
        for header in sorted(headers, key=lambda header: header.number):
            is_above = header.number > chain.finalized.number
            if is_above and header.hash in known and chain.header(header.hash) is None:
                try:
                    chain.add(await chain.execute(header, known[header.hash]))
                except (ChainError, InvalidBlockError) as error:
                    logger.warning(
                        "block-not-restored number=%d cause=%r", header.number, str(error)
                    )

    def _keep_body(self, executed: ExecutedBlock) -> None:
        """Have the body of a block written with the next records; a follower needs none.

        No vote is sent before its ballot is in the log, and the body goes there before it.
        """
        if self._me is not None:
            self._unwritten.append(encode_record(Body(executed.hash, executed.extrinsics)))

    async def _obtain(self, block: Hash, peer: PeerId | None) -> Header:
        """Return the header of a block that is executed here, fetched where it is missing."""
        found, executing = self._context.chain.header(block), self._executing.get(block)
        if found is None and executing is not None:
            await executing.wait()
            found = self._context.chain.header(block)
        if found is None:
            await self._context.fetcher.fetch(block, peer)
            found = self._context.chain.header(block)
            if found is None:
                raise UnknownBlockError(f"Block 0x{block.hex()} lost against a final one.")
        return found

    def _prefer(self, certificate: Certificate) -> None:
        """Make a notarized block the best one; fetch it first where it is missing."""
        block = certificate.ballot.digest
        if self._context.chain.header(block) is None:
            self._nursery.start_soon(self._fetch_best, block)
        else:
            self._set_best(block)

    async def _fetch_best(self, block: Hash) -> None:
        try:
            await self._obtain(block, None)
        except (ChainError, TransportError) as error:
            logger.warning("notarized-block-missing hash=0x%s cause=%r", block.hex(), str(error))
        else:
            self._set_best(block)

    def _set_best(self, block: Hash) -> None:
        try:
            self._context.chain.set_best(block)
        except ChainError as error:  # what is final by now has overtaken it
            logger.debug("best-not-changed hash=0x%s cause=%r", block.hex(), str(error))

    # ------------------------------------------------------------------------------ finality

    async def _finalize_certified(self) -> None:
        """Finalize what the engine commits, one after another.

        What is not here is fetched until it is, unless a later certificate stands for it.
        """
        async for certificate in self._certificates:
            failures = 0
            while not await self._finalize(certificate):
                failures += 1
                with trio.move_on_after(self._engine.settings.pause_ms(failures) / 1_000):
                    certificate = await self._certificates.receive()
                    failures = 0

    async def _finalize(self, certificate: Certificate) -> bool:
        """Make a committed block final; False where it could not be fetched now."""
        block = self._committed = certificate.ballot.digest
        try:
            await self._obtain(block, None)
            await self._context.chain.finalize(block, _certificate.encode(certificate))
            await self._compact(certificate)
        except ForkTooOldError as error:
            # Not on the branch that is final here, and certified: nothing can be trusted now.
            self._halt(certificate, str(error))
        except DatabaseWriteError as error:
            logger.error("finality-waits hash=0x%s cause=%r", block.hex(), str(error))
            return False
        except (ChainError, TransportError) as error:
            logger.warning("finality-waits hash=0x%s cause=%r", block.hex(), str(error))
            return False
        return True

    async def _compact(self, certificate: Certificate) -> None:
        """Let the log forget what a view that is final in the database made superfluous."""
        ballot = certificate.ballot
        async with self._writing:
            try:
                await trio.to_thread.run_sync(self._context.log.compact, ballot.epoch, ballot.view)
            except OSError as error:  # the log has all records still; it is only longer
                logger.error("log-not-compacted cause=%r", str(error))

    def _halt(self, certificate: Certificate, cause: str) -> None:
        """Sign nothing more: a block is certified as final that conflicts with what is final."""
        self.is_halted = True
        logger.critical(
            "consensus-halted epoch=%d view=%d hash=0x%s cause=%r",
            certificate.ballot.epoch,
            certificate.ballot.view,
            certificate.ballot.digest.hex(),
            f"{cause}; more than a third of the stake is faulty. This node signs nothing more; "
            "keep its data folder as evidence.",
        )

    async def _watch_finality(self) -> None:
        """End when the last block is final; notify the engine of what was finalized without it."""
        chain = self._context.chain
        while chain.finalized.number < self._epoch.last_number:
            async with chain.events() as events:
                await self._publish_certificate(chain.finalized)
                async for event in events:  # ends early where this task lags
                    if isinstance(event, FinalChanged):
                        self._faults.forget_blocks(event.header.number)
                        await self._publish_certificate(event.header)
                    if chain.finalized.number >= self._epoch.last_number:
                        break
        self._nursery.cancel_scope.cancel()

    async def _publish_certificate(self, header: Header) -> None:
        """Let the engine see the justification of a block that it did not commit itself."""
        justification = self._context.chain.justification(header.hash)
        if justification is None or header.hash == self._committed:
            return
        if header.number > self._epoch.root_number:
            await self._inbox.send(m.BlockFinalized(header))
            await self._inbox.send(m.Received(None, _certificate.decode(justification)))


def _is_peer(source: Hashable) -> bool:
    return isinstance(source, str)
