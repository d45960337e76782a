"""Starts victims, and speaks to them as software that is not ours: byte by byte."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils import encode_varint_prefixed
from multiaddr import Multiaddr

from p2p.transport import compat
from p2p.transport.libp2p_host import Libp2pTransport
from p2p.transport.libp2p_setup import hang_up, make_host
from p2p.transport.transport import PeerId, TransportError, TransportSettings
from tests.conftest import REPOSITORY
from tests.p2p.support.recorder import TOPIC, running

MESHSUB = "/meshsub/1.1.0"
SERVED_WITHIN_SECONDS = 6.0
ENDS_WITHIN_SECONDS = 10.0


@dataclass
class VictimProcess:
    process: subprocess.Popen[str]
    address: str

    @property
    def peer(self) -> PeerId:
        return PeerId(self.address.rpartition("/")[2])

    async def is_serving(self) -> bool:
        """Return whether an honest node that comes now, and tries again, is answered."""
        with trio.move_on_after(SERVED_WITHIN_SECONDS):
            while True:
                answer = b""
                try:
                    answer = await self.ask(b"abc")
                except* TransportError:
                    await trio.lowlevel.checkpoint()
                if answer == b"cba":
                    return True
        return False

    async def ask(self, request: bytes) -> bytes:
        async with running(Libp2pTransport(b"h" * 32, ["/ip4/127.0.0.1/tcp/0"])) as honest:
            await honest.transport.dial(self.address)
            return await honest.transport.request(self.peer, request)

    async def state(self) -> dict[str, int]:
        state: dict[str, int] = json.loads(await self.ask(b"state"))
        return state

    async def ended(self) -> bool:
        """Return whether the process ends soon."""
        with trio.move_on_after(ENDS_WITHIN_SECONDS):
            await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)
        return self.process.poll() is not None


@contextmanager
def victim(*skip: str, port: str = "0") -> Iterator[VictimProcess]:
    """Run a victim without the named patches."""
    command = [sys.executable, "-m", "tests.p2p.attacks.support.victim", port, *skip]
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield VictimProcess(process, process.stdout.readline().strip())
        process.kill()


@dataclass
class Attacker:
    """A connected host that does as it likes."""

    host: BasicHost
    connection: SwarmConn
    target: ID

    async def stream(self, protocol: str) -> INetStream:
        return await self.host.new_stream(self.target, [TProtocol(protocol)])

    async def gossip(self, rpc: rpc_pb2.RPC) -> None:
        stream = await self.stream(MESHSUB)
        await stream.write(encode_varint_prefixed(rpc.SerializeToString()))

    def signed(self, data: bytes, topic: str = TOPIC) -> rpc_pb2.Message:
        """Write a message that nothing is wrong with."""
        message = rpc_pb2.Message(
            data=data, topicIDs=[topic], from_id=self.host.get_id().to_bytes(), seqno=bytes(8)
        )
        content = b"libp2p-pubsub:" + message.SerializeToString()
        message.signature = self.host.get_private_key().sign(content)
        message.key = self.host.get_public_key().serialize()
        return message


@asynccontextmanager
async def attacking(address: str) -> AsyncIterator[Attacker]:
    """Connect to a victim."""
    compat.apply()
    host, swarm = make_host(b"a" * 32, TransportSettings())
    target = ID.from_base58(address.rpartition("/")[2])
    async with host.run([]):
        connection = await swarm.dial_addr(Multiaddr(address), target)
        assert isinstance(connection, SwarmConn)
        try:
            yield Attacker(host, connection, target)
        finally:
            await hang_up(connection)
