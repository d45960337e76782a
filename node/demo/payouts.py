"""The story's money: the epoch is settled, and contributors claim what their rows have earned."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from genesis.amounts import format_amount
from node.demo.contributors import Contributor
from node.demo.questions import SERVER
from node.demo.stage import POLL_SECONDS, WAIT_SECONDS, StoryFailedError, StoryStage
from node.demo.training import Model
from runtime.crypto import ss58
from runtime.types.primitives import AccountId


@dataclass(frozen=True, slots=True)
class Earned:
    """The accepted rows of a contributor and their earnings at the end."""

    name: str
    address: str
    rows: int
    earned_planck: int


def settle(stage: StoryStage, model: Model) -> None:
    """Close the epoch and wait until it is settled. Raises StoryFailedError."""
    stage.print_line("\n5. The epoch closes: vouchers are redeemed, scores are netted, OPEN flows")
    epoch = int(stage.client.call("openledger_closeEpoch", model.number))
    began = time.monotonic()
    while True:
        record = stage.client.api("AttributionApi_epoch", model.number, SERVER, epoch)
        if record is not None and record.state.name != "Settling":
            break
        if time.monotonic() - began > WAIT_SECONDS:
            reasons = [entry["reason"] for entry in stage.client.call("openledger_settlements")]
            raise StoryFailedError(f"The epoch is not settled in time: {reasons}.")
        time.sleep(POLL_SECONDS)
    if record.state.name != "Settled":
        raise StoryFailedError("The settlement of the epoch failed.")
    stage.print_line(
        f"   {record.receipts} receipts, contributors' part {format_amount(record.pool_planck)}"
    )


def pay_out(
    stage: StoryStage, model: Model, people: Sequence[Contributor], accepted: dict[str, int]
) -> tuple[tuple[Earned, ...], int]:
    """Claim for every contributor; return what each has earned, and the model's commons."""
    earned = []
    for person in people:
        account = AccountId(person.pair.account)
        earning = stage.client.api("AttributionApi_earnings", account)
        if earning.claimable:
            stage.send(person.pair, "Attribution", "claim")
        earned.append(
            Earned(person.name, ss58.encode(account), accepted[person.name], earning.lifetime)
        )
    commons = stage.client.api("AttributionApi_common_pool", model.number)
    for payout in earned:
        amount = format_amount(payout.earned_planck)
        stage.print_line(f"   {payout.name:<24} {payout.rows:>5} rows   {amount}")
    stage.print_line(f"   {'commons (withheld bound)':<24} {'':>5}        {format_amount(commons)}")
    return tuple(earned), commons
