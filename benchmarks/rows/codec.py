"""The codec of everything: an account record and a signed transfer, beside the usual library.

scalecodec and cyscale install the same module, so one environment holds one of them: the row
compares with whichever is there and names it.
"""

from __future__ import annotations

from typing import Any, Final

from benchmarks.figures import (
    CannotRunError,
    Effort,
    Figure,
    Measured,
    comparison,
    faster,
    version_of,
)
from benchmarks.ledger import AMOUNT_PLANCK
from benchmarks.timing import interleaved, median_ratio, medians, repeated
from pallets import compose
from runtime.codec.scale import codec
from runtime.crypto.keys import Keypair
from runtime.frame.extrinsic import Additional, Extra
from runtime.frame.machine import Machine
from runtime.metadata.metadata import metadata
from runtime.types.era import IMMORTAL
from runtime.types.primitives import ZERO_HASH, AccountData, AccountId, AccountInfo, Id

WORK: Final = (
    "SCALE: AccountInfo and a signed transfer, ours beside scalecodec (or cyscale) of the chain"
)
GOAL: Final = 20.0
RECORD: Final = AccountInfo(7, 1, 1, 0, AccountData(123 * 10**18, 45 * 10**18, 10**18))


def run(effort: Effort) -> Measured:
    """Measure both sides in turns; theirs gets fewer calls, the cost is for one."""
    ours_calls, theirs_calls, repeats = effort.pick((50_000, 2_000, 7), (5_000, 300, 3), (5, 2, 1))
    machine = compose()
    transfer = _signed_transfer(machine)
    accounts = codec(AccountInfo)
    record = accounts.encode(RECORD)
    ours = {
        "AccountInfo encode": lambda: accounts.encode(RECORD),
        "AccountInfo decode": lambda: accounts.decode(record),
        "signed transfer decode": lambda: machine.extrinsics.decode(transfer),
    }
    try:
        other = _Other(metadata(machine, 14))
    except CannotRunError as reason:
        costs = medians(
            interleaved({name: repeated(f, ours_calls) for name, f in ours.items()}, repeats)
        )
        alone = tuple(Figure(name, costs[name] / ours_calls * 1e6, "us") for name in ours)
        return Measured(alone, (f"not compared: {reason}",))
    other.check(record, transfer)
    theirs = {
        "AccountInfo encode": other.encode_account,
        "AccountInfo decode": lambda: other.decode_account(record),
        "signed transfer decode": lambda: other.decode_extrinsic(transfer),
    }
    figures = []
    for name, function in ours.items():
        samples = interleaved(
            {
                "ours": repeated(function, ours_calls),
                "theirs": repeated(theirs[name], theirs_calls),
            },
            repeats,
        )
        costs = medians(samples)
        ours_us, theirs_us = costs["ours"] / ours_calls * 1e6, costs["theirs"] / theirs_calls * 1e6
        ratio = median_ratio(samples, "ours", "theirs") * ours_calls / theirs_calls
        figures.append(
            faster(
                name,
                ours=ours_us,
                unit="us",
                other=other.name,
                theirs=theirs_us,
                goal=other.goal,
                ratio=ratio,
            )
        )
    return Measured(tuple(figures))


def _signed_transfer(machine: Machine) -> bytes:
    pair, version = Keypair.from_uri("//Alice"), machine.version
    dest = Id(AccountId(pair.account))
    return machine.extrinsics.sign(
        machine.call("Balances", "transfer_keep_alive", dest=dest, value=AMOUNT_PLANCK),
        pair,
        Extra(IMMORTAL, 5, 0),
        Additional(version.spec_version, version.transaction_version, ZERO_HASH, ZERO_HASH),
    )


class _Other:
    """The usual library, set up as substrate-interface does it: by the chain's own metadata."""

    def __init__(self, raw: bytes) -> None:
        base = comparison("scalecodec.base", "scalecodec")
        registry = comparison("scalecodec.type_registry", "scalecodec")
        self.name = version_of("cyscale", "scalecodec")
        self.goal = GOAL if self.name.startswith("scalecodec") else None
        self._bytes: Any = base.ScaleBytes
        self._types: Any = base.RuntimeConfigurationObject(implements_scale_info=True)
        self._types.update_type_registry(registry.load_type_registry_preset("core"))
        self._metadata = self._types.create_scale_object("MetadataVersioned", self._bytes(raw))
        self._metadata.decode()
        self._types.add_portable_registry(self._metadata)
        system = next(p for p in self._metadata.pallets if p.value["name"] == "System")
        storage = next(s for s in system.storage if s.value["name"] == "Account")
        self._account = storage.get_value_type_string()
        self._record = {
            "nonce": RECORD.nonce,
            "consumers": RECORD.consumers,
            "providers": RECORD.providers,
            "sufficients": RECORD.sufficients,
            "data": {
                "free": RECORD.data.free,
                "reserved": RECORD.data.reserved,
                "frozen": RECORD.data.frozen,
                "flags": RECORD.data.flags,
            },
        }

    def check(self, record: bytes, transfer: bytes) -> None:
        """Assert that it reads and writes what we do."""
        assert bytes(self.encode_account().data) == record
        assert self.decode_account(record) == self._record
        decoded = self.decode_extrinsic(transfer)
        assert decoded["call"]["call_function"] == "transfer_keep_alive"
        assert decoded["call"]["call_args"][1]["value"] == AMOUNT_PLANCK

    def encode_account(self) -> Any:
        """Encode the record."""
        return self._types.create_scale_object(self._account).encode(self._record)

    def decode_account(self, record: bytes) -> Any:
        """Decode a record."""
        return self._types.create_scale_object(self._account, self._bytes(record)).decode()

    def decode_extrinsic(self, raw: bytes) -> Any:
        """Decode a signed transfer."""
        made = self._types.create_scale_object(
            "Extrinsic", self._bytes(raw), metadata=self._metadata
        )
        return made.decode()
