"""Chain specs: presets build, raw and human give one hash, damage is refused with its place."""

from __future__ import annotations

import copy
import json
import random
import string
from pathlib import Path
from typing import Any

import pytest

from genesis import spec as spec_module
from genesis.spec import PRESETS, SPEC_SIZE_MAX, ChainSpecError, load_spec, parse_spec
from pallets import compose
from runtime.frame.state import Overlay
from runtime.trie.backend import MemoryBackend
from runtime.trie.trie import EMPTY_ROOT
from runtime.types.primitives import OPEN, ZERO_HASH
from tests.runtime.support.blocks import machine

MUTATIONS = 80
STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 2**200, 1.5, float("nan"), "", "x", "0x", "0xzz", "//Alice", "\ud800",
    "1.5 OPEN", [], [[]], {}, {"": 0}, [None], ["//Alice"], [["//Alice", -1]],
)  # fmt: skip


@pytest.fixture(autouse=True)
def _composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Composing the runtime takes longer than building a genesis with it."""
    monkeypatch.setattr(spec_module, "compose", machine)


def human() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(load_spec("dev").to_json())
    return document


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_build_and_are_the_same_chain_in_both_forms(preset: str) -> None:
    spec = load_spec(preset)
    genesis = spec.build()
    assert genesis.header.number == 0
    assert genesis.header.parent_hash == ZERO_HASH
    assert genesis.header.extrinsics_root == EMPTY_ROOT
    raw = spec.raw()
    assert raw.pallets is None
    for same in (raw, parse_spec(raw.to_json()), parse_spec(spec.to_json())):
        assert same.build().hash == genesis.hash
        assert (same.name, same.id, same.properties) == (spec.name, spec.id, spec.properties)
    assert parse_spec(raw.to_json()) == raw


def test_the_base_of_the_presets_is_the_model_that_is_shipped() -> None:
    from ml.base.content import content_hash

    shipped = "0x" + content_hash().hex()
    for spec in map(load_spec, PRESETS):
        assert spec.pallets is not None
        assert [entry[0] for entry in spec.pallets["models"]["bases"]] == [shipped]


def test_genesis_endows_who_the_spec_names() -> None:
    composed = compose()
    backend = MemoryBackend(dict(load_spec("dev").build().changes))
    with composed.on(Overlay(backend)):
        balances: Any = composed.pallets["Balances"]
        assert balances.total_issuance.get() == 1_000_000_000 * OPEN
        for pallet in composed.pallets.values():
            pallet.check_invariants()


def test_a_spec_is_loaded_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "chain.json"
    path.write_text(load_spec("dev").to_json())
    assert load_spec(str(path)).build().hash == load_spec("dev").build().hash


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(ChainSpecError, match="Name a JSON file"):
            load_spec(str(path))
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\0")
    with pytest.raises(ChainSpecError, match="binary"):
        load_spec(str(binary))
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(SPEC_SIZE_MAX + 1)
    with pytest.raises(ChainSpecError, match="larger"):
        load_spec(str(large))


DAMAGES: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "no JSON"),
    "deep nesting": ("[" * 100_000, "no JSON"),
    "no object": ("[]", "object"),
    "no genesis": ({"genesis": None}, "`genesis`"),
    "empty genesis": ({"genesis": {"runtimeGenesis": {"config": 5}}}, "neither"),
    "name": ({"name": 5}, "`name`"),
    "id": ({"id": None}, "`id`"),
    "id that leaves its folder": ({"id": "../../etc"}, "`id`"),
    "empty id": ({"id": ""}, "`id`"),
    "boot nodes": ({"bootNodes": [5]}, "`bootNodes`"),
    "properties": ({"properties": []}, "`properties`"),
    "raw": ({"genesis": {"raw": []}}, "`raw`"),
    "top": ({"genesis": {"raw": {"top": []}}}, "`top`"),
    "raw key": ({"genesis": {"raw": {"top": {"xx": "0x"}}}}, "'xx'"),
    "raw value": ({"genesis": {"raw": {"top": {"0x": 5}}}}, "5"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_refused_with_its_place(damage: str) -> None:
    change, place = DAMAGES[damage]
    text = change if isinstance(change, str) else json.dumps({**human(), **change})
    with pytest.raises(ChainSpecError, match=place):
        parse_spec(text, "the spec")


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown pallet": ({"magic": {}}, "magic"),
    "a pallet without genesis": ({"timestamp": {}}, "Timestamp"),
    "an unknown setting": ({"balances": {"account": []}}, "unknown account"),
    "a bad account": ({"balances": {"accounts": [["Alice", 1]]}}, r"accounts\[0\]\[0\]"),
    "a bad amount": ({"balances": {"accounts": [["//Alice", "x"]]}}, r"accounts\[0\]\[1\]"),
    "a tiny balance": ({"balances": {"accounts": [["//Alice", 1]]}}, "Balances"),
    "an account twice": ({"balances": {"accounts": [["//Alice", "1 OPEN"]] * 2}}, "twice"),
    "too much": ({"balances": {"accounts": [["//Alice", 2**127], ["//Bob", 2**127]]}}, "genesis"),
    "a config of another type": ({"sudo": []}, "sudo"),
}


@pytest.mark.parametrize("config", CONFIGS)
def test_a_pallet_that_cannot_be_configured_is_named(config: str) -> None:
    document = human()
    change, place = CONFIGS[config]
    document["genesis"]["runtimeGenesis"]["config"] |= change
    with pytest.raises(ChainSpecError, match=place) as error:
        parse_spec(json.dumps(document), "the spec")
    assert str(error.value).startswith("the spec")


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += places(inner, (*path, index))
    return found


def mutate(document: Any, source: random.Random) -> None:
    """Put something strange in, take something away, or rename something."""
    path = source.choice(places(document))
    holder = document
    for step in path[:-1]:
        holder = holder[step]
    kind = source.randrange(4)
    if kind == 0:
        del holder[path[-1]]
    elif kind == 1 and isinstance(holder, dict):
        holder[source.choice(string.ascii_letters)] = holder.pop(path[-1])
    else:
        holder[path[-1]] = copy.deepcopy(source.choice(STRANGE))


@pytest.mark.parametrize("form", ["human", "raw"])
def test_a_mutated_spec_builds_or_is_refused(form: str, scale: int) -> None:
    original = human() if form == "human" else json.loads(load_spec("dev").raw().to_json())
    for seed in range(MUTATIONS * scale):
        document = copy.deepcopy(original)
        source = random.Random(seed)
        for _ in range(source.randrange(1, 3)):
            mutate(document, source)
        try:
            parse_spec(json.dumps(document), "the spec").build()
        except ChainSpecError as error:
            assert str(error), seed  # noqa: PT017
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error


def test_a_spec_cut_short_or_with_a_flipped_byte_is_refused_or_another_chain() -> None:
    text, source = load_spec("dev").to_json(), random.Random(5)
    for _ in range(30):
        at = source.randrange(len(text))
        with pytest.raises(ChainSpecError):
            parse_spec(text[:at])
        flipped = text[:at] + chr(source.randrange(32, 127)) + text[at + 1 :]
        try:
            parse_spec(flipped).build()
        except ChainSpecError:
            continue
