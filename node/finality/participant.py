"""The participant: takes part in consensus, epoch after epoch, as a validator or a follower.

It passes the messages of peers to the engine of the current epoch
(node/finality/engine_runner.py), holds those that come an epoch early, sends the last certificate
of an earlier epoch to peers that are still in it, and relays new messages if not all validators
are connected with each other. Before a validator's first vote comes the doppelganger check
(node/finality/doppelganger.py): while it listens no engine runs, and synchronization brings blocks.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Final

import trio

from consensus import messages as m
from consensus.engine import Engine
from consensus.settings import EngineSettings
from node.chain.epochs import Epochs
from node.chain.events import ChainEvent, FinalChanged
from node.finality.codec import read_message
from node.finality.doppelganger import (
    Listening,
    Surroundings,
    Waiting,
    check_identity,
    check_own_vote,
)
from node.finality.engine_runner import EngineRunner
from node.finality.local_faults import LocalFaults
from node.finality.next_epoch_messages import NextEpochMessages
from node.finality.runner_context import RunnerContext
from node.finality.voter_activity import VoterActivity
from p2p.protocols.reputation import Fault
from p2p.protocols.status import Roles
from p2p.service.service import Inbound, Service
from p2p.transport.wire import MessageKind
from runtime.codec.scale import DecodeError
from runtime.crypto.hashing import blake2b_256
from runtime.shared.finality import Certificate, Vote, is_signed

SEEN_MAX: Final = 8_192
"""Messages that are remembered so that each is passed on once."""
STANDING_VIEWS: Final = 5
"""Finality stands when nothing has become final in the time of so many failing views."""
SILENT_VIEWS: Final = 2
"""A validator without a verified vote in the time of so many failing views counts as silent."""
LOOK_SECONDS: Final = 0.1
"""How often a listening validator looks at its network."""

logger = logging.getLogger(__name__)


class Participant:
    """Follows which blocks are final; with a signer it also votes."""

    def __init__(
        self,
        context: RunnerContext,
        epochs: Epochs,
        service: Service,
        settings: EngineSettings,
        *,
        is_listening_first: bool,
    ) -> None:
        self._context = context
        self._epochs = epochs
        self._service = service
        self._settings = settings
        self._has_to_listen = is_listening_first and context.signer is not None
        self._listening: Listening | None = None
        self._next_epoch_messages = NextEpochMessages()
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._runner: EngineRunner | None = None
        self.faults = LocalFaults()
        self._final_at = trio.current_time() - self._age_seconds()
        context.chain.on_event.append(self._note_final)
        self.epoch = epochs.after(context.chain.finalized.hash)
        self.activity: dict[int, VoterActivity] = {}
        """By the index of each validator in the current epoch that was heard."""

    @property
    def me(self) -> int | None:
        """This node's index among the validators of the current epoch."""
        signer = self._context.signer
        return None if signer is None else self.epoch.authorities.index_of(signer.public)

    @property
    def view(self) -> int:
        """The view that the engine is in; 0 before it begins."""
        return 0 if self._runner is None else self._runner.view

    @property
    def is_halted(self) -> bool:
        """Return whether two conflicting certificates of finality were seen: nothing is signed."""
        return self._runner is not None and self._runner.is_halted

    @property
    def seconds_without_finality(self) -> float:
        """For how long no block has become final, here or before this node started."""
        return trio.current_time() - self._final_at

    @property
    def database_failure(self) -> str:
        """Why the database takes no write, so that this node does not vote; empty while it does."""
        return self._context.chain.database.write_failure

    @property
    def is_standing(self) -> bool:
        """Return whether finality makes no progress at this node."""
        limit_ms = STANDING_VIEWS * self._settings.advance_ms
        return self.seconds_without_finality * 1_000 > limit_ms

    @property
    def silent_seconds(self) -> float:
        """After how long without a verified vote a validator counts as silent."""
        return SILENT_VIEWS * self._settings.advance_ms / 1_000

    @property
    def connected_validators(self) -> int:
        """The connected peers that vote, by their own word."""
        return sum(bool(Roles.VALIDATOR & peer.roles) for peer in self._service.peers())

    @property
    def waits_for(self) -> Waiting | None:
        """What the validator listens for before its first vote; None for one that votes."""
        return None if self._listening is None else self._listening.waits_for

    async def run(self) -> None:
        """Take part until cancelled. Raises DoppelgangerError, DamagedLogError."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive)
            nursery.start_soon(self._watch_identity)
            records = await trio.to_thread.run_sync(self._context.log.read)
            while True:
                self._enter_epoch()
                if self._has_to_listen and self.me is not None:
                    await self._listen()
                    self._has_to_listen = False
                await self._run_epoch(records)
                if self.is_halted:
                    # Synchronization may end an epoch; the log stays, it is evidence.
                    await trio.sleep_forever()
                # The epoch's last block is in the database: nothing of the log is needed any more.
                await self.faults.write_until_done(self._context.log.clear)
                records = ()

    def _age_seconds(self) -> float:
        """Return how old the last final block of the database is, by its own time.

        Only for what became final before this process: the clocks of this machine and of the
        block's author differ, and a wrong one here must not make later blocks look old.
        """
        final = self._context.chain.finalized
        if final.number == 0:
            return 0.0  # genesis has no time
        made_ms = self._epochs.timestamp_ms(final.hash)
        return max(0, self._context.clock_ms() - made_ms) / 1_000

    def _note_final(self, event: ChainEvent) -> None:
        if isinstance(event, FinalChanged):
            self._final_at = trio.current_time()

    def _enter_epoch(self) -> None:
        """Take the epoch that follows the last final block."""
        self.epoch = self._epochs.after(self._context.chain.finalized.hash)
        self.activity.clear()

    async def _listen(self) -> None:
        """Return when this validator may vote. Raises DoppelgangerError."""
        listening = self._listening = Listening(self._settings)
        waited_for: Waiting | None = None
        while listening.waits_for is not None:
            if self._context.chain.finalized.number >= self.epoch.last_number:
                self._enter_epoch()
                self._take_early_messages()
            listening.look(self._surroundings(), trio.current_time())
            if listening.waits_for not in (waited_for, None):
                waited_for = listening.waits_for
                logger.info("doppelganger-listening waits-for=%r", waited_for.value)
            await trio.sleep(LOOK_SECONDS)
        self._listening = None

    async def _watch_identity(self) -> None:
        """End a node whose place another one with its key takes. Raises DoppelgangerError."""
        while True:
            check_identity(self._service.seconds_refused())
            await trio.sleep(LOOK_SECONDS)

    def _surroundings(self) -> Surroundings:
        own, trusted = self._context.chain.finalized.number, self._service.configured_peers()
        known = max([self._context.fetcher.highest_final, *(peer.finalized for peer in trusted)])
        is_standing_provable = bool(trusted) or not self._service.has_configured_peers
        return Surroundings(
            is_alone=len(self.epoch.authorities.authorities) == 1,
            is_refused=self._service.seconds_refused() > 0,
            validators=self.connected_validators,
            is_current=known <= self.epoch.last_number,
            heights=(own, *(peer.finalized for peer in trusted)) if is_standing_provable else None,
        )

    def _take_early_messages(self) -> None:
        for inbound in self._next_epoch_messages.take_messages():
            self._take(inbound)

    async def _run_epoch(self, records: tuple[bytes, ...]) -> None:
        chain, epoch = self._context.chain, self.epoch
        engine = Engine(
            genesis=chain.genesis_hash,
            authorities=epoch.authorities,
            me=self.me,
            root=epoch.root,
            last_number=epoch.last_number,
            settings=self._settings,
        )
        self._runner = EngineRunner(self._context, epoch, engine, self.me, self.faults)
        logger.info(
            "epoch-started epoch=%d validators=%d last=%d voting=%s",
            epoch.number,
            len(epoch.authorities.authorities),
            epoch.last_number,
            self.me is not None,
        )
        self._take_early_messages()
        await self._runner.run(records)

    # ----------------------------------------------------------------------------- messages

    async def _receive(self) -> None:
        async for inbound in self._service.consensus:
            self._take(inbound)

    def _take(self, inbound: Inbound) -> None:
        try:
            message, body = read_message(inbound.kind, inbound.body)
        except DecodeError as error:
            self._service.penalize(inbound.peer, Fault.BAD_MESSAGE, str(error))
            return
        epoch = _epoch_of(message)
        if epoch == self.epoch.number + 1:
            self._next_epoch_messages.add_message(inbound)
        elif epoch < self.epoch.number:
            self._send_last_certificate(inbound, epoch)
        elif epoch == self.epoch.number:
            if isinstance(message, Vote):
                self._record_vote(message)
            else:
                self._check_certified_votes(message)
            if self._runner is not None:
                self._runner.receive(inbound.peer, message, body)
            self._relay(inbound, message)

    def _send_last_certificate(self, inbound: Inbound, epoch: int) -> None:
        """Give a peer that is in an earlier epoch the certificate that ends it."""
        chain = self._context.chain
        length = self.epoch.last_number - self.epoch.root_number
        last = chain.hash_of((epoch + 1) * length)
        justification = None if last is None else chain.justification(last)
        key = blake2b_256(inbound.peer.encode() + epoch.to_bytes(8, "little"))
        if justification is not None and self._is_new(key):
            self._service.send(inbound.peer, MessageKind.CERTIFICATE, justification)

    def _record_vote(self, vote: Vote) -> None:
        """Record a sample of the votes of other validators; check each of this node's own key."""
        activity, now = self.activity.get(vote.voter), trio.current_time()
        is_mine = vote.voter == self.me
        if not is_mine and activity is not None and not activity.is_news(vote, now):
            return
        if not is_signed(self._context.chain.genesis_hash, self.epoch.authorities, vote):
            return
        self.activity.setdefault(vote.voter, VoterActivity()).add(vote, now)
        signer = self._context.signer
        if is_mine and signer is not None:
            check_own_vote(signer, vote)
        elif self._listening is not None:
            self._listening.hear(vote, self.epoch.authorities)

    def _check_certified_votes(self, message: m.Message) -> None:
        """Check the votes of this node's own key inside certificates.

        Relays leave out votes that everybody should have from their voter, certificates do not.
        """
        signer, me = self._context.signer, self.me
        if signer is None or me is None:
            return
        for certificate in _certificates_of(message):
            for voter, signature in certificate.votes:
                if voter == me and signer.is_foreign(certificate.ballot):
                    self._record_vote(Vote(certificate.ballot, voter, signature))

    def _relay(self, inbound: Inbound, message: m.Message) -> None:
        """Relay a signed message once, unless every validator gets it from its origin anyway."""
        if not isinstance(message, Vote | m.Proposal) or self._is_mesh_full():
            return
        if not self._is_new(blake2b_256(inbound.body)):
            return
        if isinstance(message, m.Proposal):
            if self._runner is not None:
                self._runner.relay(inbound.peer, message)
        elif is_signed(self._context.chain.genesis_hash, self.epoch.authorities, message):
            self._service.broadcast(inbound.kind, inbound.body, besides=inbound.peer)

    def _is_mesh_full(self) -> bool:
        """Return whether this node is connected with all other validators."""
        others = len(self.epoch.authorities.authorities) - (self.me is not None)
        return self.connected_validators >= others

    def _is_new(self, key: bytes) -> bool:
        if key in self._seen:
            return False
        self._seen[key] = None
        while len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        return True


def _certificates_of(message: m.Message) -> tuple[Certificate, ...]:
    match message:
        case m.Proposal(parent=parent, skips=skips):
            return skips if parent is None else (parent, *skips)
        case Certificate():
            return (message,)
        case _:
            return ()


def _epoch_of(message: m.Message) -> int:
    match message:
        case m.Proposal(vote=vote):
            return vote.ballot.epoch
        case m.CertificateRequest(epoch=epoch):
            return epoch
        case _:
            return message.ballot.epoch
