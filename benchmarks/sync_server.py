"""`python -m benchmarks.sync_server ACCOUNTS BLOCKS TRANSFERS`: a node to synchronize from.

It builds a chain of blocks that four validators certified, prints its address once it serves them,
and ends with its input. The chain is the one of benchmarks/ledger.py, so that every process that
opens the ledger has the same genesis.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio

from benchmarks.ledger import opened_ledger
from node.chain.chain import Chain
from node.storage.blob_store import BlobStore
from node.sync.peer_requests import Provider
from p2p.protocols.transactions import topic_of
from p2p.service.service import NetworkSettings, Service
from p2p.transport.libp2p_host import Libp2pTransport
from p2p.transport.transport import TransportSettings
from runtime.codec.scale import codec
from runtime.crypto.hashing import blake2b_256
from runtime.crypto.keys import Keypair
from runtime.shared.finality import Authority, AuthoritySet, Ballot, Certificate, Kind, payload
from runtime.types.primitives import AccountId, Hash, Header

VALIDATORS: Final = tuple(Keypair.from_seed(blake2b_256(b"validator %d" % n)) for n in range(4))
QUORUM: Final = 3
AUTHORITIES: Final = AuthoritySet(
    0,
    Hash(bytes(32)),
    tuple(Authority(AccountId(pair.account), pair.account, 1) for pair in VALIDATORS),
)
"""Of all blocks: no epoch ends here."""
_certificate: Final = codec(Certificate)


def certify(genesis: Hash, header: Header) -> bytes:
    """Return the justification of a block."""
    ballot = Ballot(0, header.number, int(Kind.FINALIZE), header.hash)
    message = payload(genesis, ballot)
    votes = tuple((n, VALIDATORS[n].sign(message)) for n in range(QUORUM))
    return _certificate.encode(Certificate(ballot, votes))


@asynccontextmanager
async def serving(
    chain: Chain, seed: bytes, folder: Path, *bootnodes: str
) -> AsyncIterator[Service]:
    """Run a node's network over libp2p: it serves its chain and dials its boot nodes."""
    limits = TransportSettings(topics=frozenset({topic_of(chain.genesis_hash)}))
    settings = NetworkSettings(bootnodes=bootnodes, identity=Keypair.from_seed(seed))
    service = Service(
        lambda: Libp2pTransport(seed, ["/ip4/127.0.0.1/tcp/0"], limits),
        Provider(chain, BlobStore(folder)),
        settings,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(service.run))
        yield service
        nursery.cancel_scope.cancel()


async def main(accounts: int, blocks: int, transfers: int) -> None:
    """Build the chain, then serve until the input ends."""
    with opened_ledger(accounts) as ledger, tempfile.TemporaryDirectory() as folder:
        chain = ledger.chain
        for _ in range(blocks):
            raws = ledger.transfers(transfers)
            ledger.submit(raws)
            executed = await ledger.seal(len(raws))
            await chain.finalize(executed.hash, certify(chain.genesis_hash, executed.header))
        async with serving(chain, blake2b_256(b"server"), Path(folder)) as service:
            print(service.addresses[0], flush=True)
            await trio.to_thread.run_sync(sys.stdin.readline)


if __name__ == "__main__":
    trio.run(main, *map(int, sys.argv[1:]))
