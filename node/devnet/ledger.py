"""A cluster with transactions and with checks of what its nodes hold to be final.

Every submission pays a new account that nothing else pays. So whether it is final at a node is one
query of that account's balance, also after the node was killed and lost its pool.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from typing import Final

from genesis.accounts import NAMES
from genesis.devnet import ISSUANCE
from node.client import Client, Wait
from node.devnet.cluster import Cluster
from node.devnet.errors import ForkError
from node.devnet.groups import Groups
from node.devnet.heights import FINAL_SECONDS
from node.devnet.report import Probe
from node.devnet.scenario import Receipt
from runtime.crypto.keys import KeyKind, Keypair
from runtime.frame.dispatch import Call
from runtime.types.primitives import OPEN, AccountId, Hash, Id

AMOUNT: Final = OPEN


class Ledger:
    """A `Network` of processes (node/devnet/scenario.py)."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._submitted = 0

    @property
    def nodes(self) -> tuple[int, ...]:
        """The numbers of all nodes."""
        return self.cluster.nodes

    def start(self, node: int) -> None:
        """Start a node again."""
        self.cluster.start(node)

    def stop(self, node: int) -> None:
        """End a node with SIGTERM."""
        self.cluster.stop(node)

    def kill(self, node: int) -> None:
        """End a node with SIGKILL."""
        self.cluster.kill(node)

    def pause(self, node: int) -> None:
        """Freeze a node with SIGSTOP."""
        self.cluster.pause(node)

    def resume(self, node: int) -> None:
        """Unfreeze a node."""
        self.cluster.resume(node)

    def partition(self, *groups: Iterable[int]) -> Groups:
        """Cut nodes apart."""
        return self.cluster.partition(*(tuple(group) for group in groups))

    def heal(self) -> None:
        """Undo partition and delay."""
        self.cluster.heal()

    def latency(self, latency_ms: int) -> None:
        """Delay every message."""
        self.cluster.latency(latency_ms)

    def finalized(self, node: int) -> int:
        """Return a node's last final height."""
        return self.cluster.finalized(node)

    def wait_final(
        self, height: int, nodes: Iterable[int] | None = None, seconds: float = FINAL_SECONDS
    ) -> None:
        """Wait until a height is final on nodes. Raises NotFinalInTimeError."""
        self.cluster.wait_final(height, nodes, seconds)

    def wait(self, seconds: float) -> None:
        """Let real time pass."""
        time.sleep(seconds)

    def submit(self, node: int) -> Receipt:
        """Send 1 OPEN to an account of its own, by a sender that uses only this node."""
        self._submitted += 1
        receipt = new_account(self._submitted)
        with self.cluster.client(node) as client:
            call = transfer(client, receipt)
            client.submit(client.sign(call, sender_of(node)), Wait.NONE)
        return receipt

    def is_final(self, receipt: Receipt, node: int) -> bool:
        """Return whether a node's last final state has the payment."""
        with self.cluster.client(node) as client:
            account = AccountId(receipt)
            return client.balance(account, at=client.finalized_hash()).free == AMOUNT

    def assert_one_chain(self) -> None:
        """Compare the final blocks of all running nodes at every height. Raises ForkError."""
        hashes: dict[int, tuple[int, str]] = {}
        for node in self.cluster.running():
            with Probe(self.cluster.url(node), timeout_s=FINAL_SECONDS) as probe:
                heights = range(probe.finalized() + 1)
                for height, block in zip(heights, probe.block_hashes(heights), strict=True):
                    if block is None:
                        continue  # a node that synchronized fast has no blocks before its snapshot
                    other, expected = hashes.setdefault(height, (node, block))
                    if block != expected:
                        raise ForkError(
                            f"Final block {height} is {block} on node {node} and {expected} on "
                            f"node {other}: the chain has forked."
                        )


def new_account(number: int) -> Receipt:
    """Return an account that is paid once and for which no key exists."""
    return Receipt(hashlib.blake2b(b"ledger %d" % number, digest_size=32).digest())


def sender_of(node: int) -> Keypair:
    """Return the account that sends through a node: one for each, so that nonces never clash."""
    return Keypair.from_uri(f"//{NAMES[node % len(NAMES)]}", KeyKind.SR25519)


def transfer(client: Client, receipt: Receipt) -> Call:
    """Return the payment that a receipt stands for."""
    return client.make_call(
        "Balances", "transfer_keep_alive", dest=Id(AccountId(receipt)), value=AMOUNT
    )


def height_of_era(client: Client, eras: int) -> int:
    """Return the first height of the era that comes `eras` after the active one."""
    final = client.finalized_hash()
    era = client.api("StakingApi_era", at=final)
    blocks = client.query("Session", "epoch_blocks", at=final)
    return int((era.active + eras) * era.sessions_per_era * blocks + 1)


def issuance_gap(client: Client, block: Hash) -> int:
    """Return by how many planck accounts and issuance, or issuance and supply, differ."""
    issuance = client.query("Balances", "total_issuance", at=block)
    burned = client.query("Balances", "burned", at=block)
    accounts = client.entries("System", "account", at=block)
    balances = sum(info.data.free + info.data.reserved for _, info in accounts)
    return int(abs(balances - issuance) + abs(issuance + burned - ISSUANCE))
