"""Specs of development networks: N validators that everybody can derive."""

from __future__ import annotations

from typing import Any

import pytest

from genesis import spec as spec_module
from genesis.accounts import parse_account
from genesis.devnet import STAKE, DevnetSpecError, devnet_spec, validator_uri
from genesis.spec import ChainSpec, ChainSpecError, load_spec, parse_spec
from pallets.jobs import Jobs
from runtime.codec.scale import codec
from runtime.crypto.keys import Keypair
from runtime.frame.executive import Executive
from runtime.frame.state import Overlay
from runtime.shared.finality import ENGINE, AuthoritySet, Claim, next_set_of
from runtime.shared.leaders import schedule_of
from runtime.trie.backend import MemoryBackend
from runtime.types.primitives import OPEN, Hash, PreRuntime
from tests.runtime.support.blocks import machine


@pytest.fixture(autouse=True)
def _composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec_module, "compose", machine)


def read(spec: ChainSpec, pallet: str, item: str) -> Any:
    """Return a value of the genesis state."""
    composed = machine()
    with composed.on(Overlay(MemoryBackend(dict(spec.build().changes)))):
        return getattr(composed.pallets[pallet], item).get()


def first_set(spec: ChainSpec) -> AuthoritySet:
    found: AuthoritySet = read(spec, "Session", "authorities")
    return found


@pytest.mark.parametrize("count", [1, 4, 7, 30])
def test_each_validator_has_a_stash_a_key_a_stake_and_an_executor(count: int) -> None:
    spec = devnet_spec(count)
    authorities = first_set(spec).authorities
    expected = {Keypair.from_uri(validator_uri(index)).account for index in range(count)}
    assert {one.account for one in authorities} == expected
    assert {one.key for one in authorities} == expected
    assert all(one.weight == STAKE for one in authorities)
    assert set(read(spec, "Jobs", "executor_accounts")) == expected
    assert read(spec, "Balances", "total_issuance") == 1_000_000_000 * OPEN
    assert read(spec, "Sudo", "key") == parse_account("//Alice")


def test_names_go_on_after_the_well_known_ones() -> None:
    names = [validator_uri(index) for index in range(8)]
    assert names[0] == "//Alice"
    assert names[5:] == ["//Ferdie", "//Validator7", "//Validator8"]


def test_stakes_may_differ() -> None:
    spec = devnet_spec(3, stakes=(100_000 * OPEN, 200_000 * OPEN, 400_000 * OPEN))
    weights = {one.account: one.weight for one in first_set(spec).authorities}
    assert [weights[parse_account(validator_uri(index))] // OPEN for index in range(3)] == [
        100_000,
        200_000,
        400_000,
    ]


def test_the_length_of_epochs_and_the_executors_of_a_job_are_settings() -> None:
    spec = devnet_spec(4, epoch_blocks=7, executors_per_job=3)
    assert read(spec, "Session", "epoch_blocks") == 7
    assert read(spec, "Jobs", "parameters").executors_per_job == 3
    assert read(devnet_spec(1), "Jobs", "parameters").executors_per_job == 1


def test_a_devnet_has_a_spare_executor_where_there_are_enough() -> None:
    found = [read(devnet_spec(count), "Jobs", "parameters") for count in (1, 2, 3, 4)]
    assert [parameters.spare_executors for parameters in found] == [0, 0, 0, 1]
    assert [parameters.may_execute_own for parameters in found] == [True, True, False, False]


def test_the_executors_of_a_devnet_have_its_base_and_a_registered_profile() -> None:
    spec, composed = devnet_spec(2), machine()
    bases = sorted(content for content, _ in (spec.pallets or {})["models"]["bases"])
    with composed.on(Overlay(MemoryBackend(dict(spec.build().changes)))):
        jobs = composed.pallet(Jobs)
        for entry in jobs.executors():
            assert ["0x" + base.hex() for base in entry.executor.bases] == bases
            assert entry.executor.profile in jobs.profiles


def test_the_configs_of_pallets_can_be_overridden() -> None:
    spec = devnet_spec(2, overrides={"jobs": {"parameters": {"commit_blocks": 60}}})
    parameters = read(spec, "Jobs", "parameters")
    assert (parameters.commit_blocks, parameters.executors_per_job) == (60, 2)
    with pytest.raises(ChainSpecError, match="magic"):
        devnet_spec(1, overrides={"magic": {}}).build()


def test_a_devnet_survives_its_file() -> None:
    spec = devnet_spec(3, chain_id="mine")
    assert (spec.id, spec.chain_type) == ("mine", "Local")
    again = parse_spec(spec.to_json())
    assert again == spec
    assert again.build().hash == spec.build().hash
    assert parse_spec(spec.raw().to_json()).build().hash == spec.build().hash


def test_devnets_of_different_size_are_different_chains() -> None:
    specs = [devnet_spec(count) for count in (1, 2, 3)]
    assert len({spec.id for spec in specs}) == len({spec.build().hash for spec in specs}) == 3


@pytest.mark.parametrize("count", [0, -1, 257])
def test_a_devnet_has_a_bounded_number_of_validators(count: int) -> None:
    with pytest.raises(DevnetSpecError, match="1 to 256"):
        devnet_spec(count)


@pytest.mark.parametrize("stakes", [(OPEN,), (OPEN, 0), (OPEN, 10**9 * OPEN)])
def test_stakes_that_do_not_fit_are_refused(stakes: tuple[int, ...]) -> None:
    with pytest.raises(DevnetSpecError, match="2 validators"):
        devnet_spec(2, stakes=stakes)


def test_a_devnet_goes_from_epoch_to_epoch_and_from_era_to_era() -> None:
    genesis = devnet_spec(4, epoch_blocks=3, epochs_per_era=2).build()
    composed = machine()
    executive, state = Executive(composed), MemoryBackend(dict(genesis.changes))
    state.apply({}, genesis.nodes)
    pallets: Any = composed.pallets
    header, secret = genesis.header, b"secret"
    for number in range(1, 25):
        epoch, view = (number - 1) // 3, 2 * ((number - 1) % 3) + 2  # each second view is skipped
        with composed.on(Overlay(state)):
            authorities = pallets["Session"].authorities.get()
            leader = authorities.authorities[schedule_of(authorities).leader(view)].account
            calls = pallets["Randomness"].contribution(leader, secret + leader)
        claim = codec(Claim).encode(Claim(epoch, view, Hash(bytes(32))))
        inherents = [composed.call("Timestamp", "set", now=1_000 * number), *calls]
        raws = [composed.extrinsics.inherent(call) for call in inherents]
        built = executive.build(state, header, (PreRuntime(ENGINE, claim),), raws, ())
        assert executive.execute(state, built.header, raws, header).header == built.header
        assert (next_set_of(built.header) is not None) == (number % 3 == 0)
        state.apply(built.changes, built.nodes)
        header = built.header
        with composed.on(Overlay(state)):
            for pallet in pallets.values():
                pallet.check_invariants()
            if number % 3 == 0:
                assert pallets["Session"].authorities.get().hash == next_set_of(header)
    with composed.on(Overlay(state)):
        done = pallets["Authorship"].performance()
        assert pallets["Staking"].active() == 4
        assert pallets["Randomness"].revealed_at.get() == 24
    assert sum(one.authored for one in done) == sum(one.missed for one in done) == 24


def test_the_development_chain_has_one_validator_and_the_local_one_none() -> None:
    alice = parse_account("//Alice")
    assert [one.account for one in first_set(load_spec("dev")).authorities] == [alice]
    assert first_set(load_spec("local")).authorities == ()
