"""What answers of synchronization prove, and that any bytes are a message or refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.protocols.sync_messages import (
    Block,
    Blocks,
    BlocksRequest,
    EpochEnd,
    StateAnswer,
    StateRange,
    WrongAnswerError,
    check_blocks,
    check_final,
)
from runtime.codec.scale import DecodeError, codec
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared.finality import Authority, AuthoritySet, Ballot, Certificate, Kind, payload
from runtime.trie.trie import ordered_root
from runtime.types.primitives import ZERO_HASH, AccountId, Digest, Hash, Header

KEYS = tuple(Keypair.from_uri(f"//{n}", KeyKind.ED25519) for n in range(4))
SET = AuthoritySet(0, ZERO_HASH, tuple(Authority(AccountId(k.account), k.account, 1) for k in KEYS))
GENESIS = Hash(b"\x07" * 32)


def chain(count: int) -> list[Block]:
    blocks: list[Block] = []
    parent = GENESIS
    for number in range(1, count + 1):
        body = (bytes([number]),)
        header = Header(parent, number, ZERO_HASH, Hash(ordered_root(body)), Digest(()))
        blocks.append(Block(header, body))
        parent = header.hash
    return blocks


def certificate(header: Header, voters: int = 3, kind: Kind = Kind.FINALIZE) -> Certificate:
    ballot = Ballot(0, header.number, kind, header.hash)
    signed = payload(GENESIS, ballot)
    return Certificate(ballot, tuple((n, KEYS[n].sign(signed)) for n in range(voters)))


def justified(block: Block) -> Block:
    return replace(block, justification=codec(Certificate).encode(certificate(block.header)))


def test_an_answer_is_cut_where_its_certificates_are() -> None:
    blocks = chain(6)
    blocks[1], blocks[5] = justified(blocks[1]), justified(blocks[5])
    first, second = check_blocks(1, 6, Blocks(tuple(blocks)))
    assert [block.header.number for block in first.blocks] == [1, 2]
    assert [block.header.number for block in second.blocks] == [3, 4, 5, 6]
    assert second.certified == blocks[5].header


def test_blocks_without_a_certificate_are_proven_by_the_headers_behind_them() -> None:
    blocks = chain(6)
    proof = codec(Certificate).encode(certificate(blocks[5].header))
    trail = tuple(block.header for block in blocks[4:])
    (segment,) = check_blocks(1, 4, Blocks(tuple(blocks[:4]), trail, proof))
    assert segment.certified == blocks[5].header
    for wrong in (
        Blocks(tuple(blocks[:4])),
        Blocks(tuple(blocks[:4]), trail),
        Blocks(tuple(blocks[:4]), (), proof),
        Blocks(tuple(blocks[:4]), trail[1:], proof),
        Blocks(tuple(blocks[:3]), trail, proof),
        Blocks((*blocks[:3], justified(blocks[3])), trail, proof),
    ):
        with pytest.raises(WrongAnswerError):
            check_blocks(1, 4, wrong)


def test_blocks_that_were_not_asked_for_are_refused() -> None:
    blocks = chain(4)
    blocks[3] = justified(blocks[3])
    answer = Blocks(tuple(blocks))
    with pytest.raises(WrongAnswerError, match="instead of 1 to 3"):
        check_blocks(1, 3, answer)
    with pytest.raises(WrongAnswerError, match="the first block"):
        check_blocks(2, 4, answer)
    with pytest.raises(WrongAnswerError):
        check_blocks(1, 4, Blocks(()))


def test_a_certificate_proves_one_header_by_a_quorum_of_its_set() -> None:
    header, other = (block.header for block in chain(2))
    check_final(GENESIS, SET, header, certificate(header))
    for wrong in (
        certificate(other),
        certificate(header, voters=2),
        certificate(header, kind=Kind.NOTARIZE),
    ):
        with pytest.raises(WrongAnswerError):
            check_final(GENESIS, SET, header, wrong)
    with pytest.raises(WrongAnswerError):
        check_final(ZERO_HASH, SET, header, certificate(header))


@pytest.mark.parametrize("message", [Blocks, BlocksRequest, EpochEnd, StateAnswer])
@given(raw=st.binary(max_size=80))
def test_any_bytes_are_a_message_or_a_decode_error(message: type, raw: bytes) -> None:
    try:
        value: Any = codec(message).decode(raw)
    except DecodeError:
        return
    assert codec(message).encode(value) == raw


def test_messages_survive_the_way() -> None:
    blocks = Blocks(tuple(justified(block) for block in chain(2)))
    assert codec(Blocks).decode(codec(Blocks).encode(blocks)) == blocks
    found = StateRange(((b"key", b"value"),), (b"node",))
    assert codec(StateAnswer).decode(codec(StateAnswer).encode(found)) == found
    assert codec(StateAnswer).decode(codec(StateAnswer).encode(None)) is None
