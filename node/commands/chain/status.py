"""`openledger status`: what the node and its chain are doing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import click

from node.client import Client, RequestRefusedError
from node.commands.base.command import command_output, pass_client, refuse
from node.commands.base.documents import Fields, Planck
from node.commands.base.output import Output
from runtime.codec.hexadecimal import to_hex


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


@dataclass(frozen=True, slots=True)
class ValidatorLine:
    """A validator of the current epoch as the node hears it; never heard is None.

    `is_skipping` says that it votes lately, but for no block.
    """

    account: str
    stake: Planck
    is_this_node: bool
    is_silent: bool
    is_skipping: bool
    last_view: int
    heard_seconds_ago: float | None


@dataclass(frozen=True, slots=True)
class ExplanationDocument:
    """Why finality is where it is; `heard` and `needed` are stake.

    `is_standing` says that no block has become final for longer than failing views would take.
    """

    why: str
    epoch: int
    view: int
    finalized_number: int
    finalized_seconds_ago: float
    is_standing: bool
    epoch_ends_at: int
    is_voting: bool
    is_halted: bool
    heard: Planck
    needed: Planck
    total: Planck
    validators: tuple[ValidatorLine, ...]
    LABELS: ClassVar[Mapping[str, str]] = {
        "is_standing": "finality stands still",
        "heard": "stake heard",
        "needed": "stake needed (more than two thirds)",
        "total": "stake in all",
    }


@click.command("status")
@click.option("--explain", is_flag=True, help="Say who votes, who is silent, what finality lacks.")
@command_output(StatusDocument, ExplanationDocument)
@pass_client
def status_command(
    output: Output, client: Client, explain: bool
) -> StatusDocument | ExplanationDocument:
    """Show what the node and its chain are doing."""
    return explanation_of(client) if explain else status_of(client)


def explanation_of(client: Client) -> ExplanationDocument:
    """Return a node's status of finality. Raises UsageError where it is a solo author."""
    try:
        finality = client.call("openledger_consensus")
    except RequestRefusedError:
        refuse("This node makes its blocks alone, so there is no consensus to explain.")
    return ExplanationDocument(
        why=finality["sentence"],
        epoch=finality["epoch"],
        view=finality["view"],
        finalized_number=finality["finalizedNumber"],
        finalized_seconds_ago=finality["finalizedSecondsAgo"],
        is_standing=finality["isStanding"],
        epoch_ends_at=finality["lastNumberOfEpoch"],
        is_voting=finality["isVoting"],
        is_halted=finality["isHalted"],
        heard=Planck(int(finality["heardWeight"])),
        needed=Planck(int(finality["neededWeight"])),
        total=Planck(int(finality["totalWeight"])),
        validators=tuple(
            ValidatorLine(
                account=validator["account"],
                stake=Planck(int(validator["weight"])),
                is_this_node=validator["isMe"],
                is_silent=validator["isSilent"],
                is_skipping=validator["isSkipping"],
                last_view=validator["lastView"],
                heard_seconds_ago=validator["heardSecondsAgo"],
            )
            for validator in finality["validators"]
        ),
    )


def status_of(client: Client) -> StatusDocument:
    """Return a node's status."""
    info = client.info()
    return StatusDocument(
        url=client.endpoint.http_url
        if client.endpoint.prefers_http
        else client.endpoint.websocket_url,
        node=info.node_name,
        version=info.node_version,
        chain=info.chain,
        genesis_hash=to_hex(info.genesis_hash),
        runtime=f"{info.spec_name}-{info.spec_version}",
        best_number=info.best.number,
        best_hash=to_hex(info.best.hash),
        finalized_number=info.finalized.number,
        finalized_hash=to_hex(info.finalized.hash),
        pending_transactions=len(client.call("author_pendingExtrinsics")),
        peers=info.peers,
        is_syncing=info.is_syncing,
        services=_services(client),
    )


def _services(client: Client) -> Fields:
    try:
        services = client.call("openledger_status")
    except RequestRefusedError:
        return {}  # other node software, or a node without these services
    return services if isinstance(services, dict) else {}
