"""A validator whose blocks are wrong: each time that it leads, in another way, and then good again.

python byzantine.py node start ...   exactly like `openledger node start ...`

Its log has a line `byzantine-proposed fault=...` for each. With BYZANTINE_CLOCK_MS it makes good
blocks with a clock that is so many milliseconds ahead instead (behind where that is negative). With
BYZANTINE_NO_BODIES it is honest, and no body of a block reaches it while that file exists.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import trio

from cli import main
from consensus import messages as m
from node.authoring.author import timestamp_inherent, wall_clock_ms
from node.chain.chain import Chain
from node.chain.errors import ChainError
from node.finality.codec import BODY_INLINE_MAX, ProposalMessage
from node.finality.engine_runner import EngineRunner
from node.keys.vote_signer import LocalSigner
from p2p.service.service import Service
from p2p.transport.transport import PeerId, RequestError, TransportError
from p2p.transport.wire import MessageKind, RequestKind
from runtime.codec.scale import codec
from runtime.frame.executive import ExecutedBlock
from runtime.shared.finality import NO_DIGEST, Ballot, Certificate, Kind, Vote, payload
from runtime.trie.trie import ordered_root
from runtime.types.primitives import Digest, Hash, Header

FUTURE_MS: Final = 600_000
TOO_LONG: Final = 5 * 1024 * 1024 + 1

logger = logging.getLogger("byzantine")
_message = codec(ProposalMessage)
Body = tuple[bytes, ...]
Made = tuple[Header, Body]


def with_body(made: ExecutedBlock, body: Body) -> Made:
    """A header that commits to another body."""
    return replace(made.header, extrinsics_root=Hash(ordered_root(body))), body


def wrong_root(made: ExecutedBlock, chain: Chain) -> Made:
    return replace(made.header, state_root=Hash(bytes([7]) * 32)), made.extrinsics


def garbage_extrinsic(made: ExecutedBlock, chain: Chain) -> Made:
    return with_body(made, (*made.extrinsics, b"\x84garbage"))


def no_timestamp(made: ExecutedBlock, chain: Chain) -> Made:
    return with_body(made, ())


def two_timestamps(made: ExecutedBlock, chain: Chain) -> Made:
    return with_body(made, (made.extrinsics[0], *made.extrinsics))


def future(made: ExecutedBlock, chain: Chain) -> Made:
    stamp = timestamp_inherent(chain.machine, wall_clock_ms() + FUTURE_MS)
    return with_body(made, (stamp, *made.extrinsics[1:]))


def past(made: ExecutedBlock, chain: Chain) -> Made:
    stamp = timestamp_inherent(chain.machine, 1)
    return with_body(made, (stamp, *made.extrinsics[1:]))


def too_many(made: ExecutedBlock, chain: Chain) -> Made:
    return with_body(made, (*made.extrinsics, *([b"\x04"] * 20_001)))


def too_long(made: ExecutedBlock, chain: Chain) -> Made:
    return with_body(made, (*made.extrinsics, bytes(TOO_LONG)))


def unsigned_call(made: ExecutedBlock, chain: Chain) -> Made:
    machine = chain.machine
    call = machine.call("System", "remark", remark=b"nobody pays for this")
    return with_body(made, (*made.extrinsics, machine.extrinsics.inherent(call)))


def other_body(made: ExecutedBlock, chain: Chain) -> Made:
    return made.header, (*made.extrinsics, b"\x04")


def wrong_number(made: ExecutedBlock, chain: Chain) -> Made:
    return replace(made.header, number=made.header.number + 1), made.extrinsics


def wrong_parent(made: ExecutedBlock, chain: Chain) -> Made:
    return replace(made.header, parent_hash=Hash(bytes([3]) * 32)), made.extrinsics


def no_claim(made: ExecutedBlock, chain: Chain) -> Made:
    return replace(made.header, digest=Digest(())), made.extrinsics


FAULTS: Final[tuple[Callable[[ExecutedBlock, Chain], Made], ...]] = (
    wrong_root,
    garbage_extrinsic,
    no_timestamp,
    two_timestamps,
    future,
    past,
    too_many,
    too_long,
    unsigned_call,
    wrong_number,
)
"""Blocks that are invalid: nobody is blamed for handing one on."""
PROOFS: Final = ("forged_parent", "forged_skips")
"""Faults of a good block's proposal; from here on each is held against the peer."""
MALFORMED: Final[tuple[Callable[[ExecutedBlock, Chain], Made], ...]] = (wrong_parent, no_claim) + (
    other_body,
) * 8
"""In the end the validator is banned."""

