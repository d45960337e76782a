"""The blocks of a simulated node: what is final and durable, what is executed, what is fetched.

Fetching is as in node/sync/block_sync.py: one at a time, from up to four peers in turn. A node that
stays behind its peers copies final blocks with their certificates, checked against the sets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Final

from node.chain.import_checks import TIMESTAMP_AHEAD_MS_MAX
from runtime.shared.finality import BadCertificateError, Certificate, Kind, check_certificate
from runtime.types.primitives import Hash, Header
from tests.simulation.ledger import GENESIS, GENESIS_HEADER, Body, time_of

if TYPE_CHECKING:
    from tests.simulation.node import Node

FETCH_PEERS_MAX: Final = 4
LOOK_MS: Final = 1000
"""How often a node compares its height with its peers'."""
PATIENCE_BLOCKS: Final = 8
PATIENCE_MS: Final = 2000
SYNC_BLOCKS_MAX: Final = 64

Branch = Sequence[tuple[Header, Body]]
Segment = tuple[Branch, Certificate]


class Library:
    """Blocks of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.finals = [GENESIS_HEADER]
        self.justifications: dict[int, Certificate] = {}
        self.sets = [node.world.ledger.set_after(GENESIS_HEADER)]
        self.blocks: dict[Hash, Header] = {GENESIS: GENESIS_HEADER}
        self.bodies: dict[Hash, Body] = {GENESIS: ()}
        self.included: dict[bytes, int] = {}
        """Final extrinsics, with the height of their block."""
        self._fetches: deque[tuple[Hash, Hashable, Callable[[bool], None]]] = deque()
        self._is_fetching = False
        self._progress = (0, 0)
        self._turn = 0

    @property
    def final(self) -> Header:
        """The last final block."""
        return self.finals[-1]

    def reopen(self) -> None:
        """Forget what was not durable."""
        known = self.bodies
        self.blocks = {header.hash: header for header in self.finals}
        self.bodies = {block: known[block] for block in self.blocks}
        self._order = sorted(
            (identity for identity in self._node.world.copies if identity != self._node.identity),
            key=lambda _: self._node.world.rng.random(),
        )
        self._is_looking = False
        self._progress = (self.final.number, self._node.world.now)

    def forget_requests(self) -> None:
        """An epoch is over: what was fetched for its engine is not wanted any more."""
        self._fetches.clear()
        self._is_fetching = False
        self._node.world.after(LOOK_MS, self._node, self._look)

    # -------------------------------------------------------------------------------- blocks

    def add(self, header: Header, body: Body) -> None:
        """Keep a block that was executed."""
        self.blocks[header.hash] = header
        self.bodies[header.hash] = body

    def execute(self, header: Header, body: Body) -> bool:
        """Execute a block and keep it; False where it is invalid or its parent is unknown."""
        if header.hash in self.blocks:
            return True
        parent = self.blocks.get(header.parent_hash)
        if parent is None:
            return False
        if not self._node.world.ledger.is_valid(header, parent, body, self._node.set_of):
            return False
        self.add(header, body)
        return True

    def extrinsics_of(self, header: Header) -> dict[bytes, int]:
        """Return what a branch has in it."""
        found = dict(self.included)
        while header.number > self.final.number:
            found.update(dict.fromkeys(self.bodies[header.hash], header.number))
            header = self.blocks[header.parent_hash]
        return found

    def finalize(self, block: Hash, certificate: Certificate) -> list[Header]:
        """Make a block final with its ancestors, and return them, oldest first."""
        path: list[Header] = []
        header = self.blocks.get(block)
        while header is not None and header.number > self.final.number:
            path.append(header)
            header = self.blocks.get(header.parent_hash)
        if not path or header != self.final:
            return []
        path.reverse()
        ledger = self._node.world.ledger
        for header in path:
            self.finals.append(header)
            self.included.update(dict.fromkeys(self.bodies[header.hash], header.number))
            if header.number % ledger.epoch_blocks == 0:
                self.sets.append(ledger.set_after(header))
        self.justifications[path[-1].number] = certificate
        last = self.final.number
        for digest, other in list(self.blocks.items()):
            if other.number <= last and self.finals[other.number] != other:
                del self.blocks[digest], self.bodies[digest]
        return path

    def obtain_block(
        self,
        header: Header,
        source: Hashable,
        then: Callable[[Header, Body | None, bool], None],
        give_up: Callable[[], None],
    ) -> None:
        """Execute a proposed block, or give up where a part is missing and does not come."""
        if header.hash in self.blocks:
            then(header, None, True)
            return
        node, world = self._node, self._node.world

        def execute(body: Body | None) -> None:
            parent = self.blocks.get(header.parent_hash)
            if body is None or parent is None:
                world.counts["body-missing"] += 1
                give_up()
                return
            if header.hash in self.blocks:
                then(header, None, True)
                return
            time_ms = time_of(body)
            if time_ms is not None and time_ms > node.clock_ms() + TIMESTAMP_AHEAD_MS_MAX:
                world.counts["block-ahead-of-clock"] += 1
                give_up()
                return
            is_valid = world.ledger.is_valid(header, parent, body, node.set_of)
            if not is_valid:
                world.counts["invalid-block"] += 1
            delay = world.habits.execution_ms
            if delay:
                world.after(world.rng.randrange(delay), node, lambda: then(header, body, is_valid))
            else:
                then(header, body, is_valid)

        def find_body(has_parent: bool) -> None:
            body = node.bodies.pop(header.hash, None)
            if not has_parent or body is not None:
                execute(body if has_parent else None)
            else:
                self._request_body(header.hash, self._peers_in_turn(source), execute)

        self.obtain(header.parent_hash, source, find_body)

    def _peers_in_turn(self, source: Hashable) -> list[int]:
        """Return the peers to ask for one body; those after the source take turns."""
        others = [identity for identity in self._order if identity != source]
        turn = self._turn % len(others) if others else 0
        self._turn += FETCH_PEERS_MAX - isinstance(source, int)
        others = [*others[turn:], *others[:turn]]
        peers = [source, *others] if isinstance(source, int) else others
        return [identity for identity in peers if self._is_peer(identity)][:FETCH_PEERS_MAX]

    def _request_body(
        self, block: Hash, asked: list[int], then: Callable[[Body | None], None]
    ) -> None:
        """Ask peers one after another for the body of a block."""

        def take(body: Body | None) -> None:
            if body is not None or not asked:
                then(body)
            else:
                self._node.world.request(
                    self._node, asked.pop(0), lambda peer: peer.serve_body(block), take
                )

        take(None)

    # -------------------------------------------------------------------------------- fetching

    def obtain(self, block: Hash, source: Hashable, then: Callable[[bool], None]) -> None:
        """Have a block executed here, fetched where it is missing."""
        if block in self.blocks:
            then(True)
            return
        self._fetches.append((block, source, then))
        self._fetch_next()

    def _fetch_next(self) -> None:
        if self._is_fetching or not self._fetches:
            return
        self._is_fetching = True
        block, source, then = self._fetches.popleft()
        world, node = self._node.world, self._node
        peers = [identity for identity in self._order if identity != source]
        peers = [source, *peers] if isinstance(source, int) else peers
        asked = [identity for identity in peers if self._is_peer(identity)][:FETCH_PEERS_MAX]
        world.counts["fetch"] += 1

        def end(is_here: bool) -> None:
            self._is_fetching = False
            then(is_here)
            self._fetch_next()

        def take(branch: Branch | None) -> None:
            if branch is not None and self._add_branch(block, branch):
                end(True)
            else:
                go_on()

        def go_on() -> None:
            if block in self.blocks:
                end(True)
            elif not asked:
                end(False)
            else:
                above = self.final.number
                world.request(
                    node, asked.pop(0), lambda peer: peer.serve_branch(block, above), take
                )

        go_on()

    def _is_peer(self, identity: int) -> bool:
        world = self._node.world
        target = world.route(self._node, identity)
        return target is not None and world.connected(self._node, target)

    def _add_branch(self, block: Hash, branch: Branch) -> bool:
        if not branch or branch[-1][0].hash != block:
            return False
        return all(self.execute(header, body) for header, body in branch)

    def branch(self, block: Hash, above: int) -> Branch | None:
        """Return a block and its ancestors above a height, for a peer."""
        found: list[tuple[Header, Body]] = []
        header = self.blocks.get(block)
        while header is not None and header.number > above:
            found.append((header, self.bodies[header.hash]))
            header = self.blocks.get(header.parent_hash)
        return found[::-1] or None

    # ----------------------------------------------------------------------------------- sync

    def _look(self) -> None:
        """Compare heights with peers; copy what is final there once patience is at its end."""
        node, world = self._node, self._node.world
        world.after(LOOK_MS, node, self._look)
        height = self.final.number
        ahead = [
            (target.height, identity)
            for identity in self._order
            if (target := world.route(node, identity)) is not None
            and world.connected(node, target)
            and target.height > height
        ]
        if height != self._progress[0] or not ahead:
            self._progress = (height, world.now)
        lag = max((there for there, _ in ahead), default=height) - height
        is_tired = world.now - self._progress[1] >= PATIENCE_MS
        if ahead and (lag >= PATIENCE_BLOCKS or is_tired):
            _, peer = ahead[world.rng.randrange(len(ahead))]
            world.counts["sync"] += 1
            world.request(node, peer, lambda other: other.serve_finals(height + 1), self._import)

    def segments(self, first: int) -> Sequence[Segment]:
        """Return final blocks from a height on, each row ending in a certificate, for a peer."""
        found: list[Segment] = []
        row: list[tuple[Header, Body]] = []
        for header in self.finals[first : first + SYNC_BLOCKS_MAX]:
            row.append((header, self.bodies[header.hash]))
            certificate = self.justifications.get(header.number)
            if certificate is not None:
                found.append((row, certificate))
                row = []
        return found

    def _import(self, segments: Sequence[Segment] | None) -> None:
        node = self._node
        for branch, certificate in segments or ():
            fresh = [row for row in branch if row[0].number > self.final.number]
            if not fresh or not node.is_up:
                continue
            authorities = self.sets[self.final.number // node.world.ledger.epoch_blocks]
            is_right = (
                certificate.ballot.kind == Kind.FINALIZE
                and certificate.ballot.digest == fresh[-1][0].hash
            )
            try:
                check_certificate(GENESIS, authorities, certificate)
            except BadCertificateError:
                is_right = False
            if not is_right or not self._add_branch(certificate.ballot.digest, fresh):
                node.world.counts["sync-refused"] += 1
                return
            node.world.oracle.on_imported(node, certificate)
            node.finalize(certificate)
