"""Transfers through a whole cluster, given to one node, beside a single node in the same run."""

from __future__ import annotations

import itertools
import json
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.clusters import Heads, opened_cluster, percentile, watched
from benchmarks.figures import Effort, Figure, Measured
from genesis.accounts import NAMES
from node.client.client import Client
from node.devnet.cluster import Cluster
from runtime.crypto.keys import KeyKind, Keypair
from runtime.frame.extrinsic import Additional, Extra
from runtime.types.era import IMMORTAL
from runtime.types.primitives import OPEN, AccountId, Id

WORK: Final = (
    "signed ed25519 transfers by JSON-RPC to one node of four validators, each a process; final "
    "when that node says so for the burst, when the last of all nodes does for the time of each"
)
NODES: Final = 4
BATCH: Final = 100
AMOUNT_PLANCK: Final = OPEN // 1_000
LIMIT_SECONDS: Final = 240.0
LATE_SECONDS: Final = 1.0
MILLISECONDS: Final = 1e3
Signed = Sequence[tuple[str, str]]
"""(raw extrinsic, hash) of transfers, both in hex."""


@dataclass(frozen=True, slots=True)
class _Rates:
    """The measurements of one cluster."""

    per_second: float
    delays_ms: tuple[float, ...]


def run(effort: Effort) -> Measured:
    """Measure a burst and then single transfers: one node alone, then four."""
    burst = effort.pick(6_000, 1_500, 30)
    singles, rate = effort.pick((200, 10.0), (40, 5.0), (3, 5.0))
    alone = _measure(1, burst, singles, rate)
    whole = _measure(NODES, burst, singles, rate)
    other = "one node"
    figures = [
        Figure(
            f"transfers final through {NODES} nodes",
            ours=whole.per_second,
            unit="/s",
            other=other,
            theirs=alone.per_second,
            ratio=whole.per_second / alone.per_second,
        )
    ]
    for part in (0.5, 0.99):
        ours, theirs = percentile(whole.delays_ms, part), percentile(alone.delays_ms, part)
        what = f"  submit to final everywhere, p{part * 100:.0f}"
        figures.append(
            Figure(what, ours=ours, unit="ms", other=other, theirs=theirs, ratio=theirs / ours)
        )
    note = (
        f"a burst of {burst:,} of {len(NAMES)} senders, from the first submission until the last "
        f"is final; then {singles} one by one at {rate:g} /s. All nodes share this machine's cores"
    )
    return Measured(tuple(figures), (note,))


def _measure(nodes: int, burst: int, singles: int, rate: float) -> _Rates:
    with opened_cluster(nodes) as cluster, cluster.client(0) as client:
        signer = _Signer(client)
        waiting, later = signer.sign(burst), signer.sign(singles)
        with watched(cluster) as heads:
            final = _Finality(cluster, client, heads)
            began = time.time()
            _submit_all(cluster.url(0), waiting)
            ended = final.wait([transfer for _, transfer in waiting], everywhere=False)
            time.sleep(LATE_SECONDS)
            sent = []
            for (raw, _), due in zip(later, itertools.count(time.time(), 1 / rate), strict=False):
                time.sleep(max(0.0, due - time.time()))
                sent.append(time.time())
                _submit(cluster.url(0), [raw])
            final.wait([transfer for _, transfer in later], everywhere=True)
            delays_ms = tuple(
                (final.at(transfer, everywhere=True) - start) * MILLISECONDS
                for (_, transfer), start in zip(later, sent, strict=True)
            )
    return _Rates(burst / (ended - began), delays_ms)


class _Signer:
    """Signs transfers of the devnet's rich accounts, each to the next."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._pairs = [Keypair.from_uri(f"//{name}", KeyKind.ED25519) for name in NAMES]
        self._nonces = [client.nonce(AccountId(pair.account)) for pair in self._pairs]

    def sign(self, count: int) -> Signed:
        """Sign transfers of all senders in turns."""
        machine, genesis = self._client.machine, self._client.genesis_hash
        version = machine.version
        additional = Additional(version.spec_version, version.transaction_version, genesis, genesis)
        signed = []
        for place in range(count):
            number = place % len(self._pairs)
            dest = AccountId(self._pairs[number - 1].account)
            call = machine.call(
                "Balances", "transfer_keep_alive", dest=Id(dest), value=AMOUNT_PLANCK
            )
            extra = Extra(IMMORTAL, self._nonces[number], 0)
            self._nonces[number] += 1
            raw = machine.extrinsics.sign(call, self._pairs[number], extra, additional)
            signed.append(("0x" + raw.hex(), "0x" + machine.extrinsics.decode(raw).hash.hex()))
        return signed


@dataclass(slots=True)
class _Finality:
    """Finds the blocks of transfers, and when they were final."""

    cluster: Cluster
    client: Client
    heads: Sequence[Heads]
    _heights: dict[str, int] = field(default_factory=dict)
    _read: int = 0

    def wait(self, hashes: Sequence[str], *, everywhere: bool) -> float:
        """Return when the last of some transfers was final."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while True:
            assert time.monotonic() < deadline, f"not final after {LIMIT_SECONDS:.0f} s"
            time.sleep(0.02)
            self._read_blocks()
            if all(transfer in self._heights for transfer in hashes):
                last = max(self._heights[transfer] for transfer in hashes)
                if all(heads.final_at(last) is not None for heads in self.heads):
                    return max(self.at(transfer, everywhere=everywhere) for transfer in hashes)

    def at(self, transfer: str, *, everywhere: bool) -> float:
        """Return when a transfer was final at the first node, or at the last of all."""
        height = self._heights[transfer]
        times = [heads.final_at(height) for heads in (self.heads if everywhere else self.heads[:1])]
        return max(seconds for seconds in times if seconds is not None)

    def _read_blocks(self) -> None:
        """Record the heights of the transfers in the blocks that became final since."""
        heights = self.heads[0].heights
        self._read = self._read or heights[0]
        while self._read < heights[-1]:
            self._read += 1
            for extrinsic in self.client.block(self._read).extrinsics:
                self._heights["0x" + extrinsic.hash.hex()] = self._read


def _submit_all(url: str, signed: Signed) -> None:
    """Submit in batches, one after the other."""
    for start in range(0, len(signed), BATCH):
        _submit(url, [raw for raw, _ in signed[start : start + BATCH]])


def _submit(url: str, raws: Sequence[str]) -> None:
    """Submit transfers in one request; all must be accepted."""
    calls = [
        {"jsonrpc": "2.0", "id": number, "method": "author_submitExtrinsic", "params": [raw]}
        for number, raw in enumerate(raws)
    ]
    request = urllib.request.Request(
        url.replace("ws://", "http://"),
        json.dumps(calls).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=LIMIT_SECONDS) as response:
        refused = [result for result in json.loads(response.read()) if "error" in result]
    assert not refused, f"refused: {refused[0]}"
