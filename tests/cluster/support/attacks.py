"""Attacks of a hostile peer that get it banned, each with the cause that the node's log names."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from p2p.protocols.transactions import topic_of
from p2p.transport.transport import Channel
from p2p.transport.wire import MessageKind
from runtime.codec.scale import codec
from runtime.shared.finality import NO_DIGEST, Ballot, Certificate, Kind, Vote
from runtime.types.primitives import Hash
from tests.cluster.support.hostile import Hostile, raw_frame

ANY: Final = Hash(bytes([5]) * 32)
_vote, _certificate = codec(Vote), codec(Certificate)

Attack = Callable[[Hostile], Awaitable[object]]


async def garbage_frames(made: Hostile) -> None:
    await made.frames(Channel.CONSENSUS, *[os.urandom(50) for _ in range(5)])


async def oversize_frames(made: Hostile) -> None:
    vote = raw_frame(MessageKind.VOTE, bytes(5_000))
    await made.frames(Channel.CONSENSUS, *[vote] * 5)


async def unknown_kinds(made: Hostile) -> None:
    await made.frames(Channel.CONTROL, *[raw_frame(99, bytes(number)) for number in range(5)])


async def wrong_channel(made: Hostile) -> None:
    await made.frames(Channel.CONTROL, *[raw_frame(MessageKind.VOTE, b"x") for _ in range(5)])


def garbage_of(kind: MessageKind) -> Attack:
    async def attack(made: Hostile) -> None:
        await made.say(kind, *[bytes([255 - number]) * 40 for number in range(6)])

    return attack


async def votes_of_non_members(made: Hostile) -> None:
    ballot = await current_ballot(made)
    votes = [Vote(ballot, voter, os.urandom(64)) for voter in range(200, 206)]
    await made.say(MessageKind.VOTE, *map(_vote.encode, votes))


async def forged_votes(made: Hostile) -> None:
    """Votes of members that they did not sign, as many as a quorum."""
    while made.is_connected:
        ballot = await current_ballot(made)
        for ahead in range(2, 6):
            forged = Ballot(ballot.epoch, ballot.view + ahead, Kind.NOTARIZE, ANY)
            votes = [Vote(forged, voter, os.urandom(64)) for voter in range(4)]
            await made.say(MessageKind.VOTE, *map(_vote.encode, votes))
        await trio.sleep(0.02)


async def forged_certificates(made: Hostile) -> None:
    while made.is_connected:
        ballot = await current_ballot(made)
        forged = [
            Certificate(
                Ballot(ballot.epoch, ballot.view + ahead, kind, digest),
                tuple((voter, os.urandom(64)) for voter in range(4)),
            )
            for ahead in (1, 2)
            for kind, digest in ((Kind.FINALIZE, ANY), (Kind.NULLIFY, NO_DIGEST))
        ]
        await made.say(MessageKind.CERTIFICATE, *map(_certificate.encode, forged))
        await trio.sleep(0.02)


async def changed_proposals(made: Hostile) -> None:
    """Proposals of the leader whose last bytes are others."""
    while made.is_connected:
        for body in made.bodies(MessageKind.PROPOSAL)[-4:]:
            await made.say(MessageKind.PROPOSAL, body + b"\0", body[:-1])
        await trio.sleep(0.02)


async def a_flood(made: Hostile) -> None:
    ballot = await current_ballot(made)
    number = 0
    while made.is_connected:
        votes = [
            _vote.encode(Vote(ballot, 1, (number + more).to_bytes(64, "big")))
            for more in range(2_000)
        ]
        number += 2_000
        await made.say(MessageKind.VOTE, *votes)


async def forged_addresses(made: Hostile) -> None:
    await made.say(MessageKind.ADDRESSES, *[os.urandom(60 + number) for number in range(6)])


async def garbage_gossip(made: Hostile) -> None:
    while made.is_connected:
        await made.transport.publish(topic_of(made.genesis), os.urandom(80))
        await trio.sleep(0.05)


BANNED: Final[dict[str, tuple[Attack, str]]] = {
    "garbage frames": (garbage_frames, "not an envelope|longer form|array of three|version"),
    "oversize frames": (oversize_frames, "VOTE has 5000 bytes, more than 256"),
    "unknown kinds": (unknown_kinds, "no message of kind 99"),
    "a wrong channel": (wrong_channel, "VOTE came on control"),
    "garbage votes": (garbage_of(MessageKind.VOTE), "bad-message"),
    "garbage certificates": (garbage_of(MessageKind.CERTIFICATE), "bad-message"),
    "garbage proposals": (garbage_of(MessageKind.PROPOSAL), "bad-message"),
    "garbage asks": (garbage_of(MessageKind.CERTIFICATE_REQUEST), "bad-message"),
    "garbage statuses": (garbage_of(MessageKind.STATUS), "the status cannot be read"),
    "forged addresses": (forged_addresses, "bad-frame"),
    "votes of no member": (votes_of_non_members, "a vote is malformed"),
    "forged votes": (forged_votes, "a vote is forged"),
    "forged certificates": (forged_certificates, "a certificate proves nothing"),
    "changed proposals": (changed_proposals, "bad-message"),
    "a flood": (a_flood, "too many frames on consensus"),
    "garbage gossip": (garbage_gossip, "bad-frame"),
}


async def current_ballot(made: Hostile) -> Ballot:
    """The newest ballot that the node talks about."""
    await made.until(lambda: made.has_heard(MessageKind.VOTE))
    votes = [_vote.decode(body) for body in made.bodies(MessageKind.VOTE)]
    return max(votes, key=lambda vote: (vote.ballot.epoch, vote.ballot.view)).ballot
