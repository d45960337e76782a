"""A simulated node: does for its engine what node/finality/participant.py and
node/finality/engine_runner.py do.

One engine at a time, of the epoch after the last final block. Messages of the next epoch wait,
peers in an earlier one get the certificate that ended it. Persists are synced before what follows
them; a crash may come in the middle of a write, after it, or between the last block of an epoch
and the clearing of the log. What is not final and not in the log is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final

from consensus import messages as m
from consensus.engine import Engine
from consensus.settings import EngineSettings
from consensus.write_ahead_log import Body as BodyRecord
from consensus.write_ahead_log import bodies, decode_record, encode_record
from runtime.shared.finality import AuthoritySet, Ballot, Certificate, Equivocation, Vote
from runtime.types.primitives import Hash, Header
from tests.simulation.disk import Disk
from tests.simulation.ledger import GENESIS, Body, accusation, time_extrinsic, time_of
from tests.simulation.library import Branch, Library, Segment
from tests.simulation.signing import key_of, sign

if TYPE_CHECKING:
    from tests.simulation.world import Call, Packet, World

EARLY_MAX: Final = 512
TRANSACTIONS_MAX: Final = 16
DELAY_MS: Final = 1000


class Death(Enum):
    """At which point of its work a node dies."""

    NOW = "crash"
    WRITING = "crash-while-writing"
    WRITTEN = "crash-after-writing"
    CLEARING = "crash-before-clearing"


class Node:
    """An honest validator or follower."""

    is_honest = True
    engine_type: type[Engine] = Engine

    def __init__(self, world: World, identity: int, side: int = 0) -> None:
        self.world = world
        self.identity = identity
        self.side = side
        self.disk = Disk()
        self.library = Library(self)
        self.is_up = False
        self.is_paused = False
        self.life = 0
        self.incarnation = 0
        self.death: Death | None = None
        self.halted: m.Halt | None = None
        self.transactions: dict[bytes, None] = {}

    # --------------------------------------------------------------------- starting, ending

    def boot(self) -> None:
        """Start with what is on the disk."""
        self.is_up, self.is_paused, self.death = True, False, None
        self.incarnation += 1
        self.frozen: list[Packet | Call] = []
        self.early: deque[Packet] = deque(maxlen=EARLY_MAX)
        self.answered: dict[tuple[int, int], None] = {}
        self.transactions = {}
        self.accusations: dict[tuple[int, int], bytes] = {}
        self.unwritten: list[Call] = []
        self.library.reopen()
        self._begin_epoch(self.disk.read())

    def crash(self) -> None:
        """End, whatever was under way."""
        self.is_up = False
        self.life += 1
        self.death = None
        self.unwritten = []

    def pause(self) -> None:
        """Freeze: messages and timers wait."""
        self.is_paused = True

    def resume(self) -> None:
        """Go on; what has waited happens now, messages and timers in any order."""
        self.is_paused = False
        frozen, self.frozen = self.frozen, []
        packets = [item for item in frozen if not callable(item)]
        calls = [item for item in frozen if callable(item)]
        first, second = (packets, calls) if self.world.rng.random() < 0.5 else (calls, packets)
        life = self.life
        for item in [*first, *second]:
            if self.is_up and callable(item):
                if life == self.life:
                    item()
            elif self.is_up and not callable(item):
                self.deliver(item)

    def _begin_epoch(self, records: tuple[bytes, ...]) -> None:
        self.life += 1
        world, library = self.world, self.library
        length = world.ledger.epoch_blocks
        self.epoch = library.final.number // length
        root = library.finals[self.epoch * length]
        self.last_number = root.number + length
        self.authorities = library.sets[self.epoch]
        self.me = self.authorities.index_of(key_of(self.identity))
        settings = EngineSettings(delay_ms=DELAY_MS)
        self.engine = self.engine_type(
            genesis=GENESIS,
            authorities=self.authorities,
            me=self.me,
            root=root.hash,
            last_number=self.last_number,
            settings=settings,
        )
        self.timers: dict[m.TimerKind, m.Timer] = {}
        self.bodies: dict[Hash, Body] = {}
        self.inbox: deque[m.Event] = deque()
        self.commits: deque[Certificate] = deque()
        self.committed: Hash | None = None
        self.is_stepping = self.is_finalizing = False
        library.forget_requests()
        world.oracle.on_epoch(self)
        early, self.early = list(self.early), deque(maxlen=EARLY_MAX)
        self.is_stepping = True  # nothing is done before Start
        for packet in early:
            self._take(packet)
        self._restore(records)
        self.inbox.append(m.Start(records))
        self._publish_certificate(library.final)
        self.is_stepping = False
        world.after(0, self, self._drain)

    def _restore(self, records: tuple[bytes, ...]) -> None:
        """Execute again what was voted for and is not final."""
        known = {record.block: record.extrinsics for record in bodies(records)}
        headers = [record for record in map(decode_record, records) if isinstance(record, Header)]
        for header in sorted(headers, key=lambda header: header.number):
            if header.number > self.library.final.number and header.hash in known:
                self.library.execute(header, known[header.hash])

    # ---------------------------------------------------------------------- what comes in

    def deliver(self, packet: Packet) -> None:
        """Take a message of a peer, or keep it while frozen."""
        if self.is_paused:
            self.frozen.append(packet)
        else:
            self._take(packet)

    def call(self, call: Call) -> None:
        """Do what was put off, or keep it while frozen."""
        if self.is_paused:
            self.frozen.append(call)
        else:
            call()

    def post(self, event: m.Event) -> None:
        """Give the engine an event."""
        self.inbox.append(event)
        if not self.is_stepping:
            self._drain()

    def _take(self, packet: Packet) -> None:
        message = packet.message
        epoch = epoch_of(message)
        if epoch == self.epoch + 1:
            self.early.append(packet)
        elif epoch < self.epoch:
            self._send_last_certificate(packet.source, epoch)
        elif epoch == self.epoch:
            if isinstance(message, m.Proposal) and packet.body is not None:
                self.bodies[message.header.hash] = packet.body
            self.post(m.Received(packet.source, message))

    def _send_last_certificate(self, source: int, epoch: int) -> None:
        """Give a peer that is in an earlier epoch the certificate that ends it."""
        last = (epoch + 1) * self.world.ledger.epoch_blocks
        found = self.library.justifications.get(last)
        if found is not None and (source, epoch) not in self.answered:
            self.answered[source, epoch] = None
            self.transmit(source, found)

    def _drain(self) -> None:
        life = self.life
        while self.inbox and life == self.life and not self.unwritten:
            self.is_stepping = True
            self._carry_out(deque(self._step(self.inbox.popleft())))
            if life == self.life:
                self.is_stepping = False

    # ------------------------------------------------------------------- what the engine says

    def _step(self, event: m.Event) -> list[m.Action]:
        self.world.steps += 1
        return self.engine.step(event)

    def _carry_out(self, actions: deque[m.Action]) -> None:
        """Do what the engine asks for, in order; what a full disk stops goes on later."""
        has_died_after = False
        while actions:
            if type(actions[0]) is m.Persist and self.disk.is_full:
                self.unwritten.append(lambda: self._carry_out(actions))
                return
            action = actions.popleft()
            if type(action) is m.Persist:
                records = [action.record]
                while actions and isinstance(following := actions[0], m.Persist):
                    records.append(following.record)
                    actions.popleft()
                if not self.write(records):
                    return
                has_died_after = self.death is Death.WRITTEN
            elif type(action) is m.Sign:
                vote = self.sign(action.ballot)
                actions.extend(self.engine.step(m.Signed(vote)))
            elif type(action) is m.Commit:
                self.world.oracle.on_commit(self, action.certificate)
                self.commits.append(action.certificate)
                self.world.after(0, self, self._finalize_next)
            else:
                self._begin(action)
            if has_died_after and self.world.rng.random() < 0.4:
                self.die()
                return

    def write(self, records: Sequence[bytes]) -> bool:
        """Write to the log; False where the node died of it."""
        if self.death is Death.WRITING:
            self.disk.tear(records, self.world.rng)
            self.die()
            return False
        self.disk.append(records)
        return True

    def fill_disk(self) -> None:
        """Nothing more can be written, until `free_disk`."""
        self.disk.is_full = True

    def free_disk(self) -> None:
        """Write what has waited, in its order, and go on."""
        self.disk.is_full = False
        self.call(self._write_what_waited)

    def _write_what_waited(self) -> None:
        life = self.life
        unwritten, self.unwritten = self.unwritten, []
        for call in unwritten:
            if life == self.life:
                self.is_stepping = True
                call()
        if life == self.life and self.is_up:
            self.is_stepping = False
            self._drain()

    def die(self) -> None:
        """Crash at the point that was chosen."""
        assert self.death is not None
        self.world.counts[self.death.value] += 1
        self.crash()

    def sign(self, ballot: Ballot) -> Vote:
        """Sign whatever the engine wants: no second guard hides its faults."""
        assert self.me is not None, "an engine without a place signs nothing"
        vote = sign(GENESIS, self.identity, self.me, ballot)
        self.world.oracle.on_sign(self, vote)
        return vote

    def _begin(self, action: m.Action) -> None:
        world = self.world
        match action:
            case m.Broadcast(message):
                self.broadcast(message)
            case m.Send(target, message):
                assert isinstance(target, int), "peers are named by number"
                self.transmit(target, message)
            case m.SetTimer(timer, delay_ms):
                self.timers[timer.kind] = timer
                world.after(delay_ms, self, lambda: self._time_out(timer))
            case m.Propose():
                world.oracle.on_propose(self, action)
                world.after(world.habits.pace_ms, self, lambda: self.propose(action))
            case m.Execute():
                world.after(action.pause_ms, self, lambda: self._execute(action))
            case m.Notarized(certificate):
                self.library.obtain(certificate.ballot.digest, None, lambda _: None)
            case m.ReportEquivocation(evidence):
                self.accuse(evidence)
            case m.Report(source, reason):
                world.oracle.on_report(self, source, reason)
            case m.Halt():
                self.halted = action
                world.oracle.on_halt(self, action)

    def _time_out(self, timer: m.Timer) -> None:
        if self.timers.get(timer.kind) == timer:
            self.post(m.TimedOut(timer))

    def broadcast(self, message: m.Message) -> None:
        """Send a message to every peer."""
        for identity in self.world.copies:
            if identity != self.identity:
                self.transmit(identity, message)

    def transmit(self, target: int, message: m.Message) -> None:
        """Send a message to one peer."""
        body = None
        if isinstance(message, m.Proposal):
            self.world.oracle.on_proposal(message)
            if self.world.rng.random() < self.world.habits.inline:
                body = self.library.bodies.get(message.header.hash)
        self.world.send(self, target, message, body)

    def accuse(self, evidence: Equivocation) -> None:
        """Take evidence up, for the blocks of this node."""
        self.world.oracle.on_convict(self, evidence)
        key = (int(evidence.first.ballot.epoch), int(evidence.first.voter))
        self.accusations.setdefault(key, accusation(evidence))

    # -------------------------------------------------------------------------------- blocks

    def propose(self, wanted: m.Propose) -> None:
        """Build a block, once its parent is here."""
        self.library.obtain(wanted.parent, None, lambda is_here: self._build(wanted, is_here))

    def _build(self, wanted: m.Propose, is_here: bool) -> None:
        header = None
        if is_here and self.disk.is_full:
            self.unwritten.append(lambda: self._build(wanted, is_here=True))
            return
        if is_here:
            parent = self.library.blocks[wanted.parent]
            body = self.body_on(parent)
            header = self.world.ledger.build(parent, wanted.claim, body)
            if not self.write([encode_record(BodyRecord(header.hash, body))]):
                return
            self.library.add(header, body)
        self.post(m.Built(wanted.view, header))

    def body_on(self, parent: Header) -> Body:
        """Choose evidence and transactions that the branch does not have yet."""
        had = self.library.extrinsics_of(parent)
        wanted = [*self.accusations.values(), *self.transactions]
        body = tuple(extrinsic for extrinsic in wanted if extrinsic not in had)[:TRANSACTIONS_MAX]
        if not self.world.is_clocked:
            return body
        former = time_of(self.library.bodies[parent.hash])
        now = self.clock_ms() if former is None else max(self.clock_ms(), former + 1)
        return (time_extrinsic(now), *body)

    def clock_ms(self) -> int:
        """Return the time of this node's clock."""
        return self.world.now + self.world.skews_ms.get(self.identity, 0)

    def _execute(self, wanted: m.Execute) -> None:
        """Execute a proposed block; the engine decides on another attempt."""
        header = wanted.header
        self.library.obtain_block(
            header,
            wanted.source,
            self._executed,
            lambda: self.post(m.BlockUnavailable(header.hash)),
        )

    def _executed(self, header: Header, body: Body | None, is_valid: bool) -> None:
        """Tell the engine what came of a block; its body is durable before that."""
        if self.disk.is_full:
            self.unwritten.append(lambda: self._executed(header, body, is_valid))
            return
        if is_valid and body is not None:
            if not self.write([encode_record(BodyRecord(header.hash, body))]):
                return
            self.library.add(header, body)
        self.post(m.BlockExecuted(header.hash, is_valid))

    # ------------------------------------------------------------------------- serving peers

    def serve_body(self, block: Hash) -> Body | None:
        """Answer a request for the body of a block."""
        return self.library.bodies.get(block)

    def serve_branch(self, block: Hash, above: int) -> Branch | None:
        """Answer a request for a block and its ancestors."""
        return self.library.branch(block, above)

    def serve_finals(self, first: int) -> Sequence[Segment]:
        """Answer a request for final blocks."""
        return self.library.segments(first)

    # ------------------------------------------------------------------------------ finality

    def _finalize_next(self) -> None:
        if not self.is_finalizing and self.commits:
            self.is_finalizing = True
            self._try_to_finalize(self.commits.popleft(), 0)

    def _try_to_finalize(self, certificate: Certificate, failures: int) -> None:
        self.committed = certificate.ballot.digest
        self.library.obtain(
            self.committed,
            None,
            lambda is_here: self._finalize(certificate, failures, is_here),
        )

    def _finalize(self, certificate: Certificate, failures: int, is_here: bool) -> None:
        if not is_here:  # again after a pause, unless a later certificate stands for it
            pause_ms = 0 if self.commits else self.engine.settings.pause_ms(failures + 1)
            self.world.after(
                pause_ms,
                self,
                lambda: (
                    self._try_to_finalize(self.commits.popleft(), 0)
                    if self.commits
                    else self._try_to_finalize(certificate, failures + 1)
                ),
            )
            return
        self.is_finalizing = False
        life = self.life
        self.finalize(certificate)
        if life == self.life and self.commits:
            self._finalize_next()

    def finalize(self, certificate: Certificate) -> None:
        """Make a block that is here final, with its ancestors, durably."""
        block = certificate.ballot.digest
        if self.halted is not None:
            return  # an operator has to look at it
        if self.disk.is_full:
            self.unwritten.append(lambda: self.finalize(certificate))
            return
        added = self.library.finalize(block, certificate)
        if not added:
            return
        self.world.oracle.on_final(self, added, certificate)
        header = added[-1]
        for extrinsic in self.library.bodies[block]:
            self.transactions.pop(extrinsic, None)
        if header.number >= self.last_number:
            if self.death is Death.CLEARING:
                self.die()
                return
            self.disk.clear()
            self._begin_epoch(())
        else:
            self._publish_certificate(header)

    def _publish_certificate(self, header: Header) -> None:
        """Let the engine know of a final block that it did not commit itself."""
        found = self.library.justifications.get(header.number)
        is_of_epoch = header.number > self.epoch * self.world.ledger.epoch_blocks
        if found is not None and header.hash != self.committed and is_of_epoch:
            self.post(m.BlockFinalized(header))
            self.post(m.Received(None, found))

    # ------------------------------------------------------------------------- what is seen

    @property
    def height(self) -> int:
        """The height of the last final block."""
        return self.library.final.number

    def set_of(self, epoch: int) -> AuthoritySet | None:
        """Return the set of an epoch that this node knows."""
        sets = self.library.sets
        return sets[epoch] if epoch < len(sets) else None


def epoch_of(message: m.Message) -> int:
    """Return the epoch that a message is of."""
    match message:
        case m.Proposal(vote=vote):
            return int(vote.ballot.epoch)
        case m.CertificateRequest(epoch=epoch):
            return int(epoch)
        case _:
            return int(message.ballot.epoch)
