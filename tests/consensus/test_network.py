"""Engines together, in virtual time: they agree, they go on, they come back."""

from __future__ import annotations

import pytest

from consensus.messages import Message, Proposal, Received
from runtime.shared.finality import Certificate, Kind, Vote
from runtime.shared.leaders import schedule_of
from runtime.types.primitives import Hash
from tests.consensus.support.network import (
    LATENCY_MS,
    Network,
    certificate,
    header_of,
    proposal_of,
    set_of,
)

WEIGHTS = [(1,), (1, 1, 1, 1), (1,) * 7, (5, 3, 2, 1, 1)]
SECOND = 1000


def nullifications(network: Network) -> list[int]:
    return [
        ballot.view
        for node in network.nodes
        for ballot in node.signed
        if ballot.kind == Kind.NULLIFY
    ]


def assert_healthy(network: Network) -> None:
    network.assert_agreement()
    network.assert_nobody_contradicts_itself()
    assert not network.accusations()
    assert not any(node.halts for node in network.nodes)
    assert not any(node.reports for node in network.nodes)


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_blocks_come_every_two_delays_and_are_final_after_three(weights: tuple[int, ...]) -> None:
    network = Network(weights)
    latency = LATENCY_MS if len(weights) > 1 else 0
    network.start()
    network.run(20 * LATENCY_MS * 2 + LATENCY_MS, lambda: network.heights()[0] >= 20)
    times = [time for time, _ in network.nodes[0].commits[:20]]
    assert network.heights()[0] >= 19
    # Some node is the leader of its own block a delay before the others have the votes.
    proposed = [2 * latency * height for height in range(len(times))]
    took = [time - start for time, start in zip(times, proposed, strict=True)]
    assert took == [3 * latency] * len(times)
    assert nullifications(network) == []
    assert_healthy(network)


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (1,) * 7, (2, 3, 2, 1, 1)], ids=str)
def test_a_crashed_leader_is_skipped_and_soon_at_once(weights: tuple[int, ...]) -> None:
    network = Network(weights)
    network.crash(0)
    others = range(1, len(weights))
    network.start(*others)
    network.run(60 * SECOND)
    early = network.heights()[1]
    assert early > 20
    network.run(80 * SECOND)
    # Nobody waits for it any more: two delays a block, and one more for each skip.
    assert network.heights()[1] - early > 20 * SECOND // (3 * LATENCY_MS)
    assert_healthy(network)


def test_a_silent_leader_that_speaks_again_is_waited_for() -> None:
    network = Network()
    network.crash(0)
    network.start(1, 2, 3)
    network.run(60 * SECOND)
    network.restart(0)
    network.run(64 * SECOND)
    skipped = len(nullifications(network))
    network.run(80 * SECOND)
    assert len(nullifications(network)) == skipped
    assert min(network.heights()) >= max(network.heights()) - 1
    assert_healthy(network)


def test_a_leader_whose_votes_are_always_late_is_not_taken_for_silent() -> None:
    """Its votes come after the quorums, so no certificate names it before it leads."""
    weights = (1,) * 16
    slow = schedule_of(set_of(weights)).leader(11)  # the first view in which one can be silent

    class Late(Network):
        def _send(self, origin: int, target: int, message: Message) -> None:
            if origin == slow and isinstance(message, Vote):
                self.put(target, Received(origin, message), 2 * LATENCY_MS)
            else:
                super()._send(origin, target, message)

    network = Late(weights)
    network.start()
    network.run(3 * SECOND)
    assert network.nodes[0].engine.view > 11
    assert nullifications(network) == []
    assert_healthy(network)


def test_a_partition_stops_both_sides_and_heals() -> None:
    network = Network()
    network.start()
    network.run(5 * SECOND)
    network.is_open = lambda origin, target, _: (origin < 2) == (target < 2)
    network.run(6 * SECOND)
    stopped = network.heights()
    network.run(60 * SECOND)
    assert network.heights() == stopped
    network.is_open = lambda *_: True
    network.run(70 * SECOND)
    assert min(network.heights()) > max(stopped) + 20
    assert_healthy(network)


