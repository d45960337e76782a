"""Origins and dispatch errors in the encoding of clients."""

from __future__ import annotations

import pytest

from runtime.codec.scale import DecodeError, codec
from runtime.frame.dispatch import (
    INHERENT,
    ROOT,
    Arithmetic,
    ArithmeticFault,
    BadOrigin,
    DispatchError,
    DispatchFailed,
    Error,
    ModuleError,
    Origin,
    OtherError,
    Token,
    TokenError,
    Transactional,
    TransactionalError,
    describe,
    token_error,
)
from runtime.types.primitives import AccountId

ERROR = codec(DispatchError)


@pytest.mark.parametrize(
    ("error", "encoded"),
    [
        (OtherError(), "00"),
        (BadOrigin(), "02"),
        (ModuleError(5, b"\2\0\0\0"), "030502000000"),
        (Token(TokenError.FundsUnavailable), "0700"),
        (Token(TokenError.Blocked), "0709"),
        (Arithmetic(ArithmeticFault.Overflow), "0801"),
        (Transactional(TransactionalError.LimitReached), "0900"),
    ],
)
def test_errors_have_the_encoding_of_substrate(error: DispatchError, encoded: str) -> None:
    assert ERROR.encode(error).hex() == encoded
    assert ERROR.decode(bytes.fromhex(encoded)) == error


@pytest.mark.parametrize("garbage", ["", "0e", "03", "070a", "0803", "0000"])
def test_garbage_is_no_error(garbage: str) -> None:
    with pytest.raises(DecodeError):
        ERROR.decode(bytes.fromhex(garbage))


def test_a_failed_dispatch_says_what_failed() -> None:
    assert str(token_error(TokenError.Frozen)) == "Token.Frozen"
    assert describe(BadOrigin()) == "BadOrigin"
    assert str(DispatchFailed(BadOrigin())) == "BadOrigin"


def test_origins_are_different() -> None:
    alice = AccountId(bytes(32))
    assert Origin.signed(alice).account == alice
    assert (ROOT.root, ROOT.account) == (True, None)
    assert (INHERENT.root, INHERENT.account) == (False, None)


def test_an_error_without_a_sentence_is_no_declaration() -> None:
    with pytest.raises(AssertionError, match="sentence"):

        class Silent(Error, index=0):
            pass
