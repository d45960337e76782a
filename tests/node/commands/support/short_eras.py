"""A development node whose epochs have one block and whose eras have six."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final
from unittest.mock import patch

from genesis.spec import ChainSpec, load_spec
from node.client import Client
from runtime.crypto.keys import Keypair
from tests.node.support.live_node import LiveNode, live_node

SESSIONS_PER_ERA: Final = 6
MINER: Final = Keypair.from_uri("//Ferdie")


def short_spec() -> ChainSpec:
    """Return the development chain with the shortest epochs."""
    preset = load_spec("dev")
    assert preset.pallets is not None, "presets are human"
    pallets = copy.deepcopy(dict(preset.pallets))
    pallets["session"]["epoch_blocks"] = 1
    pallets["staking"]["sessions_per_era"] = SESSIONS_PER_ERA
    return replace(preset, id="short", pallets=pallets)


@contextmanager
def short_node(folder: Path) -> Iterator[LiveNode]:
    """Run a node of this chain; //Alice alone validates it, with 100,000 OPEN."""
    chain = patch("tests.node.support.live_node.load_spec", lambda name: short_spec())
    with chain, live_node(folder) as node:
        yield node


def mine(node: LiveNode, last: int) -> None:
    """Have the node make blocks until it has this one."""
    with Client(node.rpc_url) as client:
        while client.header().number < last:
            call = client.make_call("System", "remark", remark=b"")
            client.submit(client.sign(call, MINER))