def test_a_node_that_was_cut_off_catches_up_and_votes_again() -> None:
    network = Network()
    network.start()
    network.run(3 * SECOND)
    network.is_open = lambda origin, target, _: 3 not in (origin, target)
    network.run(30 * SECOND)
    behind = network.heights()[3]
    network.is_open = lambda *_: True
    network.run(40 * SECOND)
    assert behind < 20
    assert min(network.heights()) >= max(network.heights()) - 1
    last = max(ballot.view for ballot in network.nodes[3].signed)
    assert last >= network.nodes[0].engine.view - 1
    assert_healthy(network)


@pytest.mark.parametrize("lost", range(2, 6))
def test_messages_that_are_lost_delay_but_stop_nothing(lost: int) -> None:
    network = Network()
    count = 0

    def is_open(_origin: int, _target: int, _message: Message) -> bool:
        nonlocal count
        count += 1
        return count * 7919 % 11 >= lost  # 18 to 45 percent, spread without randomness

    network.is_open = is_open
    network.start()
    network.run(60 * SECOND)
    assert min(network.heights()) > 3
    assert_healthy(network)


@pytest.mark.parametrize("moment_ms", range(0, 900, 50))
def test_a_node_restarts_from_its_log_at_any_moment(moment_ms: int) -> None:
    network = Network()
    network.start()
    network.run(2 * SECOND + moment_ms)
    network.crash(1)
    network.run(3 * SECOND + moment_ms)
    network.restart(1)
    network.run(12 * SECOND)
    assert min(network.heights()) >= max(network.heights()) - 1
    assert min(network.heights()) > 30
    assert_healthy(network)


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@pytest.mark.parametrize("moment_ms", [0, 50, 130, 250, 333])
def test_all_nodes_restart_at_once(weights: tuple[int, ...], moment_ms: int) -> None:
    network = Network(weights)
    network.start()
    network.run(2 * SECOND + moment_ms, lambda: max(network.heights()) > 30)
    before = max(network.heights())
    for node in network.nodes:
        network.crash(node.index)
        network.restart(node.index)
    until = network.now + 8 * SECOND
    network.run(until, lambda: max(network.heights()) > before + 30)
    assert min(network.heights()) > before + 5
    assert_healthy(network)


def test_a_leader_with_two_proposals_is_convicted_and_forks_nothing() -> None:
    network = Network()
    leader = schedule_of(network.authorities).leader(1)
    network.crash(leader)
    honest = [index for index in range(4) if index != leader]
    network.start(*honest)
    first = proposal_of(network.authorities, 1, mark=b"first")
    second = proposal_of(network.authorities, 1, mark=b"second")
    for index, one in zip(honest, (first, first, second), strict=True):
        network.put(index, Received(leader, one), 1)
    network.run(30 * SECOND)
    assert {one.evidence.first.voter for one in network.accusations()} == {leader}
    assert all(len(node.convicted) <= 1 for node in network.nodes)
    assert all(network.heights()[index] > 10 for index in honest)
    network.assert_agreement()


def test_certificates_kept_from_most_nodes_stop_nothing() -> None:
    """NULLIFY votes reach only one node; the others learn by its certificates."""
    network = Network()
    network.crash(0)

    def is_open(_origin: int, target: int, message: Message) -> bool:
        return not (isinstance(message, Vote) and message.ballot.kind == Kind.NULLIFY) or (
            target == 1
        )

    network.is_open = is_open
    network.start(1, 2, 3)
    network.run(60 * SECOND)
    assert min(network.heights()[1:]) > 15
    assert_healthy(network)


def test_without_certificates_and_helping_votes_are_enough() -> None:
    network = Network()
    network.is_open = lambda _origin, _target, message: not isinstance(message, Certificate)
    network.start()
    network.run(20 * SECOND)
    assert min(network.heights()) > 90
    assert_healthy(network)


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_an_epoch_ends_with_its_boundary_block(weights: tuple[int, ...]) -> None:
    network = Network(weights, last_number=5)
    network.start()
    network.run(60 * SECOND)
    assert network.heights() == [5] * len(weights)
    assert all(node.engine.is_finished for node in network.nodes)
    assert_healthy(network)


