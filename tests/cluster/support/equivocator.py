"""A node that votes twice: the program of a node with a signer that signs whatever it likes.

python equivocator.py node start ...   exactly like `openledger node start ...`
"""

from __future__ import annotations

from cli import main
from node.finality.codec import write_message
from node.finality.engine_runner import EngineRunner
from node.keys.vote_signer import LocalSigner
from runtime.crypto.hashing import blake2b_256
from runtime.shared.finality import Ballot, Kind, Vote, payload
from runtime.types.primitives import Hash

honest_sign = EngineRunner._sign


async def sign_twice(runner: EngineRunner, ballot: Ballot) -> Vote | None:
    """Sign as told, and for another block as well."""
    vote = await honest_sign(runner, ballot)
    signer = runner._context.signer
    if vote is not None and ballot.kind == Kind.NOTARIZE and isinstance(signer, LocalSigner):
        other = Hash(blake2b_256(ballot.digest))
        twin = Ballot(ballot.epoch, ballot.view, ballot.kind, other)
        signature = signer._pair.sign(payload(signer._genesis, twin))
        runner._context.network.broadcast(*write_message(Vote(twin, vote.voter, signature)))
    return vote


if __name__ == "__main__":
    EngineRunner._sign = sign_twice  # type: ignore[method-assign]
    main()
