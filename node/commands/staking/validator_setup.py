"""The remaining steps of an account that is to validate: bond, session key, candidacy.

They are read from the chain each time, and sent as one transaction that succeeds as a whole:
so a set-up that was interrupted anywhere is resumed by running it again, and is never half done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from genesis.amounts import format_amount
from node.client import Client, InsufficientFundsError, RejectedError
from node.commands.base.command import refuse
from node.commands.staking.records import percent_of
from node.commands.staking.validator_records import StepLine
from pallets.session import prove_possession
from pallets.staking.records import Parameters, Payee, StakingLedger, ValidatorPrefs
from runtime.codec.hexadecimal import to_hex
from runtime.crypto.keys import Keypair
from runtime.frame.dispatch import Call
from runtime.types.primitives import OPEN, AccountId

FOR_FEES: Final = OPEN
"""The amount that stays free beside the bond."""
DONE: Final = "done"
TO_DO: Final = "to do"


@dataclass(frozen=True, slots=True)
class Plan:
    """The remaining steps of an account; `bonds_planck` is the amount to add to its bond."""

    who: AccountId
    active_planck: int
    has_bond: bool
    bonds_planck: int
    sets_key: bool
    sets_prefs: bool
    prefs: ValidatorPrefs

    @property
    def is_done(self) -> bool:
        """Return whether no step remains."""
        return not (self.bonds_planck or self.sets_key or self.sets_prefs)


def plan_of(
    client: Client,
    who: AccountId,
    public: bytes | None,
    bond_planck: int | None,
    commission: int | None,
) -> Plan:
    """Return the remaining steps. Raises UsageError, RejectedError, InsufficientFundsError."""
    parameters: Parameters = client.query("Staking", "parameters")
    ledger: StakingLedger | None = client.api("StakingApi_ledger_of", who)
    prefs: ValidatorPrefs | None = client.api("StakingApi_prefs_of", who)
    _check(
        client=client,
        who=who,
        public=public,
        parameters=parameters,
        bond_planck=bond_planck,
        commission=commission,
    )
    active = 0 if ledger is None else ledger.active
    target = parameters.minimum_validator_bond if bond_planck is None else bond_planck
    missing = max(0, target - active)
    free = client.balance(who).free
    if missing and free < missing + FOR_FEES:
        raise InsufficientFundsError(
            f"The account has {format_amount(free)} free. It needs {format_amount(missing)} for "
            f"the bond and {format_amount(FOR_FEES)} for fees. Send it the rest, or name a smaller "
            f"--bond (at least {format_amount(parameters.minimum_validator_bond)} in all)."
        )
    present = prefs or ValidatorPrefs()
    new_prefs = present if commission is None else ValidatorPrefs(commission)
    return Plan(
        who=who,
        active_planck=active,
        has_bond=ledger is not None,
        bonds_planck=missing,
        sets_key=public is None or client.api("SessionApi_registered_key", who) != public,
        sets_prefs=prefs != new_prefs,
        prefs=new_prefs,
    )


def steps_of(plan: Plan, public: bytes | None, *, is_new_key: bool, state: str) -> list[StepLine]:
    """Return the steps for people; `state` is that of those that were not done before."""
    key_text = "is made first" if public is None else to_hex(public)
    bond = format_amount(plan.active_planck + plan.bonds_planck)
    added = f" ({format_amount(plan.bonds_planck)} more)" if plan.bonds_planck else ""
    made = TO_DO if public is None else DONE
    return [
        StepLine("session key", made, f"{key_text}{', new' if is_new_key else ''}"),
        StepLine("bond", state if plan.bonds_planck else DONE, f"{bond}{added}"),
        StepLine("register the key", state if plan.sets_key else DONE, "Session.set_keys"),
        StepLine(
            "stand for election",
            state if plan.sets_prefs else DONE,
            f"commission {percent_of(plan.prefs.commission):g} %",
        ),
    ]


def call_of(client: Client, plan: Plan, session: Keypair) -> Call:
    """Return one transaction of all remaining steps."""
    assert not plan.is_done, "nothing is sent where nothing is left"
    calls = []
    if plan.bonds_planck and plan.has_bond:
        calls.append(client.make_call("Staking", "bond_extra", max_additional=plan.bonds_planck))
    elif plan.bonds_planck:
        calls.append(
            client.make_call("Staking", "bond", value=plan.bonds_planck, payee=Payee.Staked)
        )
    if plan.sets_key:
        calls.append(set_keys_call(client, plan.who, session))
    if plan.sets_prefs:
        calls.append(client.make_call("Staking", "validate", prefs=plan.prefs))
    if len(calls) == 1:
        return calls[0]
    return client.make_call("Utility", "batch_all", calls=tuple(calls))


def set_keys_call(client: Client, who: AccountId, session: Keypair) -> Call:
    """Return the call that registers a session key, with the proof that its holder agrees."""
    proof = prove_possession(client.genesis_hash, who, session)
    return client.make_call("Session", "set_keys", key=session.account, proof=proof)


def check_owner(client: Client, who: AccountId, public: bytes) -> None:
    """Refuse a session key of another account. Raises UsageError."""
    if client.query("Session", "key_owner", public) not in (None, who):
        refuse(
            f"The session key 0x{public.hex()} belongs to another account for ever. "
            "Generate a new one under another name with --session-key."
        )


def _check(
    client: Client,
    who: AccountId,
    public: bytes | None,
    parameters: Parameters,
    bond_planck: int | None,
    commission: int | None,
) -> None:
    if client.query("Staking", "tombstones", who):
        raise RejectedError(
            "This account was convicted of signing twice and can never validate again. "
            "Use another account."
        )
    minimum = parameters.minimum_validator_bond
    if bond_planck is not None and bond_planck < minimum:
        refuse(
            f"A validator bonds at least {format_amount(minimum)}; "
            f"{format_amount(bond_planck)} is too little. Name a larger --bond."
        )
    if commission is not None and commission > parameters.maximum_commission:
        most = percent_of(parameters.maximum_commission)
        refuse(f"The commission is at most {most:g} % on this chain. Name a smaller one.")
    if public is not None:
        check_owner(client, who, public)