def test_the_boundary_is_proposed_again_until_it_is_final() -> None:
    network = Network(last_number=3)
    blocked = True

    def is_open(_origin: int, _target: int, message: Message) -> bool:
        is_final = isinstance(message, Vote) and message.ballot.kind == Kind.FINALIZE
        return not (blocked and is_final)

    network.is_open = is_open
    network.start()
    network.run(5 * SECOND)
    again = [
        message
        for _, _, message in network.sent
        if isinstance(message, Proposal) and message.header.number == 3
    ]
    assert len({message.vote.ballot.view for message in again}) > 5
    assert len({message.header.hash for message in again}) == 1
    assert network.heights() == [0] * 4
    blocked = False
    network.run(10 * SECOND)
    assert network.heights() == [3] * 4
    assert_healthy(network)


def test_a_restart_in_the_middle_of_the_boundary_ends_the_epoch() -> None:
    network = Network(last_number=3)
    network.is_open = lambda _origin, _target, message: (
        not (isinstance(message, Vote) and message.ballot.kind == Kind.FINALIZE)
    )
    network.start()
    network.run(5 * SECOND)
    for node in network.nodes:
        network.crash(node.index)
        network.restart(node.index)
    network.is_open = lambda *_: True
    network.run(15 * SECOND)
    assert network.heights() == [3] * 4
    assert_healthy(network)


def test_two_branches_that_are_final_halt_every_node_that_hears() -> None:
    """Nodes 1 and 2 sign on both sides of a partition, as copies of themselves."""
    network = Network()
    network.start()
    network.run(2 * SECOND)
    # A rival branch from the root, notarized and finalized by three keys.
    claim = proposal_of(network.authorities, 1, mark=b"rival")
    rival = certificate([1, 2, 3], Kind.FINALIZE, 1, claim.header.hash)
    network.put(0, Received(3, rival))
    network.run(3 * SECOND)
    node = network.nodes[0]
    assert len(node.halts) == 1
    assert rival in (node.halts[0].first, node.halts[0].second)
    signed = len(node.signed)
    network.run(20 * SECOND)
    assert len(node.signed) == signed
    assert network.nodes[1].halts  # node 0 passed on what it saw
    guilty = {one.evidence.first.voter for one in node.convicted}
    assert sum(network.authorities.authorities[voter].weight for voter in guilty) * 3 > 4


def test_an_observer_follows_the_chain_and_says_nothing() -> None:
    network = Network()
    network.start(0, 1, 2)
    observer = network.nodes[3]
    observer.engine = type(observer.engine)(
        genesis=Hash(b"g" * 32),
        authorities=network.authorities,
        me=None,
        root=network.root,
        last_number=network.last_number,
        settings=observer.engine.settings,
    )
    network.start(3)
    network.run(20 * SECOND)
    assert network.heights()[3] >= network.heights()[0] - 1 > 10
    assert not observer.signed
    assert not [one for one in network.sent if one[0] == 3 and isinstance(one[2], Vote)]
    assert_healthy(network)


def test_an_invalid_block_is_skipped() -> None:
    network = Network()
    leader = schedule_of(network.authorities).leader(1)
    network.crash(leader)
    honest = [index for index in range(4) if index != leader]
    network.start(*honest)
    bad = proposal_of(network.authorities, 1, mark=b"bad")
    network.invalid[bad.header.hash] = None
    for index in honest:
        network.put(index, Received(leader, bad), 1)
    network.run(500)
    # No timer has run out: the skip came at once.
    assert all(network.nodes[index].engine.view >= 2 for index in honest)
    network.run(20 * SECOND)
    assert all(bad.header.hash not in network.chain(index) for index in honest)
    assert_healthy(network)


def test_header_hashes_of_tests_are_distinct() -> None:
    assert header_of(Hash(bytes(32)), 1, None, b"a") != header_of(Hash(bytes(32)), 1, None, b"b")
