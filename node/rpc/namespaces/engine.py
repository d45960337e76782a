"""engine_*: blocks on demand, for callers on the node's own machine, where the node offers it."""

from __future__ import annotations

from node.rpc.errors import InvalidParamsError
from node.rpc.interfaces import Sealer
from node.rpc.methods import method
from node.rpc.parameters import HexBytes, Json
from runtime.codec.hexadecimal import to_hex
from runtime.types.primitives import Hash


class Engine:
    """Manual sealing."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    @method("engine_createBlock", local=True)
    async def create_block(
        self, create_empty: bool, finalize: bool, parent_hash: Hash | None = None
    ) -> Json:
        """Make a block now."""
        try:
            made = await self._sealer.create_block(
                create_empty=create_empty, finalize=finalize, parent=parent_hash
            )
        except ValueError as error:
            raise InvalidParamsError(str(error)) from error
        auxiliary = {
            "headerOnly": False,
            "clearJustificationRequests": False,
            "needsJustification": False,
            "badJustification": False,
            "isNewBest": True,
        }
        return {"hash": to_hex(made), "aux": auxiliary}

    @method("engine_finalizeBlock", local=True)
    async def finalize_block(self, hash: Hash, justification: HexBytes | None = None) -> Json:
        """Make a block final now."""
        try:
            await self._sealer.finalize_block(hash, justification)
        except ValueError as error:
            raise InvalidParamsError(str(error)) from error
        return True
