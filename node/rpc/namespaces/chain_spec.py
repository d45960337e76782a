"""chainSpec_v1_*: what never changes of a chain.

Source: https://paritytech.github.io/json-rpc-interface-spec/
"""

from __future__ import annotations

from node.rpc.interfaces import RpcNode
from node.rpc.methods import method
from node.rpc.parameters import Json
from runtime.codec.hexadecimal import to_hex


class ChainSpec:
    """Name, genesis and properties."""

    def __init__(self, node: RpcNode) -> None:
        self._node = node

    @method("chainSpec_v1_chainName")
    def name(self) -> Json:
        """Name the chain."""
        return self._node.chain.name

    @method("chainSpec_v1_genesisHash")
    def genesis_hash(self) -> Json:
        """Return the genesis hash."""
        return to_hex(self._node.chain.genesis_hash)

    @method("chainSpec_v1_properties")
    def properties(self) -> Json:
        """Return address prefix, token symbol and decimals."""
        return dict(self._node.about.properties)
