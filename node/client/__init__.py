"""The typed client of a node: chain, state, transactions, files, answers. See `Client`."""

from node.client.answer_events import Answer, Text
from node.client.blobs import Blobs, BlobState
from node.client.client import Client
from node.client.endpoint import DEFAULT_URL
from node.client.errors import (
    ClientError,
    InsufficientFundsError,
    LockedKeyError,
    MayStillLandError,
    RejectedError,
    RequestRefusedError,
    UnreachableError,
    UsageError,
    WrongNodeError,
)
from node.client.results import (
    Block,
    ChainInfo,
    DryRun,
    FeeQuote,
    Finalized,
    Included,
    Outcome,
    Signed,
    Submitted,
    Wait,
)
from node.client.serving import Serving

__all__ = [
    "Answer",
    "Blobs",
    "BlobState",
    "Block",
    "ChainInfo",
    "Client",
    "ClientError",
    "DEFAULT_URL",
    "DryRun",
    "FeeQuote",
    "Finalized",
    "Included",
    "InsufficientFundsError",
    "LockedKeyError",
    "MayStillLandError",
    "Outcome",
    "RejectedError",
    "RequestRefusedError",
    "Serving",
    "Signed",
    "Submitted",
    "Text",
    "UnreachableError",
    "UsageError",
    "Wait",
    "WrongNodeError",
]
