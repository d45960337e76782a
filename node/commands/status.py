"""`openledger status`: what the node and its chain are doing."""

from __future__ import annotations

from dataclasses import dataclass

import click

from node.client import Client, RequestRefusedError
from node.commands.documents import Fields
from node.commands.frame import connects, reports
from node.commands.output import Output


@dataclass(frozen=True, slots=True)
class StatusDocument:
    """A node and its chain; `services` is what the node tells about executor and serving."""

    url: str
    node: str
    version: str
    chain: str
    genesis_hash: str
    runtime: str
    best_number: int
    best_hash: str
    finalized_number: int
    finalized_hash: str
    pending_transactions: int
    peers: int
    is_syncing: bool
    services: Fields


@click.command("status")
@reports(StatusDocument)
@connects
def status_command(output: Output, client: Client) -> StatusDocument:
    """Show what the node and its chain are doing."""
    return status_of(client)


def status_of(client: Client) -> StatusDocument:
    """Return what a node says about itself."""
    info = client.info()
    return StatusDocument(
        client.endpoint.http_url if client.endpoint.prefers_http else client.endpoint.websocket_url,
        info.node_name,
        info.node_version,
        info.chain,
        "0x" + info.genesis_hash.hex(),
        f"{info.spec_name}-{info.spec_version}",
        info.best.number,
        "0x" + info.best.hash.hex(),
        info.finalized.number,
        "0x" + info.finalized.hash.hex(),
        len(client.call("author_pendingExtrinsics")),
        info.peers,
        info.is_syncing,
        _services(client),
    )


def _services(client: Client) -> Fields:
    try:
        services = client.call("openledger_status")
    except RequestRefusedError:
        return {}  # another node software, or one without these services
    return services if isinstance(services, dict) else {}
