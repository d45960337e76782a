"""Specs of development networks: N validators whose keys everybody can derive.

Validator i has a name (//Alice to //Ferdie, then //Validator7, //Validator8, ...). The ed25519 key
of that name is at once its stash, its session key, its executor and its server.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from genesis.accounts import NAMES
from genesis.spec import ChainSpec, load_spec
from pallets.staking import STAKING_POT, Parameters
from runtime.errors import ExitCode, OpenLedgerError
from runtime.types.primitives import OPEN

VALIDATORS_MAX: Final = 256
STAKE: Final = 100_000 * OPEN
ENDOWMENT: Final = 2_000_000 * OPEN
EXECUTOR_BOND: Final = 1_000 * OPEN
SERVER_BOND: Final = 1_000 * OPEN
NO_PROFILE: Final = "0x" + bytes(32).hex()
"""The development profile: whatever machine runs the chain. A genesis must not depend on the
machine that makes it, so the profiles of real machines are registered by root afterwards."""
STAKE_MIN: Final = Parameters().minimum_validator_bond
STAKING_FUNDS: Final = 1_000_000 * OPEN
TREASURY: Final = "0x" + b"modlopen/tre".ljust(32, b"\0").hex()
ISSUANCE: Final = 1_000_000_000 * OPEN


class DevnetSpecError(OpenLedgerError, ValueError):
    """A development network cannot be made like this; the message says what is possible."""

    exit_code = ExitCode.USAGE


def validator_uri(index: int) -> str:
    """Return the secret URI of validator `index`, counted from 0."""
    return f"//{NAMES[index]}" if index < len(NAMES) else f"//Validator{index + 1}"


def devnet_spec(
    validators: int,
    *,
    epoch_blocks: int = 50,
    epochs_per_era: int = 6,
    executors_per_job: int = 2,
    stakes: Sequence[int] = (),
    chain_id: str = "",
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> ChainSpec:
    """Return the spec of a network of so many validators, each an executor and a server too.

    An era is a number of epochs, at least 2. `stakes` in planck may differ. `overrides` are merged
    into the configs of pallets, for example `{"jobs": {"parameters": {"commit_blocks": 60}}}`.
    Raises DevnetSpecError.
    """
    if not 1 <= validators <= VALIDATORS_MAX:
        raise DevnetSpecError(f"A devnet has 1 to {VALIDATORS_MAX} validators, not {validators}.")
    given = tuple(stakes) or (STAKE,) * validators
    if len(given) != validators or not all(STAKE_MIN <= stake <= ENDOWMENT // 2 for stake in given):
        raise DevnetSpecError(
            f"{len(given)} stakes for {validators} validators: give one for each, of "
            f"{STAKE_MIN // OPEN} to {ENDOWMENT // 2 // OPEN} OPEN."
        )
    preset = load_spec("local")
    assert preset.pallets is not None, "presets are human"
    config = copy.deepcopy(dict(preset.pallets))
    uris = [validator_uri(index) for index in range(validators)]
    config["balances"] = {"accounts": _balances(uris)}
    config["session"] = {
        "epoch_blocks": epoch_blocks,
        "validators": [{"account": uri, "key": uri} for uri in uris],
    }
    config["staking"] = {
        "sessions_per_era": epochs_per_era,
        "stakers": [{"stash": uri, "bond": stake} for uri, stake in zip(uris, given, strict=True)],
        "parameters": {"validator_count": VALIDATORS_MAX},
    }
    config["jobs"] = _jobs(config, uris, min(executors_per_job, validators))
    config["inference"] = {
        "servers": [{"account": uri, "bond_planck": SERVER_BOND} for uri in uris]
    }
    for name, changes in (overrides or {}).items():
        config[name] = _merged(config.get(name, {}), changes)
    return replace(
        preset,
        name=f"OpenLedger Devnet of {validators}",
        id=chain_id or f"devnet-{validators}",
        chain_type="Local",
        pallets=config,
    )


def _jobs(config: Mapping[str, Any], uris: Sequence[str], executors_per_job: int) -> dict[str, Any]:
    """Make every validator an executor of the preset's bases, in its development profile."""
    preset = config["jobs"]["parameters"]
    return {
        "parameters": {
            "executors_per_job": executors_per_job,
            # One validator may be the server that a settlement judges, and is not drawn for it.
            "spare_executors": 1 if len(uris) > executors_per_job + 1 else 0,
            "may_execute_own": len(uris) <= executors_per_job,
            "assignment_blocks": 2,
            "decline_blocks": preset["decline_blocks"],
            "age_blocks": preset["age_blocks"],
        },
        "profiles": config["jobs"]["profiles"],
        "executors": [devnet_executor(config, uri) for uri in uris],
    }


def devnet_executor(
    config: Mapping[str, Any], uri: str, bond: int = EXECUTOR_BOND
) -> dict[str, Any]:
    """Return the executor of an account as the config of a chain spec has it."""
    bases = sorted(content for content, _ in config["models"]["bases"])
    return {"account": uri, "profile": NO_PROFILE, "bond": bond, "bases": bases}


def _balances(uris: Sequence[str]) -> list[list[Any]]:
    """Fund the six well-known names in both key types, all validators, and what pays stakers; the
    treasury has the rest, so that a devnet has as many OPEN as every chain."""
    funded = [f"{kind}://{name}" for name in NAMES for kind in ("ed25519", "sr25519")]
    funded += [f"ed25519:{uri}" for uri in uris[len(NAMES) :]]
    pots = [["0x" + STAKING_POT.hex(), STAKING_FUNDS]]
    pots.append([TREASURY, ISSUANCE - ENDOWMENT * len(funded) - STAKING_FUNDS])
    return [*([account, ENDOWMENT] for account in funded), *pots]


def _merged(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(config)
    for key, value in changes.items():
        former = merged.get(key)
        is_nested = isinstance(former, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(former, value) if is_nested else value  # type: ignore[arg-type]
    return merged
