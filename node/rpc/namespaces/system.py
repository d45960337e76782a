"""system_*, rpc_methods and account_nextIndex: the node, its peers, and accounts' next nonces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from node.rpc.blocks import Blocks, decode_extrinsic
from node.rpc.interfaces import RpcNode
from node.rpc.methods import Method, method
from node.rpc.open_rpc import open_rpc
from node.rpc.parameters import HexBytes, Json
from runtime.codec.hexadecimal import to_hex
from runtime.codec.scale import codec
from runtime.frame.dispatch import DispatchError
from runtime.frame.executive import Executive
from runtime.frame.validity import TransactionRefused, TransactionValidityError
from runtime.trie.backend import Backend
from runtime.types.primitives import AccountId, Hash, Header

_DISPATCH_ERROR: Final = codec(DispatchError)
_VALIDITY_ERROR: Final = codec(TransactionValidityError)
APPLIED: Final = b"\0\0"
FAILED: Final = b"\0\1"
REFUSED: Final = b"\1"
"""Heads of an ApplyExtrinsicResult: Ok(Ok), Ok(Err(DispatchError)), Err(validity error)."""


class System:
    """The node itself."""

    def __init__(
        self, node: RpcNode, blocks: Blocks, methods: Callable[[], Mapping[str, Method]]
    ) -> None:
        self._node = node
        self._blocks = blocks
        self._methods = methods

    @method("rpc_methods")
    def methods(self) -> Json:
        """List the methods."""
        return {"methods": list(self._methods()), "version": 1}

    @method("rpc.discover")
    def discover(self) -> Json:
        """Describe all methods, their parameters and results, as an OpenRPC document."""
        about = self._node.about
        return open_rpc(self._methods().values(), about.name, about.version)

    @method("system_name")
    def name(self) -> Json:
        """Name the software."""
        return self._node.about.name

    @method("system_version")
    def version(self) -> Json:
        """Return the software's version."""
        return self._node.about.version

    @method("system_chain")
    def chain(self) -> Json:
        """Name the chain."""
        return self._node.chain.name

    @method("system_chainType")
    def chain_type(self) -> Json:
        """Return whether the chain is for development, local or live."""
        return self._node.about.chain_type

    @method("system_properties")
    def properties(self) -> Json:
        """Return address prefix, token symbol and decimals."""
        return dict(self._node.about.properties)

    @method("system_health")
    def health(self) -> Json:
        """Return whether the node has peers and keeps up."""
        network = self._node.network
        return {
            "peers": len(network.peers()),
            "isSyncing": network.is_syncing,
            "shouldHavePeers": network.should_have_peers,
        }

    @method("system_peers")
    def peers(self) -> Json:
        """List the connected nodes."""
        return [
            {
                "peerId": peer.peer_id,
                "roles": peer.roles,
                "bestHash": to_hex(peer.best_hash),
                "bestNumber": peer.best_number,
            }
            for peer in self._node.network.peers()
        ]

    @method("system_nodeRoles")
    def roles(self) -> Json:
        """Return what the node does."""
        return list(self._node.about.roles)

    @method("system_localPeerId")
    def local_peer_id(self) -> Json:
        """Return the node's name in the network."""
        return self._node.network.peer_id

    @method("system_localListenAddresses")
    def listen_addresses(self) -> Json:
        """Return where other nodes reach this one."""
        return list(self._node.network.listen_addresses)

    @method("system_syncState")
    def sync_state(self) -> Json:
        """Return how far the chain is known here and in the network."""
        current = self._node.chain.best.number
        highest = self._node.network.highest_block
        return {
            "startingBlock": self._blocks.starting_block,
            "currentBlock": current,
            "highestBlock": max(current, highest or 0),
        }

    @method("system_accountNextIndex", "account_nextIndex")
    def next_index(self, account: AccountId) -> Json:
        """Return the nonce of an account's next transaction, those in the pool counted."""
        return self._node.pool.next_nonce(account)

    @method("system_dryRun", "system_dryRunAt")
    async def dry_run(self, extrinsic: HexBytes, at: Hash | None = None) -> Json:
        """Apply an extrinsic on top of a block without keeping anything.

        Answers the SCALE of an ApplyExtrinsicResult: refused where the signature does not verify
        or where there is none.
        """

        def run(executive: Executive, backend: Backend, header: Header) -> bytes:
            decoded = decode_extrinsic(executive, extrinsic)
            try:
                applied, _, _ = executive.dry_run(backend, header, decoded, checks_signature=True)
            except TransactionRefused as refusal:
                return REFUSED + _VALIDITY_ERROR.encode(refusal.error)
            if applied.error is None:
                return APPLIED
            return FAILED + _DISPATCH_ERROR.encode(applied.error)

        return to_hex(await self._blocks.ask(run, len(extrinsic), at))
