"""Chain specs: what makes a chain this chain. JSON, human (pallet configs) or raw (storage).

Both forms build the same genesis state; `raw()` turns the first into the second. The genesis hash
is the hash of the header at height 0: zero parent, state root, empty extrinsics root and digest.
Source: Substrate's chain spec format, read leniently and written strictly.
"""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from genesis.values import ValueTextError, parse_value
from pallets import compose
from runtime.codec.scale import EncodeError
from runtime.errors import ExitCode, OpenLedgerError
from runtime.frame.dispatch import DispatchFailed, Error
from runtime.frame.state import Overlay
from runtime.trie.backend import MemoryBackend
from runtime.trie.trie import EMPTY_ROOT, V1, update
from runtime.types.primitives import ZERO_HASH, Digest, Hash, Header

SPEC_SIZE_MAX = 64 * 1024 * 1024
PRESETS = ("dev", "local")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ChainSpecError(OpenLedgerError, ValueError):
    """A chain spec cannot be read; the message names the place and what is expected there."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class GenesisState:
    """The state before the first block."""

    header: Header
    changes: Mapping[bytes, bytes] = field(repr=False)
    nodes: Mapping[bytes, bytes | None] = field(repr=False)

    @property
    def hash(self) -> Hash:
        """The genesis hash."""
        return self.header.hash


@dataclass(frozen=True, slots=True)
class ChainSpec:
    """A chain spec. Exactly one of `pallets` (human) and `top` (raw) is not None."""

    name: str
    id: str
    chain_type: str
    boot_nodes: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    pallets: Mapping[str, Any] | None = None
    top: Mapping[bytes, bytes] | None = None

    def build(self) -> GenesisState:
        """Build the genesis state. Raises ChainSpecError."""
        backend = MemoryBackend()
        top = dict(self.top) if self.top is not None else _build_pallets(self.pallets or {})
        changes = dict(sorted(top.items()))
        difference = update(backend, changes.items(), V1)
        root = Hash(difference.root)
        header = Header(
            parent_hash=ZERO_HASH,
            number=0,
            state_root=root,
            extrinsics_root=Hash(EMPTY_ROOT),
            digest=Digest(()),
        )
        return GenesisState(header, changes, difference.nodes)

    def raw(self) -> ChainSpec:
        """Return the same chain with its storage written out."""
        return ChainSpec(
            name=self.name,
            id=self.id,
            chain_type=self.chain_type,
            boot_nodes=self.boot_nodes,
            properties=self.properties,
            top=self.build().changes,
        )

    def to_json(self) -> str:
        """Write the spec as JSON."""
        genesis: dict[str, Any] = (
            {"runtimeGenesis": {"config": self.pallets}}
            if self.top is None
            else {"raw": {"top": {_hex(k): _hex(v) for k, v in sorted(self.top.items())}}}
        )
        return json.dumps(
            {
                "name": self.name,
                "id": self.id,
                "chainType": self.chain_type,
                "bootNodes": list(self.boot_nodes),
                "properties": dict(self.properties),
                "genesis": genesis,
            },
            indent=2,
        )


def load_spec(source: str) -> ChainSpec:
    """Load a preset by name, or a JSON file by path. Raises ChainSpecError."""
    if source in PRESETS:
        text = resources.files("genesis").joinpath(f"presets/{source}.json").read_text()
        return parse_spec(text, source)
    path = Path(source)
    try:
        if path.stat().st_size > SPEC_SIZE_MAX:
            raise ChainSpecError(f"{source} is larger than {SPEC_SIZE_MAX} bytes")
        return parse_spec(path.read_text(encoding="utf-8"), source)
    except (OSError, UnicodeDecodeError) as error:
        raise ChainSpecError(
            f"The chain spec {source} cannot be read: {error}. "
            f"Name a JSON file or one of {', '.join(PRESETS)}."
        ) from error


def parse_spec(text: str, source: str = "chain spec") -> ChainSpec:
    """Parse a chain spec from JSON. Raises ChainSpecError."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ChainSpecError(f"{source} is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise ChainSpecError(f"{source}: a JSON object is expected")
    genesis = _member(data, "genesis", dict, source)
    common = {
        "name": _member(data, "name", str, source),
        "id": _id(data, source),
        "chain_type": _member(data, "chainType", str, source, "Live"),
        "boot_nodes": _boot_nodes(data, source),
        "properties": _member(data, "properties", dict, source, {}),
    }
    if "raw" in genesis:
        top = _member(_member(genesis, "raw", dict, source), "top", dict, source)
        return ChainSpec(
            **common, top={_unhex(k, source): _unhex(v, source) for k, v in top.items()}
        )
    runtime = genesis.get("runtimeGenesis", genesis.get("runtime", genesis))
    config = runtime.get("config", runtime) if isinstance(runtime, dict) else None
    if not isinstance(config, dict):
        raise ChainSpecError(f"{source}: genesis holds neither `raw` nor `runtimeGenesis.config`")
    spec = ChainSpec(**common, pallets=config)
    try:
        spec.build()
    except ChainSpecError as error:
        raise ChainSpecError(f"{source}: {error}") from error
    return spec


