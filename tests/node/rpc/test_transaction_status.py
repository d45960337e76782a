"""Statuses and refusals as JSON: each has exactly one form and one code."""

from __future__ import annotations

import typing

import pytest

from node.rpc.errors import Json
from node.rpc.transaction_status import CODES, rejection, status_json
from node.transactions import errors
from node.transactions.status import (
    Dropped,
    FinalityTimeout,
    InBlock,
    InFinalBlock,
    Invalidated,
    NotReady,
    Ready,
    Retracted,
    Status,
    Usurped,
)
from runtime.types.primitives import Hash

BLOCK = Hash(b"\x0a" * 32)
HEX = "0x" + "0a" * 32
STATUSES: list[tuple[Status, Json]] = [
    (NotReady(), "future"),
    (Ready(), "ready"),
    (InBlock(BLOCK), {"inBlock": HEX}),
    (Retracted(BLOCK), {"retracted": HEX}),
    (InFinalBlock(BLOCK), {"finalized": HEX}),
    (FinalityTimeout(BLOCK), {"finalityTimeout": HEX}),
    (Usurped(BLOCK), {"usurped": HEX}),
    (Dropped(), "dropped"),
    (Invalidated(), "invalid"),
]
REFUSALS: list[tuple[type[errors.PoolError], int, str]] = [
    (errors.BadFormatError, 1001, "Extrinsic has invalid format"),
    (errors.InvalidTransactionError, 1010, "Invalid Transaction"),
    (errors.UnknownValidityError, 1011, "Unknown Transaction Validity"),
    (errors.TemporarilyBannedError, 1012, "Transaction is temporarily banned"),
    (errors.AlreadyImportedError, 1013, "Transaction is already in the pool"),
    (errors.PriorityTooLowError, 1014, "Priority is too low"),
    (errors.ImmediatelyDroppedError, 1016, "Immediately Dropped"),
]


@pytest.mark.parametrize(("status", "expected"), STATUSES)
def test_a_status_has_the_form_of_substrate(status: Status, expected: Json) -> None:
    assert status_json(status) == expected


def test_every_status_has_a_form() -> None:
    assert {type(status) for status, _ in STATUSES} == set(typing.get_args(Status))


@pytest.mark.parametrize(("refusal", "code", "message"), REFUSALS)
def test_a_refusal_has_its_code_message_and_detail(
    refusal: type[errors.PoolError], code: int, message: str
) -> None:
    error = rejection(refusal("the case"))
    assert (error.number, error.message, error.data) == (code, message, "the case")


def test_every_refusal_of_the_pool_has_a_code() -> None:
    assert set(CODES) == set(errors.PoolError.__subclasses__())
    assert {refusal for refusal, _, _ in REFUSALS} == set(CODES)
