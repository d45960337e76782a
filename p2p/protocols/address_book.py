"""The address book: which peers are known, and which are dialled when.

Sans-IO: the time and the randomness go in. Bootnodes and reserved peers are always in the book;
other peers come in by their signed address records, or because they are on the local network, and
go out, worst first, when the book is full.

Rules:
- A reserved peer is dialled even when there are peers enough.
- Never dialled: this node, connected peers, excluded peers (banned, blocked), peers that are being
  dialled.
- A dial counts as a failure until the handshake with the peer is done: a peer that accepts
  connections only to close them is backed off from like a peer that is away.
- One peer adds at most ENTRIES_OF_ONE_MAX others, so that no single peer can fill the book.
- Peers that do not answer hold up no others: who failed comes after who was never tried, and then
  in turn; neither configured peers nor others take the last dial.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from p2p.protocols.addresses import ADDRESSES_MAX, RECORDS_MAX, AddressRecord, is_genuine
from p2p.transport.transport import PeerId

ENTRIES_MAX: Final = 512
ENTRIES_OF_ONE_MAX: Final = 64
LOCAL_ENTRIES_MAX: Final = 64
"""Peers that are known only by their announcements on the local network."""
RETRY_SECONDS: Final = 0.5
"""The pause after the first failure; each further failure doubles it."""
RETRY_SECONDS_MAX: Final = 30.0
BOOTNODE_RETRY_SECONDS_MAX: Final = 5.0
DIALS_OF_A_KIND_MAX: Final = 3
"""Dials in flight to configured peers, and as many to others."""
LOCAL_NETWORK: Final = PeerId("local network")
"""The source of peers that announced themselves on the local network; no peer has this id."""


@dataclass(frozen=True, slots=True)
class Dial:
    """Dial a peer at an address now."""

    peer: PeerId
    address: str
    is_configured: bool = False
    """Whether the operator gave this address: he wants to know why nobody is reached at it."""


@dataclass(slots=True)
class _Entry:
    addresses: tuple[str, ...]
    configured: tuple[str, ...] = ()
    """The addresses that the operator gave, of a bootnode or reserved peer."""
    is_reserved: bool = False
    source: PeerId | None = None
    record: AddressRecord | None = None
    failures: int = 0
    not_before: float = 0.0
    is_dialing: bool = False

    @property
    def is_bootnode(self) -> bool:
        """Return whether the operator named this peer."""
        return bool(self.configured)

    @property
    def precedence(self) -> tuple[bool, float, bool, bool]:
        """What sorts the peers that may be dialled."""
        if self.failures:
            return True, self.not_before, False, False
        return False, 0.0, not self.is_reserved, not self.is_bootnode


class AddressBook:
    """The known peers, with their addresses and the failures of dialling them."""

    def __init__(
        self,
        own: PeerId,
        bootnodes: Sequence[str],
        random: Callable[[], float],
        reserved: Sequence[str] = (),
    ) -> None:
        """Bootnodes and reserved are multiaddresses with /p2p/ID; `random` returns 0 to 1."""
        self._own = own
        self._random = random
        self._entries: dict[PeerId, _Entry] = {}
        for address in dict.fromkeys((*reserved, *bootnodes)):
            entry = self._entries.setdefault(peer_of(address), _Entry(()))
            entry.configured += (address,)
            entry.addresses = entry.configured
        for address in reserved:
            self._entries[peer_of(address)].is_reserved = True

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def has_configured(self) -> bool:
        """Return whether the operator named any peer besides this node."""
        return any(entry.is_bootnode for peer, entry in self._entries.items() if peer != self._own)

    def is_configured(self, peer: PeerId) -> bool:
        """Return whether the operator named a peer, as a bootnode or a reserved peer."""
        entry = self._entries.get(peer)
        return entry is not None and entry.is_bootnode

    def has(self, record: AddressRecord) -> bool:
        """Return whether this very record is known."""
        entry = self._entries.get(record.peer)
        return entry is not None and entry.record == record

    def add(self, record: AddressRecord, source: PeerId) -> bool:
        """Add a record that `source` relayed; False if it is forged.

        A record that is not newer than the known one is genuine, and changes nothing.
        """
        peer = record.peer
        entry = self._entries.get(peer)
        if peer == self._own or (entry and entry.record and _is_old(record, entry.record)):
            return True
        if not is_genuine(record):
            return False
        if entry is None:
            brought = sum(1 for other in self._entries.values() if other.source == source)
            if peer != source and brought >= ENTRIES_OF_ONE_MAX:
                return True
            if len(self._entries) >= ENTRIES_MAX and not self._drop_worst():
                return True
            entry = self._entries[peer] = _Entry((), source=source)
        if entry.record is not None and entry.record.addresses != record.addresses:
            # It moved: the new address deserves a try at once.
            entry.failures, entry.not_before = 0, 0.0
        entry.record = record
        entry.addresses = tuple(dict.fromkeys((*record.addresses, *entry.configured)))
        return True

    def add_local(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Add a peer that announced itself on the local network, or its new addresses.

        Nobody signed them, so they never replace what a record or the operator says; who answers
        at one still has to prove the peer id.
        """
        entry = self._entries.get(peer)
        fresh = tuple(addresses[:ADDRESSES_MAX])
        if peer == self._own or not fresh:
            return
        if entry is None:
            found = sum(1 for other in self._entries.values() if other.source == LOCAL_NETWORK)
            is_full = len(self._entries) >= ENTRIES_MAX and not self._drop_worst()
            if found >= LOCAL_ENTRIES_MAX or is_full:
                return
            self._entries[peer] = _Entry(fresh, source=LOCAL_NETWORK)
        elif entry.source == LOCAL_NETWORK and entry.record is None and entry.addresses != fresh:
            entry.addresses, entry.failures, entry.not_before = fresh, 0, 0.0

    def records(self, besides: PeerId) -> list[AddressRecord]:
        """Return records to send to a peer: those of peers that answered come first."""
        known = [
            (entry.failures, self._random(), entry.record)
            for peer, entry in self._entries.items()
            if entry.record is not None and peer != besides
        ]
        known.sort(key=lambda item: item[:2])
        return [record for _, _, record in known[: RECORDS_MAX - 1]]

    def next_dials(
        self,
        now: float,
        excluded: Collection[PeerId],
        slots: int,
        reserved_slots: int = 0,
    ) -> list[Dial]:
        """Return the peers to dial now, untried ones first: reserved peers, bootnodes, then others.

        `reserved_slots` are for reserved peers, and `slots` for all. They count as failed until
        `record_ready`.
        """
        ready = [
            (entry.precedence, self._random(), peer)
            for peer, entry in self._entries.items()
            if peer != self._own
            and peer not in excluded
            and not entry.is_dialing
            and entry.addresses
            and now >= entry.not_before
        ]
        dialing = Counter(each.is_bootnode for each in self._entries.values() if each.is_dialing)
        dials: list[Dial] = []
        for _, _, peer in sorted(ready):
            entry = self._entries[peer]
            if len(dials) >= (max(slots, reserved_slots) if entry.is_reserved else slots):
                continue
            if dialing[entry.is_bootnode] >= DIALS_OF_A_KIND_MAX:
                continue
            dialing[entry.is_bootnode] += 1
            address = entry.addresses[entry.failures % len(entry.addresses)]
            dials.append(Dial(peer, address, is_configured=address in entry.configured))
            entry.is_dialing = True
            entry.failures += 1
        return dials

    def dialed(self, peer: PeerId, now: float) -> None:
        """Record that a dial ended, with or without success."""
        entry = self._entries.get(peer)
        if entry is not None:
            entry.is_dialing = False
            entry.not_before = now + self._pause(entry)

    def record_ready(self, peer: PeerId) -> None:
        """Record that the handshake with a peer is done."""
        entry = self._entries.get(peer)
        if entry is not None:
            entry.failures = 0

    def went(self, peer: PeerId, now: float) -> None:
        """Record that a peer disconnected: it is dialled again after the shortest pause."""
        entry = self._entries.get(peer)
        if entry is not None:
            entry.not_before = now + self._pause(entry)

    def retry_all(self) -> None:
        """Reset all failures, because the network changed."""
        for entry in self._entries.values():
            entry.failures, entry.not_before = 0, 0.0

    def _pause(self, entry: _Entry) -> float:
        """Return the back-off in seconds: between half and all of the doubled pause."""
        longest = BOOTNODE_RETRY_SECONDS_MAX if entry.is_bootnode else RETRY_SECONDS_MAX
        pause = min(longest, RETRY_SECONDS * (1 << min(16, max(0, entry.failures - 1))))
        return pause * (0.5 + 0.5 * self._random())

    def _drop_worst(self) -> bool:
        """Drop the peer that failed most; False if no peer failed."""
        failed = [
            (entry.failures, peer)
            for peer, entry in self._entries.items()
            if entry.failures and not entry.is_bootnode and not entry.is_dialing
        ]
        if not failed:
            return False
        del self._entries[max(failed)[1]]
        return True


def peer_of(address: str) -> PeerId:
    """Return the peer that a multiaddress ends in; empty if it names none."""
    return PeerId(address.rpartition("/p2p/")[2] if "/p2p/" in address else "")


def _is_old(record: AddressRecord, known: AddressRecord) -> bool:
    return record.sequence <= known.sequence
