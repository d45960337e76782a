"""Transfers through the whole path, beside py-evm and the raw rate of ed25519 verification."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import trio
from nacl.bindings import crypto_sign_open

from benchmarks.ethereum import EvmLedger, opened_evm
from benchmarks.figures import CannotRunError, Effort, Figure, Measured, faster, version_of
from benchmarks.ledger import SEED, Ledger, opened_ledger
from benchmarks.timing import Samples, cpu_clock, cpu_seconds, frozen_setup, median_ratio, medians
from runtime.frame.extrinsic import Additional

WORK: Final = (
    "signed ed25519 transfers through the whole path: decode, verify, validate (pool), execute, "
    "state root (author), durable commit (LevelDB, synced)"
)
EVM_GOAL: Final = 5.0
VERIFY_GOAL: Final = 0.25
MICROSECONDS: Final = 1e6


def run(effort: Effort) -> Measured:
    """Measure blocks of transfers; each repeat is one block of ours, then one of py-evm."""
    accounts = effort.pick(100_000, 10_000, 50)
    block, repeats = effort.pick((1_000, 7), (1_000, 3), (20, 1))
    missing = ""
    try:
        evm: EvmLedger | None = opened_evm(accounts, SEED)
    except CannotRunError as reason:
        evm, missing = None, str(reason)
    with opened_ledger(accounts) as ledger, frozen_setup():
        samples = trio.run(_measure, ledger, evm, block, repeats)
    cost = {name: seconds * MICROSECONDS for name, seconds in medians(samples).items()}
    whole = cost["whole"]
    what = "a transfer"
    verify = median_ratio(samples, "whole", "verify")
    figures = [
        Figure("transfers by one core", MICROSECONDS / whole, "/s"),
        faster(
            what,
            ours=whole,
            unit="us",
            other="ed25519 verify",
            theirs=cost["verify"],
            goal=VERIFY_GOAL,
            ratio=verify,
        ),
        Figure("  pool: decode, verify, validate", cost["pool"], "us"),
        Figure("  author: execute, root, commit", cost["author"], "us"),
    ]
    if evm is not None:
        other, ratio = version_of("py-evm"), median_ratio(samples, "whole", "evm")
        figures.insert(
            1,
            faster(
                what,
                ours=whole,
                unit="us",
                other=other,
                theirs=cost["evm"],
                goal=EVM_GOAL,
                ratio=ratio,
            ),
        )
    notes = [f"blocks of {block:,} transfers, {accounts:,} accounts, {repeats} repeats"]
    if missing:
        notes.append(f"py-evm is not compared: {missing}")
    return Measured(tuple(figures), tuple(notes))


async def _measure(ledger: Ledger, evm: EvmLedger | None, block: int, repeats: int) -> Samples:
    """Return the CPU seconds for one transfer, by stage, of each repeat."""
    samples: Samples = {"pool": [], "author": [], "whole": [], "verify": []}
    if evm is not None:
        samples["evm"] = []
    for repeat in range(-1, repeats):  # The first is to warm up.
        raws = ledger.transfers(block)
        messages = signed_messages(ledger, raws)
        taken = await block_seconds(ledger, raws)
        taken["verify"] = cpu_seconds(partial(verify_all, messages))
        if evm is not None:
            taken["evm"] = cpu_seconds(partial(evm.block, evm.transfers(block)))
        if repeat >= 0:
            for name, seconds in taken.items():
                samples[name].append(seconds / block)
    return samples


async def block_seconds(ledger: Ledger, raws: Sequence[bytes]) -> dict[str, float]:
    """Return the CPU seconds of one block in the pool and with the author."""
    pool = cpu_seconds(lambda: ledger.submit(raws))
    started = cpu_clock()
    await ledger.seal(len(raws))
    author = cpu_clock() - started
    return {"pool": pool, "author": author, "whole": pool + author}


def signed_messages(ledger: Ledger, raws: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Return (signature ++ message, public key) of each transfer, as libsodium takes them."""
    version, genesis = ledger.chain.machine.version, ledger.chain.genesis_hash
    additional = Additional(version.spec_version, version.transaction_version, genesis, genesis)
    messages: list[tuple[bytes, bytes]] = []
    for raw in raws:
        extrinsic = ledger.chain.machine.extrinsics.decode(raw)
        signed = extrinsic.signed
        assert signed is not None
        assert signed.account is not None
        signature: bytes = signed.signature.signature  # type: ignore[attr-defined]
        messages.append((signature + extrinsic.payload(additional), signed.account))
    return messages


def verify_all(messages: Sequence[tuple[bytes, bytes]]) -> None:
    """Verify signatures, nothing else; raises for a wrong one."""
    for message, account in messages:
        crypto_sign_open(message, account)