served: dict[Hash, Body] = {}
honest_body = Chain.body


def serve_anything(chain: Chain, block: Hash) -> Body | None:
    """Give the bodies of the wrong blocks to who asks for them."""
    return served.get(block) or honest_body(chain, block)


turns: list[str] = [
    *(fault.__name__ for fault in FAULTS),
    *PROOFS,
    *(fault.__name__ for fault in MALFORMED),
]
honest_propose = EngineRunner._propose


async def propose_wrongly(runner: EngineRunner, wanted: m.Propose) -> None:
    """Make a good block, spoil it, propose it, and tell nothing of it to the own engine."""
    if not turns:
        await honest_propose(runner, wanted)
        return
    context = runner._context
    try:
        parent = await runner._obtain(wanted.parent, None)
        made = await context.proposer.propose(parent, wanted.claim, runner._account())
    except (ChainError, TransportError):
        await runner._inbox.send(m.Built(wanted.view, None))
        return
    name = turns.pop(0)
    found = runner._engine.state.rounds.find(wanted.view)
    assert found is not None
    assert found.plan is not None
    proof, skips = found.plan.parent, found.plan.skips
    header, body = made.header, made.extrinsics
    spoil = {fault.__name__: fault for fault in (*FAULTS, *MALFORMED)}.get(name)
    if spoil is not None:
        header, body = spoil(made, context.chain)
    elif name == "forged_parent" and proof is not None:
        proof = forged(proof.ballot)
    elif name == "forged_skips":
        skips = (*skips, forged(Ballot(wanted.claim.epoch, wanted.view, Kind.NULLIFY, NO_DIGEST)))
    ballot = Ballot(wanted.claim.epoch, wanted.view, Kind.NOTARIZE, header.hash)
    signer, me = context.signer, runner._me
    assert isinstance(signer, LocalSigner)
    assert me is not None
    signature = signer._pair.sign(payload(signer._genesis, ballot))
    proposal = m.Proposal(header, Vote(ballot, me, signature), proof, skips)
    served[header.hash] = body
    inline = body if sum(map(len, body)) <= BODY_INLINE_MAX else None
    logger.warning("byzantine-proposed fault=%s height=%d", name, header.number)
    content = _message.encode(ProposalMessage(proposal, inline))
    context.network.broadcast(MessageKind.PROPOSAL, content)
    await trio.lowlevel.checkpoint()
    await runner._inbox.send(m.Built(wanted.view, None))


def forged(ballot: Ballot) -> Certificate:
    """A certificate that nobody signed."""
    return Certificate(ballot, tuple((voter, bytes(64)) for voter in range(3)))


def shift_clock(shift_ms: int) -> None:
    """Let this process live in another time."""
    real = time.time_ns
    time.time_ns = lambda: real() + shift_ms * 1_000_000


def lose_bodies(path: Path) -> None:
    """Let no body reach this node while a file exists: neither with proposals nor on request."""
    receive, request = EngineRunner.receive, Service.request

    def receive_without(
        runner: EngineRunner, source: PeerId, message: m.Message, body: Body | None
    ) -> None:
        receive(runner, source, message, None if path.exists() else body)

    async def request_without(
        service: Service, peer: PeerId, kind: RequestKind, body: bytes
    ) -> bytes:
        if path.exists() and kind in (RequestKind.BODY, RequestKind.BLOCKS):
            await trio.sleep(0.05)
            raise RequestError("It was lost on its way.")
        return await request(service, peer, kind, body)

    EngineRunner.receive = receive_without  # type: ignore[method-assign]
    Service.request = request_without  # type: ignore[method-assign]


if __name__ == "__main__":
    if "BYZANTINE_NO_BODIES" in os.environ:
        lose_bodies(Path(os.environ["BYZANTINE_NO_BODIES"]))
    elif "BYZANTINE_CLOCK_MS" in os.environ:
        shift_clock(int(os.environ["BYZANTINE_CLOCK_MS"]))
    else:
        EngineRunner._propose = propose_wrongly  # type: ignore[assignment, method-assign]
        Chain.body = serve_anything  # type: ignore[assignment, method-assign]
    main()
