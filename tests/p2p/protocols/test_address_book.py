"""The address book, its records, and who is dialled when."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.protocols.address_book import (
    BOOTNODE_RETRY_SECONDS_MAX,
    ENTRIES_MAX,
    ENTRIES_OF_ONE_MAX,
    LOCAL_ENTRIES_MAX,
    RETRY_SECONDS_MAX,
    AddressBook,
    peer_of,
)
from p2p.protocols.addresses import (
    ADDRESSES_MAX,
    RECORDS_MAX,
    AddressRecord,
    decode_records,
    encode_records,
    is_genuine,
    sign_record,
)
from p2p.service.dialer import DIAL_LIMIT_SECONDS, DIALS_MAX, TICK_SECONDS
from p2p.transport.transport import PeerId, peer_id_of
from p2p.transport.wire import WireDecodeError
from runtime.crypto.keys import Keypair

OWN = PeerId("own")


def key(number: int) -> Keypair:
    return Keypair.from_seed(number.to_bytes(32, "little"))


def peer(number: int) -> PeerId:
    return peer_id_of(key(number).account)


def address(number: int, port: int = 1) -> str:
    return f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer(number)}"


def record(number: int, sequence: int = 1, port: int = 1) -> AddressRecord:
    return sign_record(key(number), sequence, [address(number, port)])


def book_of(*bootnodes: int, own: PeerId = OWN) -> AddressBook:
    return AddressBook(own, [address(number) for number in bootnodes], lambda: 1.0)


def test_a_signed_record_is_genuine() -> None:
    assert is_genuine(record(1))
    assert record(1).peer == peer(1)


@pytest.mark.parametrize(
    "forged",
    [
        replace(record(1), sequence=2),
        replace(record(1), addresses=(address(1, 2),)),
        replace(record(1), key=key(2).account),
        sign_record(key(1), 1, [address(2)]),
        sign_record(key(1), 1, []),
        sign_record(key(1), 1, ["/ip4/\n/p2p/" + peer(1)]),
    ],
    ids=["sequence", "address", "key", "of another", "empty", "control letters"],
)
def test_a_forged_record_is_not_taken(forged: AddressRecord) -> None:
    book = book_of()
    assert not is_genuine(forged)
    assert not book.add(forged, PeerId("source"))
    assert len(book) == 0


def test_a_record_has_few_addresses() -> None:
    made = sign_record(key(1), 1, [address(1, port) for port in range(20)])
    assert len(made.addresses) == ADDRESSES_MAX
    assert is_genuine(made)


def test_records_are_read_as_they_were_written() -> None:
    records = tuple(record(number) for number in range(RECORDS_MAX))
    assert decode_records(encode_records(records)) == records


@given(st.binary(max_size=300))
def test_garbage_is_a_decode_error_or_the_one_encoding_of_records(body: bytes) -> None:
    try:
        records = decode_records(body)
    except WireDecodeError:
        return
    assert encode_records(records) == body


def test_a_newer_record_replaces_an_older_one_and_not_the_other_way() -> None:
    book = book_of()
    for sequence, port in ((2, 22), (1, 11), (3, 33)):
        assert book.add(record(1, sequence, port), peer(1))
    (dial,) = book.next_dials(0.0, (), 1)
    assert dial.address == address(1, 33)
    assert book.has(record(1, 3, 33))


def test_nobody_is_dialled_who_is_excluded_dialled_already_or_this_node() -> None:
    book = book_of(1, 2, 3, 4, own=peer(4))
    dials = book.next_dials(0.0, {peer(1)}, 10)
    assert {dial.peer for dial in dials} == {peer(2), peer(3)}
    assert {dial.peer for dial in book.next_dials(0.0, (), 10)} == {peer(1)}
    assert not book.next_dials(0.0, (), 10)


def test_no_more_are_dialled_than_there_are_slots_and_bootnodes_come_first() -> None:
    book = book_of(1)
    for number in range(2, 9):
        book.add(record(number), PeerId("source"))
    dials = book.next_dials(0.0, (), 3)
    assert len(dials) == 3
    assert dials[0].peer == peer(1)
    assert not book.next_dials(0.0, (), -1)


@pytest.mark.parametrize(("is_bootnode", "longest"), [(True, 5.0), (False, 30.0)])
def test_the_pause_between_dials_doubles_up_to_its_maximum(
    is_bootnode: bool, longest: float
) -> None:
    assert (BOOTNODE_RETRY_SECONDS_MAX, RETRY_SECONDS_MAX) == (5.0, 30.0)
    book = book_of(1) if is_bootnode else book_of()
    book.add(record(1), peer(1))
    now, times = 0.0, []
    while len(times) < 12:
        for dial in book.next_dials(now, (), 1):
            times.append(now)
            book.dialed(dial.peer, now)
        now += 0.25
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
    assert pauses[-1] == longest


def test_the_pause_is_shortest_again_after_a_handshake() -> None:
    book = book_of(1)
    for now in (0.0, 100.0, 200.0):
        book.next_dials(now, (), 1)
        book.dialed(peer(1), now)
    book.record_ready(peer(1))
    book.went(peer(1), 300.0)
    assert not book.next_dials(300.4, (), 1)
    assert book.next_dials(300.5, (), 1)


def test_every_address_of_a_peer_is_tried() -> None:
    book = AddressBook(OWN, [address(1, 1), address(1, 2)], lambda: 1.0)
    tried = set()
    for now in (0.0, 100.0):
        tried |= {dial.address for dial in book.next_dials(now, (), 1)}
        book.dialed(peer(1), now)
    assert tried == {address(1, 1), address(1, 2)}


def test_one_peer_cannot_fill_the_book() -> None:
    book = book_of()
    for number in range(ENTRIES_OF_ONE_MAX + 10):
        assert book.add(record(number), PeerId("source"))
    assert len(book) == ENTRIES_OF_ONE_MAX


def test_a_full_book_forgets_who_failed_and_nobody_else() -> None:
    book = book_of()
    for number in range(ENTRIES_MAX):
        book.add(record(number), PeerId(f"source {number % 10}"))
    book.add(record(1000), PeerId("late"))
    assert len(book) == ENTRIES_MAX
    assert not book.has(record(1000))
    (failed,) = book.next_dials(0.0, (), 1)
    book.dialed(failed.peer, 0.0)
    book.add(record(1000), PeerId("late"))
    assert len(book) == ENTRIES_MAX
    assert book.has(record(1000))


def test_records_are_passed_on_to_others_than_their_own_peer() -> None:
    book = book_of()
    for number in range(RECORDS_MAX + 9):
        book.add(record(number), peer(number))
    passed = book.records(besides=peer(0))
    assert len(passed) == RECORDS_MAX - 1
    assert peer(0) not in {one.peer for one in passed}


def test_a_text_without_a_peer_names_none() -> None:
    assert peer_of("/ip4/127.0.0.1/tcp/1") == ""
    assert peer_of(address(1)) == peer(1)


def test_a_reserved_peer_is_dialled_though_there_are_peers_enough() -> None:
    book = AddressBook(OWN, [address(1)], lambda: 1.0, reserved=[address(2), address(2, 2)])
    (dial,) = book.next_dials(0.0, (), 0, reserved_slots=4)
    assert dial.peer == peer(2)
    assert dial.is_configured
    assert [dial.peer for dial in book.next_dials(0.0, (), 1, reserved_slots=4)] == [peer(1)]


def test_reserved_peers_are_dialled_before_bootnodes_and_others() -> None:
    book = AddressBook(OWN, [address(1)], lambda: 1.0, reserved=[address(2), address(3)])
    book.add(record(4), peer(4))
    dials = book.next_dials(0.0, (), 9, reserved_slots=9)
    assert [dial.peer for dial in dials][2:] == [peer(1), peer(4)]
    assert [dial.is_configured for dial in dials] == [True, True, True, False]


def dials_in_ten_minutes(book: AddressBook, answering: set[PeerId]) -> Counter[PeerId]:
    """Dial as the dialer does, where all but these peers let every dial time out."""
    dialled: Counter[PeerId] = Counter()
    in_flight: list[tuple[float, PeerId]] = []
    for tick in range(3_000):
        now = tick * TICK_SECONDS
        for end, other in in_flight:
            if end <= now:
                book.dialed(other, now)
        in_flight = [flying for flying in in_flight if flying[0] > now]
        free = DIALS_MAX - len(in_flight)
        for dial in book.next_dials(now, (), free, reserved_slots=free):
            dialled[dial.peer] += 1
            takes_s = 0.1 if dial.peer in answering else DIAL_LIMIT_SECONDS
            in_flight.append((now + takes_s, dial.peer))
    return dialled


@pytest.mark.parametrize("dead", [0, 4, 8, 16])
def test_peers_that_do_not_answer_keep_nobody_else_from_being_dialled(dead: int) -> None:
    reserved = [address(number) for number in range(1, dead + 1)]
    book = AddressBook(OWN, [address(100)], lambda: 0.5, reserved)
    book.add(record(200), peer(200))
    book.add(record(201), peer(201))
    dialled = dials_in_ten_minutes(book, answering={peer(100), peer(200)})
    assert dialled[peer(100)] >= 10, "a bootnode"
    assert dialled[peer(200)] >= 10, "a peer of the network"


def test_a_flood_of_records_keeps_no_configured_peer_from_being_dialled() -> None:
    book = AddressBook(OWN, [address(1)], lambda: 0.5)
    for number in range(2, 300):
        book.add(record(number), peer(number))
    assert dials_in_ten_minutes(book, answering=set())[peer(1)] >= 10


def test_a_bootnode_that_moves_often_keeps_few_addresses() -> None:
    book = AddressBook(OWN, [address(1)], lambda: 0.5)
    for sequence in range(1, 20):
        book.add(record(1, sequence, port=1_000 + sequence), peer(1))
    book.record_ready(peer(1))
    seen = set()
    for turn in range(20):
        (dial,) = book.next_dials(1_000.0 * turn, (), 1)
        book.dialed(dial.peer, 1_000.0 * turn)
        seen.add((dial.address, dial.is_configured))
    assert seen == {(address(1, 1_019), False), (address(1), True)}


def test_a_peer_of_the_local_network_is_dialled() -> None:
    book = book_of()
    book.add_local(peer(1), [address(1)])
    assert [dial.address for dial in book.next_dials(0.0, (), 9)] == [address(1)]
    book.dialed(peer(1), 0.0)
    book.add_local(peer(1), [address(1)])
    assert not book.next_dials(0.0, (), 9), "it failed, and nothing is new"
    book.add_local(peer(1), [address(1, 2)])
    assert [dial.address for dial in book.next_dials(0.0, (), 9)] == [address(1, 2)]


def test_an_announcement_replaces_nothing_that_is_signed_or_configured() -> None:
    book = AddressBook(peer(9), [address(1)], lambda: 1.0)
    book.add(record(2), peer(3))
    for number in (1, 2, 9):
        book.add_local(peer(number), [address(number, 666)])
    dials = book.next_dials(0.0, (), 9)
    assert {dial.address for dial in dials} == {address(1), address(2)}


def test_a_record_replaces_an_announcement() -> None:
    book = book_of()
    book.add_local(peer(1), [address(1, 666)])
    assert book.add(record(1), peer(1))
    assert [dial.address for dial in book.next_dials(0.0, (), 9)] == [address(1)]


def test_the_local_network_cannot_fill_the_book() -> None:
    book = book_of()
    for number in range(LOCAL_ENTRIES_MAX + 10):
        book.add_local(peer(number), [address(number)])
    assert len(book) == LOCAL_ENTRIES_MAX
    book.add_local(peer(999), [])
    assert len(book) == LOCAL_ENTRIES_MAX
