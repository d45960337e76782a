"""What keeps a node from starting, as far as its settings and its data folder tell.

The node refuses by these functions when it starts, and `openledger config check` asks them all
before. Whether ports are free, and whether the blocks and the state are whole, only the start and
`openledger chain check` show. Nothing is written here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import trio

from genesis.spec import ChainSpec, load_spec
from node.keys.node_keys import load_pair, load_peer_seed, load_session_pair
from node.keys.vote_signer import history_path, read_history
from node.keys.voting_place import check_may_vote
from node.operations.config import ConfigError, NodeConfig
from node.operations.data_folder import (
    PEER_SEED_FILE,
    chain_folder,
    consensus_folder,
)
from p2p.transport.multiaddress import listen_address, parse_dialable_address, parse_peer_address
from p2p.transport.transport import AddressError, PeerId, peer_id_of
from runtime.crypto.keys import Keypair
from runtime.errors import OpenLedgerError


def start_problems(config: NodeConfig) -> tuple[str, ...]:
    """Return what a node would refuse, one sentence for each cause."""
    try:
        spec = load_spec(config.chain)
    except OpenLedgerError as error:
        return (str(error),)  # which keys are allowed depends on the chain
    problems = []
    for check in _checks(config, spec):
        try:
            check()
        except OpenLedgerError as error:
            problems.append(str(error))
    return tuple(dict.fromkeys(problems))


def check_boot_nodes(spec: ChainSpec) -> None:
    """Refuse a chain spec whose bootnodes can never be reached. Raises ConfigError."""
    for address in spec.boot_nodes:
        try:
            parse_peer_address(address)
        except AddressError as error:
            raise ConfigError(f"bootNodes of the chain spec {spec.id}: {error}") from error


def check_control(config: NodeConfig) -> None:
    """Refuse the control socket of a node that has nothing to control. Raises ConfigError."""
    if config.control and not config.is_networked:
        raise ConfigError("A node that makes its blocks alone has no network to control.")


def public_addresses(config: NodeConfig, own: PeerId | None) -> tuple[str, ...]:
    """Return the announced addresses with this node's peer id; None for one that has none yet.

    Raises ConfigError.
    """
    addresses = [parse_dialable_address(text) for text in config.public_addresses]
    for address in addresses:
        if address.peer not in (None, own):
            own_text = f"is {own}" if own else "is made by its first start"
            raise ConfigError(
                f"public_addresses: {address} is another node's; the peer id of this one "
                f"{own_text}. Leave the /p2p/ part out."
            )
    return tuple(str(replace(address, peer=own)) for address in addresses)


def _checks(config: NodeConfig, spec: ChainSpec) -> Iterator[Callable[[], object]]:
    """Yield the checks that these settings need, each of which raises OpenLedgerError."""
    folder = chain_folder(config.base_path, spec.id)
    yield lambda: load_pair(config, spec.chain_type)
    yield lambda: _check_writable(config.base_path)
    yield lambda: check_control(config)
    if config.validator:
        yield lambda: _check_signer(config, spec, folder)
    if config.is_networked:
        yield lambda: check_boot_nodes(spec)
        yield lambda: public_addresses(config, _own_peer(folder))
        yield lambda: trio.run(_resolve_listening, config)
    if config.is_networked and config.validator:
        yield lambda: check_may_vote(folder)


def _check_signer(config: NodeConfig, spec: ChainSpec, folder: Path) -> None:
    """Refuse a key, a signer or a history with which no vote can be signed."""
    if config.signer is not None:
        if not config.signer.is_socket():
            raise ConfigError(
                f"No signer listens on {config.signer}. Start it with `openledger signer --socket`."
            )
        return
    session_key = load_session_pair(config, spec.chain_type)
    history = history_path(consensus_folder(folder), session_key.account)
    if history.exists():
        read_history(history)


def _check_writable(path: Path) -> None:
    absolute = path.absolute()
    folder = next(place for place in (absolute, *absolute.parents) if place.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder} cannot be written to. Name another --base-path.")


def _own_peer(folder: Path) -> PeerId | None:
    """Return the node's peer id; None before its first start, which makes it."""
    if not (folder / PEER_SEED_FILE).exists():
        return None
    return peer_id_of(Keypair.from_seed(load_peer_seed(folder)).account)


async def _resolve_listening(config: NodeConfig) -> None:
    from p2p.transport.libp2p_addresses import listening_endpoints

    await listening_endpoints([listen_address(config.p2p_host, config.p2p_port)])
