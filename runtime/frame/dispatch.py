"""Origins, calls and the errors of dispatch, encoded as Substrate clients know them.

A pallet raises an `Error` to refuse a call: one class per cause, whose docstring is the sentence
that reaches the client through metadata. `DispatchError` is its encoding in events.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NewType

from runtime.codec.scale import Bytes4, Enumeration, u8
from runtime.codec.shape import rust
from runtime.types.primitives import AccountId

Signed = NewType("Signed", AccountId)
"""Annotates the first parameter of a call that a signed account dispatches."""


class Root:
    """Annotates (and is) the origin of calls that governance dispatches."""


class Inherent:
    """Annotates (and is) the origin of what the block's author puts in unsigned."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a call: an account, root, or the author of the block (inherents)."""

    account: AccountId | None = None
    root: bool = False

    @staticmethod
    def signed(account: AccountId) -> Origin:
        """Return the origin of a signed extrinsic."""
        return Origin(account)


ROOT: Final = Origin(root=True)
INHERENT: Final = Origin()


@rust("frame_support::dispatch::DispatchClass")
class DispatchClass(enum.IntEnum):
    """Which share of a block's weight a call may use."""

    Normal = 0
    Operational = 1
    Mandatory = 2


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a pallet with its decoded arguments, in order of declaration."""

    pallet: str
    name: str
    arguments: tuple[Any, ...]


@rust("sp_runtime::TokenError")
class TokenError(enum.IntEnum):
    """Why tokens could not move (sp_runtime::TokenError)."""

    FundsUnavailable = 0
    OnlyProvider = 1
    BelowMinimum = 2
    CannotCreate = 3
    UnknownAsset = 4
    Frozen = 5
    Unsupported = 6
    CannotCreateHold = 7
    NotExpendable = 8
    Blocked = 9


@rust("sp_arithmetic::ArithmeticError")
class ArithmeticFault(enum.IntEnum):
    """Why a computation failed (sp_arithmetic::ArithmeticError)."""

    Underflow = 0
    Overflow = 1
    DivisionByZero = 2


@rust("sp_runtime::TransactionalError")
class TransactionalError(enum.IntEnum):
    """Why a transaction layer failed (sp_runtime::TransactionalError)."""

    LimitReached = 0
    NoLayer = 1


@rust("sp_runtime::DispatchError", bare=True)
class DispatchError(Enumeration):
    """The error of a failed dispatch (sp_runtime::DispatchError)."""


@rust("Other")
class OtherError(DispatchError, index=0):
    """Some error without a name."""


class CannotLookup(DispatchError, index=1):
    """An address does not resolve to an account."""


class BadOrigin(DispatchError, index=2):
    """The call is not for this origin."""


@rust("Module", inner="sp_runtime::ModuleError")
class ModuleError(DispatchError, index=3):
    """An error that a pallet declares."""

    index: u8
    error: Bytes4


class ConsumerRemaining(DispatchError, index=4):
    """The account is still referenced."""


class NoProviders(DispatchError, index=5):
    """The account does not exist."""


class TooManyConsumers(DispatchError, index=6):
    """The account is referenced too often."""


class Token(DispatchError, index=7):
    """Tokens could not move."""

    error: TokenError


class Arithmetic(DispatchError, index=8):
    """A computation failed."""

    error: ArithmeticFault


class Transactional(DispatchError, index=9):
    """Transactions nest too deeply."""

    error: TransactionalError


class Exhausted(DispatchError, index=10):
    """A resource of the block is exhausted."""


class Corruption(DispatchError, index=11):
    """The state is corrupt."""


class Unavailable(DispatchError, index=12):
    """A resource is unavailable at present."""


class RootNotAllowed(DispatchError, index=13):
    """Root may not dispatch this call."""


class DispatchFailed(Exception):
    """A call was refused; whatever it had written is undone. `error` goes into the event."""

    def __init__(self, error: DispatchError) -> None:
        super().__init__(describe(error))
        self.error = error


class Error(Exception):
    """Base of the errors that pallets declare: `class NoSuchNet(Error, index=0): "sentence"`."""

    index: ClassVar[int]
    pallet_index: ClassVar[int] = -1

    def __init_subclass__(cls, index: int, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        assert 0 <= index < 256, f"{cls.__name__}: an error index is one byte"
        assert cls.__doc__, f"{cls.__name__}: the docstring is the sentence that the user reads"
        cls.index = index

    def __str__(self) -> str:
        return (type(self).__doc__ or type(self).__name__).strip()

    @property
    def error(self) -> DispatchError:
        """The encoding of this error in events."""
        assert self.pallet_index >= 0, f"{type(self).__name__} is declared outside of a pallet"
        return ModuleError(self.pallet_index, bytes((self.index, 0, 0, 0)))


def token_error(error: TokenError) -> DispatchFailed:
    """Return the exception for a Token error."""
    return DispatchFailed(Token(error))


def describe(error: DispatchError) -> str:
    """Return a short text for an error that no pallet declares."""
    inner = getattr(error, "error", None)
    return f"{type(error).__name__}{f'.{inner.name}' if isinstance(inner, enum.Enum) else ''}"
