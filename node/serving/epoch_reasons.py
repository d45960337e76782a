"""Why an epoch waits or has stopped, as its operator reads it: what, why, what to do."""

from __future__ import annotations

from node.serving.epoch_view import EpochView
from pallets.jobs.job import Job


def closed_gate(model: int, view: EpochView) -> str:
    """Return why no epoch of a model can be closed now."""
    return (
        f"Model {model} has no index of {view.parameters.rows_minimum} rows, which attribution "
        "needs; what it earns for contributors waits in the pool."
    )


def not_worth_it(view: EpochView) -> str:
    """Return what an epoch waits for that has not earned its settlement; empty where nothing was
    redeemed or it has."""
    earned_planck = view.ledger.next_planck
    if view.is_worth_it or not earned_planck:
        return ""
    return (
        f"The epoch has earned {earned_planck} planck, and settling one may cost "
        f"{view.duty_planck}. It is closed when it has earned that, or with openledger_closeEpoch."
    )


def low_bond(fees_planck: int, view: EpochView) -> str:
    """Return that the bond does not answer for fees, and which one would."""
    return (
        f"The epoch's fees are {fees_planck} planck and the server's bond, which answers for them, "
        f"is {view.bond_planck}. Raise the bond to {fees_planck + view.at_risk_planck} with "
        "`openledger server add-bond`, then close the epoch with openledger_closeEpoch."
    )


def no_receipts(view: EpochView) -> str:
    """Return what it costs that no receipt of a model is here any more, and what to do."""
    ledger = view.ledger
    costs = [f"{ledger.redeemed_planck} planck were redeemed, {ledger.due_planck} of them are due"]
    if view.overdue_from is not None and ledger.settling is None:
        costs.append(f"after block {view.overdue_from} what is due is slashed")
    if ledger.settling is not None:
        costs.append(
            f"epoch {ledger.settling} is being settled, and the bond is slashed where the texts of "
            "its receipts are not shown"
        )
    return (
        f"The receipt store has no receipt of this model, and the chain has answers of it that "
        f"were paid: {'; '.join(costs)}. Bring the receipt store of this server back, then start "
        "the node again."
    )


def what_is_left_out(fees_planck: int, view: EpochView) -> str:
    """Return why closing an epoch now leaves out what is due, which costs as much, and what to do;
    `fees_planck` are those of all its receipts that are here."""
    due_planck = view.ledger.due_planck
    if not fees_planck:
        return no_receipts(view)
    if fees_planck < due_planck:
        why = (
            f"{due_planck} planck are due in the epoch, and receipts of "
            f"{due_planck - fees_planck} of them are not here. What is missing is slashed: bring "
            "the receipt store back"
        )
    elif due_planck > view.bond_planck - view.at_risk_planck:
        why = low_bond(due_planck, view).removesuffix(".")
    else:
        why = (
            f"The epoch has more receipts than the {view.parameters.receipts_maximum} that one "
            f"may have, and those come to less than the {due_planck} planck that are due"
        )
    return (
        f"{why}, or close the epoch without them by openledger_closeEpoch(model, true). After "
        f"block {view.overdue_from} all that is due is slashed."
    )


def why_failed(job: Job | None) -> str:
    """Return why a settle job has failed, in a clause."""
    if job is None or job.failure is None:
        return "its job is not on the chain any more"
    reasons = sorted({slot.reason.name for slot in job.slots if slot.reason is not None})
    said = f" ({', '.join(reasons)})" if reasons else ""
    return f"its job ended with {job.failure.name}{said}"
