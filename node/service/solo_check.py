"""Whether a node may make a chain's blocks alone: not where others validate it.

Such blocks are final here and nowhere else: the folder would hold a history of its own, and the
network's blocks would contradict it for ever.
"""

from __future__ import annotations

import logging

from genesis.spec import PRESETS
from node.chain.chain import Chain
from node.keys.node_keys import DEVELOPMENT_TYPES
from node.operations.config import ConfigError, NodeConfig
from pallets.session import Session
from runtime.frame.state import Overlay

logger = logging.getLogger(__name__)


def check_solo_author(chain: Chain, config: NodeConfig, account: bytes) -> None:
    """Refuse to make the blocks of a network alone; on a development chain, warn.

    Raises ConfigError.
    """
    with chain.machine.on(Overlay(chain.best_state())):
        validators = chain.machine.pallet(Session).authorities.get().authorities
    others = [each for each in validators if account not in (each.key, each.account)]
    if config.chain in PRESETS or not others:
        return
    sentence = (
        f"The chain {chain.spec.id} has {len(others)} validators whose keys this node does not "
        f"have, and --sealing {config.sealing} makes final blocks alone, which none of them will "
        "ever take"
    )
    if chain.spec.chain_type not in DEVELOPMENT_TYPES:
        raise ConfigError(
            f"{sentence}. Follow the network with --sealing consensus, or try the chain alone with "
            "a copy of the spec of chainType Development."
        )
    logger.warning(
        "history-is-own reason=%r remedy=%r", sentence, "stop, and run `openledger chain purge`"
    )
