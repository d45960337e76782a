"""A devnet: real nodes on this machine that a command, a fixture or a scenario starts and disturbs.

Every method that changes something holds the devnet's lock and reads its file first, so that
commands in several terminals do not disturb each other. Nodes outlive the program; their present
condition is read from their processes each time and never stored.

A partition and a delay belong to the devnet: a node that restarts gets them again. While a node
starts, the others keep their side of the partition, so it cannot connect across.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from genesis.devnet import devnet_spec, validator_uri
from ml.durable_file import write_durably
from node.client.client import Client
from node.devnet import heights, snapshot
from node.devnet.enrolment import enrol
from node.devnet.errors import (
    DevnetExistsError,
    NodeStateError,
    NodeStopError,
    UnknownDevnetError,
)
from node.devnet.folders import locked
from node.devnet.groups import Groups, check_groups
from node.devnet.heights import FINAL_SECONDS, Advance
from node.devnet.member import STOP_SECONDS, Condition, Member, NodeEndpoint, check_ports
from node.devnet.report import NodeReport, report
from node.devnet.state import (
    NODES_FOLDER,
    NODES_MAX,
    SPEC_FILE,
    STATE_FILE,
    DevnetState,
    NodeRecord,
    Settings,
    Wanted,
    read_state,
    write_state,
)

Say = Callable[[str], None]
"""Receives a line of progress."""

DEFAULT_SETTINGS: Final = Settings()
UP_HEIGHT: Final = 3
LIVE: Final = (Condition.RUNNING, Condition.PAUSED)
ENDED: Final = (Condition.STOPPED, Condition.KILLED, Condition.DEAD)


def _quiet(line: str) -> None:
    """Drop a line of progress."""


class Cluster:
    """A devnet by its folder. Raises UnknownDevnetError where there is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._state = read_state(folder)

    # ------------------------------------------------------------------------------ up and down

    @classmethod
    def up(
        cls,
        folder: Path,
        name: str,
        nodes: int,
        settings: Settings = DEFAULT_SETTINGS,
        say: Say = _quiet,
    ) -> Cluster:
        """Start a devnet, a new one or one that is down; returns when all nodes are final.

        Raises DevnetExistsError when it is up or was made otherwise, NodeStartError,
        NotFinalInTimeError; then nothing runs, and the folder is kept for its logs.
        """
        cls.check_new(folder, nodes, settings)
        with locked(folder):
            try:
                cluster = cls(folder)
                cluster._check_same(nodes, settings)
            except UnknownDevnetError:
                cluster = cls._create(folder, name, nodes, settings)
            cluster._start_all(say)
        return cluster

    @staticmethod
    def check_new(folder: Path, nodes: int, settings: Settings) -> None:
        """Refuse what would keep a devnet that is not there yet from starting.

        Nothing is made. Raises NodeStateError, PortTakenError.
        """
        if (folder / STATE_FILE).exists():
            return
        if not 1 <= nodes <= NODES_MAX:
            raise NodeStateError(f"A devnet has 1 to {NODES_MAX} nodes, not {nodes}.")
        check_ports(settings, nodes)

    @classmethod
    def _create(cls, folder: Path, name: str, nodes: int, settings: Settings) -> Cluster:
        shutil.rmtree(folder / NODES_FOLDER, ignore_errors=True)
        spec = devnet_spec(nodes, epoch_blocks=settings.epoch_blocks)
        write_durably(folder / SPEC_FILE, spec.to_json().encode())
        records = tuple(NodeRecord(number, validator_uri(number), True) for number in range(nodes))
        write_state(folder, DevnetState(name, settings, records, validators=nodes))
        return cls(folder)

    def _check_same(self, nodes: int, settings: Settings) -> None:
        name = self._state.name
        if self._alive():
            ended = ", ".join(str(node.number) for node in self.members if node.condition in ENDED)
            again = f"Start {ended} again with `openledger devnet start --all`. " if ended else ""
            raise DevnetExistsError(
                f"The devnet {name} is up. {again}Look at it with `openledger "
                f"devnet status`, or end it with `openledger devnet down`."
            )
        theirs, given = self._state.differing_flags(nodes, settings)
        if theirs:
            raise DevnetExistsError(
                f"The devnet {name} in {self.folder} was made with {theirs}, and not with {given}. "
                "Leave these out to start it again as it is, take another --name, or remove it "
                "with `openledger devnet down --purge`."
            )

    def _start_all(self, say: Say) -> None:
        try:
            for record in self._state.nodes:
                self._remember(replace(record, wanted=Wanted.RUNNING))
            self._start(self.members, say)
            say(f"waiting until block {UP_HEIGHT} is final on all nodes")
            self.wait_final(UP_HEIGHT)
        except BaseException:  # Ctrl-C too: nothing may outlive a start that failed
            self._kill_all()
            raise

    def down(self, *, purge: bool) -> None:
        """Stop all nodes; with `purge`, remove the folder and everything in it."""
        with self._changing():
            self._stop_all()
            if purge:
                shutil.rmtree(self.folder)

    def save(self, target: Path) -> int:
        """Stop all nodes, copy the devnet, start them again; return the copy's bytes.

        Raises SaveError when there is such a save.
        """
        snapshot.check_new(target)
        with self._changing():
            running = self._alive()
            self._stop_all()
            size = snapshot.save(self.folder, target)
            self._start(running)
            return size

    @classmethod
    def load(cls, source: Path, folder: Path, name: str, say: Say = _quiet) -> Cluster:
        """Put a save in a devnet's place, whether there is one or not, and start its nodes.

        Raises SaveError when there is no such save.
        """
        snapshot.check_there(source)
        with locked(folder):
            try:
                cls(folder)._stop_all()
            except UnknownDevnetError:
                say(f"making the devnet {name}")
            snapshot.load(source, folder, name)
            cluster = cls(folder)
            cluster._start_all(say)
            return cluster

    # ------------------------------------------------------------------------------------- nodes

    @property
    def name(self) -> str:
        """The devnet's name."""
        return self._state.name

    @property
    def state(self) -> DevnetState:
        """The devnet's file as it was read last."""
        return self._state

    @property
    def members(self) -> tuple[Member, ...]:
        """All nodes, running or not."""
        return tuple(Member(self.folder, record) for record in self._state.nodes)

    @property
    def nodes(self) -> tuple[int, ...]:
        """The numbers of all nodes."""
        return tuple(record.number for record in self._state.nodes)

    def reload(self) -> None:
        """Read the devnet's file again: other programs may have changed it."""
        self._state = read_state(self.folder)

    def member(self, node: int) -> Member:
        """Return a node. Raises UnknownNodeError."""
        return Member(self.folder, self._state.node(node))

    def running(self) -> tuple[int, ...]:
        """Return the nodes that run, and are not paused."""
        return tuple(
            member.number for member in self.members if member.condition is Condition.RUNNING
        )

    def url(self, node: int) -> str:
        """Return where a node's clients connect. Raises NodeStateError unless it runs."""
        return self.member(node).ready_endpoint().rpc

    def client(self, node: int) -> Client:
        """Return a client of a node; close it."""
        return Client(self.url(node))

    def report(self) -> tuple[NodeReport, ...]:
        """Return a report of each node, read now."""
        self.reload()
        return report(self.members)

    def start(self, node: int) -> None:
        """Start a node that is stopped, killed or dead; returns when it is ready."""
        with self._changing_node(node, *ENDED, verb="be started") as member:
            self._start([member])

    def start_all(self, say: Say = _quiet) -> tuple[int, ...]:
        """Start all nodes that are stopped, killed or dead, together; return their numbers."""
        with self._changing():
            members = [member for member in self.members if member.condition in ENDED]
            if members:
                self._start(members, say)
            return tuple(member.number for member in members)

    def stop(self, node: int) -> None:
        """Ask a node to end, and wait. Raises NodeStopError when it had to be killed."""
        with self._changing_node(node, *LIVE, verb="be stopped") as member:
            self._remember(replace(member.record, wanted=Wanted.STOPPED))
            member.stop()

    def kill(self, node: int) -> None:
        """End a node as a power cut would."""
        with self._changing_node(node, *LIVE, verb="be killed") as member:
            self._remember(replace(member.record, wanted=Wanted.KILLED))
            member.kill()

    def pause(self, node: int) -> None:
        """Freeze a node; its connections stay open."""
        with self._changing_node(node, Condition.RUNNING, verb="be paused") as member:
            member.pause()

    def resume(self, node: int) -> None:
        """Unfreeze a node, into the network as it is now."""
        with self._changing_node(node, Condition.PAUSED, verb="go on") as member:
            member.resume()
            # A partition or delay set while the node was paused never reached it.
            self._apply_network(member, is_new=False)

    def add(self, *, validator: bool = False, sync: str = "full") -> int:
        """Start one more node that catches up with the chain; return its number.

        A validator's account is given a stake and stands for election; it votes once elected.
        Raises NodeStartError, EnrolmentError.
        """
        with self._changing():
            self._require_whole_network("add a node")
            number = max(self.nodes, default=-1) + 1
            if number >= NODES_MAX:
                raise NodeStateError(f"A devnet has at most {NODES_MAX} nodes.")
            record = NodeRecord(number, validator_uri(number), validator, sync=sync)
            self._remember(record)
            self._start([self.member(number)])
            if validator:
                with self.client(number) as client:
                    self.wait_final(max(map(self.finalized, self.running())), [number])
                    enrol(client, record.account)
            return number

    def remove(self, node: int) -> None:
        """Stop a node and delete its folder. The chain still counts a validator's stake."""
        with self._changing():
            self._require_whole_network("remove a node")
            member = self.member(node)
            if member.process.is_alive:
                member.stop()
            self._state = replace(
                self._state,
                nodes=tuple(record for record in self._state.nodes if record.number != node),
            )
            write_state(self.folder, self._state)
            shutil.rmtree(member.base_path, ignore_errors=True)

    # ----------------------------------------------------------------------------------- network

    def partition(self, *groups: Sequence[int]) -> Groups:
        """Connect nodes only within their own group. Raises GroupsTextError."""
        with self._changing():
            checked = check_groups(tuple(tuple(group) for group in groups), self.nodes)
            self._set_network(replace(self._state, partition=checked))
            return checked

    def heal(self) -> None:
        """Connect all nodes with all others, without delay."""
        with self._changing():
            self._set_network(replace(self._state, partition=(), latency_ms=0))

    def latency(self, latency_ms: int) -> None:
        """Delay every message between nodes."""
        with self._changing():
            self._set_network(replace(self._state, latency_ms=latency_ms))

    def _set_network(self, state: DevnetState) -> None:
        # Write first: a node that does not run now gets the network when it starts, from the file.
        write_state(self.folder, state)
        self._state = state
        for member in self._alive():
            if member.condition is Condition.RUNNING:
                self._apply_network(member, is_new=False)

    def _apply_network(self, member: Member, *, is_new: bool) -> None:
        """Set the partition and the delay at a node's control socket.

        A node that is new has neither, so nothing has to be undone there.
        """
        control, cut_off = member.control, self._state.cut_off(member.number)
        if cut_off:
            control.block(cut_off)
        elif not is_new:
            control.unblock()
        if self._state.latency_ms or not is_new:
            control.set_latency_ms(self._state.latency_ms)

    # ---------------------------------------------------------------------------------- the chain

    def finalized(self, node: int) -> int:
        """Return a node's last final height. Raises ClientError when it does not answer."""
        return heights.finalized_height(self.member(node))

    def wait_final(
        self,
        height: int,
        nodes: Iterable[int] | None = None,
        seconds: float = FINAL_SECONDS,
    ) -> None:
        """Wait until a height is final on nodes, by default on all that run.

        Raises NotFinalInTimeError with the height of each of them.
        """
        awaited = self.running() if nodes is None else nodes
        heights.wait_final([self.member(node) for node in awaited], height, seconds)

    def advance(self, blocks: int) -> Advance:
        """Have so many blocks made at once, and wait until they are final on all that run."""
        return heights.advance([self.member(node) for node in self.running()], blocks)

    # ----------------------------------------------------------------------------------- internal

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with locked(self.folder):
            self.reload()
            yield

    @contextmanager
    def _changing_node(self, node: int, *conditions: Condition, verb: str) -> Iterator[Member]:
        """Hold the lock for a change of one node. Raises NodeStateError in other conditions."""
        with self._changing():
            member = self.member(node)
            if member.condition not in conditions:
                raise NodeStateError(
                    f"Node {member.number} is {member.condition}, so it cannot {verb}. "
                    "Look at it with `openledger devnet status`."
                )
            yield member

    def _remember(self, record: NodeRecord) -> None:
        self._state = self._state.with_node(record)
        write_state(self.folder, self._state)

    def _alive(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.process.is_alive)

    def _start(self, members: Sequence[Member], say: Say = _quiet) -> None:
        """Start nodes together, but the first one before the others in a new devnet.

        The others need its peer id as a bootnode, and a node has none before its first start.
        """
        can_dial = any(record.peer_id for record in self._state.nodes) or self._alive()
        batches = [members] if can_dial else [members[:1], members[1:]]
        for batch in batches:
            for member in batch:
                member.start(self._state.settings, self._addresses(besides=member.number))
            for member in batch:
                endpoint = member.wait_ready()
                self._ready(member, endpoint)
                say(f"node {member.number} is ready at {endpoint.rpc}")

    def _ready(self, member: Member, endpoint: NodeEndpoint) -> None:
        self._remember(
            replace(
                self._state.node(member.number),
                wanted=Wanted.RUNNING,
                rpc_port=endpoint.rpc_port,
                p2p_port=endpoint.p2p_port,
                peer_id=endpoint.peer_id,
            )
        )
        self._apply_network(self.member(member.number), is_new=True)

    def _addresses(self, besides: int) -> list[str]:
        """Return the addresses of the other nodes: of those that run, else of their last run."""
        addresses = []
        for member in self.members:
            endpoint, record = member.endpoint, member.record
            if record.number == besides:
                continue
            if endpoint is not None:
                addresses.append(endpoint.p2p[0])
            elif record.peer_id:
                addresses.append(f"/ip4/127.0.0.1/tcp/{record.p2p_port}/p2p/{record.peer_id}")
        return addresses

    def _require_whole_network(self, action: str) -> None:
        if self._state.partition:
            raise NodeStateError(
                f"The network is partitioned, so this is no time to {action}. "
                "Heal it first with `openledger devnet heal`."
            )

    def _stop_all(self) -> None:
        """Ask all nodes to end at the same time. Raises NodeStopError for those killed.

        Stopping one after the other would let the last ones run on without a quorum meanwhile.
        """
        alive = self._alive()
        for member in alive:
            self._remember(replace(member.record, wanted=Wanted.STOPPED))
            member.resume()
            member.process.signal(signal.SIGTERM)
        stubborn = [member for member in alive if not member.process.wait_end(STOP_SECONDS)]
        for member in stubborn:
            member.kill()
        if stubborn:
            raise NodeStopError(
                f"Node {', '.join(str(member.number) for member in stubborn)} did not stop within "
                f"{STOP_SECONDS:.0f} s of SIGTERM and was killed."
            )

    def _kill_all(self) -> None:
        for member in self._alive():
            self._remember(replace(member.record, wanted=Wanted.KILLED))
            member.kill()
