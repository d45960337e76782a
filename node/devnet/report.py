"""A report of a devnet's nodes, asked all at once and with a short timeout."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from node.client.endpoint import parse_endpoint
from node.client.errors import ClientError
from node.client.transport_http import HttpTransport
from node.devnet.member import Condition, Member

PROBE_SECONDS: Final = 3.0
HEIGHTS_MAX: Final = 100
"""How many hashes one request asks for."""


class Probe:
    """Asks one node by HTTP. Raises ClientError where it does not answer."""

    def __init__(self, url: str, timeout_s: float = PROBE_SECONDS) -> None:
        self._transport = HttpTransport(parse_endpoint(url), timeout_s)

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()

    def best(self) -> int:
        """Return the best block's number."""
        return self._number([])

    def finalized(self) -> int:
        """Return the last final block's number."""
        return self._number([self._transport.call("chain_getFinalizedHead", [])])

    def peers(self) -> int:
        """Return how many nodes it is connected to."""
        return int(self._transport.call("system_health", [])["peers"])

    def block_hashes(self, heights: Sequence[int]) -> list[str | None]:
        """Return the hashes of its blocks at heights, None where it has none."""
        hashes: list[str | None] = []
        for start in range(0, len(heights), HEIGHTS_MAX):
            part = list(heights[start : start + HEIGHTS_MAX])
            hashes += self._transport.call("chain_getBlockHash", [part])
        return hashes

    def _number(self, block: list[Any]) -> int:
        return int(self._transport.call("chain_getHeader", block)["number"], 16)


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A node now. `cause` says why it is not alive or does not answer."""

    number: int
    account: str
    is_validator: bool
    condition: Condition
    pid: int | None
    best: int | None
    finalized: int | None
    peers: int | None
    url: str
    p2p: str
    cause: str


def report(members: Sequence[Member]) -> tuple[NodeReport, ...]:
    """Ask all nodes at once; one that does not answer has a cause instead of heights."""
    if not members:
        return ()
    with ThreadPoolExecutor(len(members)) as pool:
        return tuple(pool.map(_report_one, members))


def _report_one(member: Member) -> NodeReport:
    condition, endpoint = member.condition, member.endpoint
    best = finalized = peers = None
    cause = ""
    if condition not in (Condition.RUNNING, Condition.PAUSED):
        cause = member.process.cause_of_end()
    elif endpoint is None:
        cause = "it is not ready yet"
    elif condition is Condition.RUNNING:
        try:
            with Probe(endpoint.rpc) as probe:
                best, finalized, peers = probe.best(), probe.finalized(), probe.peers()
        except ClientError as error:
            cause = str(error)
    record = member.record
    return NodeReport(
        number=member.number,
        account=record.account,
        is_validator=record.is_validator,
        condition=condition,
        pid=member.process.pid,
        best=best,
        finalized=finalized,
        peers=peers,
        url=endpoint.rpc if endpoint else "",
        p2p=endpoint.p2p[0] if endpoint else "",
        cause=cause,
    )
