"""Executors and profiles as commands print them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ml.train.profile import Profile as MachineProfile
from node.client import Client
from node.commands.base.documents import Planck
from node.commands.executor.measuring import Measured, name_of
from pallets.jobs.registry import ExecutorEntry, Profile
from runtime.codec.hexadecimal import to_hex
from runtime.crypto import ss58
from runtime.types.primitives import Hash


@dataclass(frozen=True, slots=True)
class ProfileDocument:
    """The profile of this machine: its id, how fast it is, and how root registers it.

    The rate is in thousandths of a block for each unit of 10^11 parameter-tokens. `call` is what
    root dispatches, here with limits that fit the base; two machines with one id must have one
    golden hash.
    """

    id: str
    name: str
    golden: str
    seconds_per_unit: float
    blocks_per_unit_milli: int
    is_registered: bool
    call: str
    LABELS: ClassVar[Mapping[str, str]] = {"call": "call for root"}


@dataclass(frozen=True, slots=True)
class ExecutorDocument:
    """An executor's record on chain.

    `reader` is the key for which texts are encrypted to it; it is drawn from `drawable_from` on.
    """

    account: str
    profile: str
    profile_name: str | None
    bond_planck: Planck
    bases: tuple[str, ...]
    reader: str
    jobs: int
    settled: int
    slashed: int
    declines: int
    last_seen: int
    drawable_from: int


@dataclass(frozen=True, slots=True)
class ExecutorsDocument:
    """The executors that are not leaving, in the order in which they joined."""

    executors: tuple[ExecutorDocument, ...]


def profile_document(
    client: Client, identity: Hash, machine: MachineProfile, measured: Measured, chain: Profile
) -> ProfileDocument:
    """Return the document of this machine's profile, with the call that registers it."""
    arguments = {
        "id": to_hex(identity),
        "profile": {
            "name": chain.name,
            "blocks_per_unit_milli": chain.blocks_per_unit_milli,
            "parameters_max": chain.parameters_max,
            "work_max": chain.work_max,
            "context_tokens": chain.context_tokens,
        },
    }
    call = {"pallet": "Jobs", "call": "register_profile", "arguments": arguments}
    return ProfileDocument(
        id=to_hex(identity),
        name=name_of(machine),
        golden="0x" + measured.golden,
        seconds_per_unit=round(measured.seconds_per_unit, 3),
        blocks_per_unit_milli=chain.blocks_per_unit_milli,
        is_registered=client.query("Jobs", "profiles", identity) is not None,
        call=json.dumps(call),
    )


def executor_document(client: Client, entry: ExecutorEntry) -> ExecutorDocument:
    """Return the document of an executor."""
    record = entry.executor
    profile: Profile | None = client.query("Jobs", "profiles", record.profile)
    return ExecutorDocument(
        account=ss58.encode(entry.account),
        profile=to_hex(record.profile),
        profile_name=None if profile is None else profile.name,
        bond_planck=Planck(record.bond),
        bases=tuple(to_hex(base) for base in record.bases),
        reader=to_hex(record.reader),
        jobs=entry.assigned,
        settled=record.settled,
        slashed=record.slashed,
        declines=record.declines,
        last_seen=record.last_seen,
        drawable_from=record.drawable_from,
    )
