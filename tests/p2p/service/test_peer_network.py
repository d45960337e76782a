"""What downloads need of a network is what the service and its peers have."""

from __future__ import annotations

import dataclasses

import pytest

from p2p.service.peer_network import (
    ConnectedPeer,
    PeerHeights,
    PeerNetwork,
    PeerRequests,
)
from p2p.service.peer_session import PeerState
from p2p.service.service import Service


def members(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}


@pytest.mark.parametrize("protocol", [PeerRequests, PeerNetwork])
def test_the_service_has_what_downloads_call(protocol: type) -> None:
    assert members(protocol)
    assert all(hasattr(Service, name) for name in members(protocol))


@pytest.mark.parametrize("protocol", [ConnectedPeer, PeerHeights])
def test_a_peer_has_what_downloads_read(protocol: type) -> None:
    assert members(protocol)
    assert members(protocol) <= {field.name for field in dataclasses.fields(PeerState)}
