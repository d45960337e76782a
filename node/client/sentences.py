"""Errors of the chain as sentences: pallet docstrings and Substrate's own errors in plain words."""

from __future__ import annotations

from typing import Final

from runtime.frame.dispatch import DispatchError, ModuleError, Token, TokenError, describe
from runtime.frame.machine import Machine

_TOKEN: Final = {
    TokenError.FundsUnavailable: "The account has too little free balance.",
    TokenError.OnlyProvider: "The account would be removed while it is still in use.",
    TokenError.BelowMinimum: "The amount is below the existential deposit of 0.001 OPEN, "
    "so the receiving account cannot exist.",
    TokenError.CannotCreate: "The receiving account cannot be created.",
    TokenError.UnknownAsset: "There is no such asset.",
    TokenError.Frozen: "The balance is frozen.",
    TokenError.Unsupported: "The operation is not supported.",
    TokenError.CannotCreateHold: "The amount cannot be held.",
    TokenError.NotExpendable: "The account must keep the existential deposit of 0.001 OPEN.",
    TokenError.Blocked: "The account is blocked.",
}
_FUNDS: Final = (TokenError.FundsUnavailable, TokenError.NotExpendable)
_FUNDS_NAMES: Final = ("InsufficientBalance", "InsufficientFunds")


def dispatch_sentence(machine: Machine, error: DispatchError) -> str:
    """Return what went wrong, with the pallet and error that say so."""
    if isinstance(error, ModuleError):
        for pallet in machine.pallets.values():
            failure = (
                pallet.error_types.get(error.error[0]) if pallet.index == error.index else None
            )
            if failure is not None:
                words = " ".join((failure.__doc__ or "").split())
                return f"{pallet.name}.{failure.__name__}: {words}"
        return f"Error {error.error[0]} of the unknown pallet {error.index}."
    if isinstance(error, Token):
        return f"Token.{error.error.name}: {_TOKEN[error.error]}"
    return f"{describe(error)}: {(type(error).__doc__ or '').strip()}"


def needs_funds(machine: Machine, error: DispatchError) -> bool:
    """Return whether more money would help."""
    if isinstance(error, Token):
        return error.error in _FUNDS
    return isinstance(error, ModuleError) and any(
        f".{name}:" in dispatch_sentence(machine, error) for name in _FUNDS_NAMES
    )