def _build_pallets(config: Mapping[str, Any]) -> dict[bytes, bytes]:
    machine = compose()
    unknown = sorted(set(config) - {_key(name) for name in machine.pallets})
    if unknown:
        raise ChainSpecError(f"genesis configures {', '.join(unknown)}, which are no pallets")
    overlay = Overlay(MemoryBackend())
    with machine.on(overlay):
        for name, pallet in machine.pallets.items():
            build = getattr(pallet, "build_genesis", None)
            if build is None:
                if _key(name) in config:
                    raise ChainSpecError(f"the pallet {name} has no genesis configuration")
                continue
            _run(name, build, config.get(_key(name), {}))
        for name, pallet in machine.pallets.items():
            try:
                pallet.check_invariants()
            except AssertionError as error:
                raise ChainSpecError(f"genesis of the pallet {name}: {error}") from error
        try:
            changes = overlay.changes()
        except EncodeError as error:
            raise ChainSpecError(f"genesis has a value that does not fit: {error}") from error
    return {key: value for key, value in changes.items() if value is not None}


def _run(name: str, build: Any, config: Any) -> None:
    hints = typing.get_type_hints(build, include_extras=True)
    parameters = list(inspect.signature(build).parameters)
    try:
        if parameters:
            build(parse_value(hints[parameters[0]], config, _key(name)))
        else:
            build()
    except (ValueTextError, AssertionError, DispatchFailed, Error) as error:
        raise ChainSpecError(f"genesis of the pallet {name}: {error}") from error


def _key(pallet: str) -> str:
    return pallet[0].lower() + pallet[1:]


def _member(data: Any, name: str, kind: type, source: str, default: Any = None) -> Any:
    value = data.get(name, default)
    if not isinstance(value, kind):
        raise ChainSpecError(f"{source}: `{name}` must be a {kind.__name__}")
    return value


def _id(data: Any, source: str) -> str:
    """The id names a folder, so it is a plain word."""
    name: str = _member(data, "id", str, source)
    if not _ID.fullmatch(name):
        raise ChainSpecError(f"{source}: `id` must be 1 to 64 of a-z, A-Z, 0-9, _ and -")
    return name


def _boot_nodes(data: Any, source: str) -> tuple[str, ...]:
    nodes = _member(data, "bootNodes", list, source, [])
    if not all(isinstance(node, str) for node in nodes):
        raise ChainSpecError(f"{source}: `bootNodes` must be a list of texts")
    return tuple(nodes)


def _unhex(text: Any, source: str) -> bytes:
    try:
        if not text.startswith("0x"):
            raise ValueError("no 0x")
        return bytes.fromhex(text[2:])
    except (AttributeError, ValueError) as error:
        raise ChainSpecError(f"{source}: {text!r:.60} is no 0x hex") from error


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


__all__ = ["ChainSpec", "ChainSpecError", "GenesisState", "load_spec", "parse_spec"]
