"""Gossip of small transactions between four hosts: ours, and libp2p as it comes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from benchmarks.clusters import percentile
from benchmarks.figures import CannotRunError, Effort, Figure, Measured, faster, version_of
from benchmarks.gossip_host import SIZE

WORK: Final = (
    f"{SIZE} B messages between four hosts in processes of their own, each the origin of a "
    "quarter; from publishing until each other host has it (wall clock), CPU time of all four"
)
HOSTS: Final = 4
RATE: Final = 100.0
GOAL_MS: Final = 50.0
ROOT: Final = Path(__file__).parents[2]
MILLISECONDS: Final = 1e3


def run(effort: Effort) -> Measured:
    """Let both kinds take turns; each has fresh hosts, and one round to warm up."""
    seconds, turns = effort.pick((20.0, 3), (5.0, 1), (0.5, 1))
    warm_up, settle = effort.pick((3.0, 3.0), (3.0, 3.0), (0.2, 0.5))
    other = f"{version_of('libp2p')} as it comes"
    ours, theirs = _Deliveries(), _Deliveries()
    for _ in range(turns):
        for kind, deliveries in (("ours", ours), ("stock", theirs)):
            with _hosts(kind) as hosts:
                _run_turn(hosts, warm_up, settle)
                deliveries.add(_run_turn(hosts, seconds, settle), round(seconds * RATE))
    half, their_half = ours.percentile(0.5), theirs.percentile(0.5)
    most, their_most = ours.percentile(0.99), theirs.percentile(0.99)
    figures = (
        Figure(f"at {RATE:.0f} msg/s: p50", ours=half, unit="ms", goal=GOAL_MS, at_most=True),
        faster(
            "  the same beside the library", ours=half, unit="ms", other=other, theirs=their_half
        ),
        faster("  p99", ours=most, unit="ms", other=other, theirs=their_most),
        Figure(
            "  arrived in time", ours=ours.arrived, unit="%", other=other, theirs=theirs.arrived
        ),
        faster(
            "  CPU for a message that arrives, a host",
            ours=ours.cpu_ms,
            unit="ms",
            other=other,
            theirs=theirs.cpu_ms,
        ),
    )
    note = (
        f"{turns} turns of {seconds:g} s; what arrives later than {settle:g} s after the "
        "last was sent is lost. Ours gathers messages for 20 ms. The library has its own defaults "
        "but a heartbeat of 1 s instead of 120 s, without which it has no mesh"
    )
    return Measured(figures, (note,))


class _Deliveries:
    """The deliveries at all hosts, of all turns."""

    def __init__(self) -> None:
        self._ms: list[float] = []
        self._cpu = 0.0
        self._sent = 0

    def add(self, reports: Sequence[dict[str, object]], sent: int) -> None:
        """Add the hosts' reports of one turn."""
        self._sent += sent
        for report in reports:
            ms, cpu = report["ms"], report["cpu"]
            assert isinstance(ms, list), "a list of times"
            assert isinstance(cpu, float), "a time"
            self._ms += ms
            self._cpu += cpu

    def percentile(self, part: float) -> float:
        """Return a percentile of all that arrived."""
        if not self._ms:
            raise CannotRunError("No message arrived at all; are the hosts connected?")
        return percentile(self._ms, part)

    @property
    def arrived(self) -> float:
        """Return the share of all deliveries that arrived in time, in percent."""
        return 100 * len(self._ms) / (self._sent * (HOSTS - 1))

    @property
    def cpu_ms(self) -> float:
        """Return the CPU time of one host for one message that arrived (at all others)."""
        return self._cpu / (len(self._ms) / (HOSTS - 1)) / HOSTS * MILLISECONDS


class _Host:
    """A process of benchmarks.gossip_host."""

    def __init__(self, kind: str, number: int) -> None:
        self.process = subprocess.Popen(
            (sys.executable, "-m", "benchmarks.gossip_host", kind, str(number)),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def write_line(self, text: str) -> None:
        """Write one line."""
        source = _pipe(self.process.stdin)
        source.write(text + "\n")
        source.flush()

    def read_line(self) -> str:
        """Read one line. Raises CannotRunError at the end."""
        line = _pipe(self.process.stdout).readline().strip()
        if not line:
            raise CannotRunError(
                "A host of gossip ended; run it by hand: see benchmarks/gossip_host.py"
            )
        return line

    def end(self) -> None:
        """Kill the process: it has no state that needs an orderly end."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                _pipe(pipe).close()


@contextlib.contextmanager
def _hosts(kind: str) -> Iterator[Sequence[_Host]]:
    """Start hosts, each connected with all others."""
    hosts: list[_Host] = []
    try:
        hosts += [_Host(kind, number) for number in range(HOSTS)]
        addresses = [host.read_line() for host in hosts]
        # Each dials those before it, so that no two dial each other.
        for number, host in enumerate(hosts):
            host.write_line(" ".join(addresses[:number]) + " ")
        for host in hosts:
            assert host.read_line() == "connected", "each host reports it once"
        yield hosts
    finally:
        for host in hosts:
            host.end()


def _run_turn(hosts: Sequence[_Host], seconds: float, settle: float) -> list[dict[str, object]]:
    """Let all hosts publish their part at the same time; return their reports."""
    for host in hosts:
        host.write_line(f"go {max(1, round(seconds * RATE / HOSTS))} {RATE / HOSTS} {settle}")
    return [json.loads(host.read_line()) for host in hosts]


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None, "both pipes were asked for"
    return pipe
