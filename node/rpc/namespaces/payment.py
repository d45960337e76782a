"""payment_*: what an extrinsic costs, at a named block."""

from __future__ import annotations

from typing import Final

from node.rpc.blocks import Blocks
from node.rpc.errors import ExtrinsicFormatError, RuntimeCallError
from node.rpc.methods import method
from node.rpc.parameters import HexBytes, Json
from pallets.transaction_payment import FeeDetails, RuntimeDispatchInfo
from runtime.codec.scale import DecodeError, codec, u32
from runtime.types.primitives import Hash

_INFO: Final = codec(RuntimeDispatchInfo)
_DETAILS: Final = codec(FeeDetails)
_LENGTH: Final = codec(u32)


class Payment:
    """Fees."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks

    @method("payment_queryInfo")
    async def info(self, encoded_xt: HexBytes, at: Hash | None = None) -> Json:
        """Return weight, class and fee of an extrinsic."""
        info = _INFO.decode(await self._ask("query_info", encoded_xt, at))
        return {
            "weight": {
                "ref_time": info.weight.ref_time,
                "proof_size": info.weight.proof_size,
            },
            "class": info.class_.name.lower(),
            "partialFee": str(info.partial_fee),
        }

    @method("payment_queryFeeDetails")
    async def details(self, encoded_xt: HexBytes, at: Hash | None = None) -> Json:
        """Return the parts of an extrinsic's fee."""
        fee = _DETAILS.decode(await self._ask("query_fee_details", encoded_xt, at)).inclusion_fee
        if fee is None:
            return {"inclusionFee": None}
        return {
            "inclusionFee": {
                "baseFee": hex(fee.base_fee),
                "lenFee": hex(fee.len_fee),
                "adjustedWeightFee": hex(fee.adjusted_weight_fee),
            }
        }

    async def _ask(self, function: str, raw: bytes, at: Hash | None) -> bytes:
        name = f"TransactionPaymentApi_{function}"
        try:
            return await self._blocks.call(name, raw + _LENGTH.encode(len(raw)), at)
        except RuntimeCallError as error:
            # The caller learns of a bad extrinsic and not of bad arguments.
            if isinstance(error.__cause__, DecodeError):
                message = "Extrinsic has invalid format"
                raise ExtrinsicFormatError(message, str(error.__cause__)) from error
            raise
