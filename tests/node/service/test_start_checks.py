"""What the check of a configuration finds is what the start refuses, in the same words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.write_ahead_log import write_log
from genesis.spec import load_spec
from node.keys.node_keys import load_peer_seed
from node.keys.vote_signer import history_path
from node.operations.config import ConfigError, NodeConfig, Sealing
from node.operations.data_folder import chain_folder, consensus_folder, no_vote_path
from node.service.start_checks import public_addresses, start_problems
from p2p.transport.transport import peer_id_of
from runtime.crypto.keys import Keypair
from tests.node.commands.support.calling import OpenLedger
from tests.node.commands.support.processes import finished

OTHER = "/ip4/203.0.113.5/tcp/1/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return NodeConfig(
        base_path=tmp_path / "base", sealing=Sealing.CONSENSUS, validator=True, rpc_port=0,
        p2p_port=0,
    )  # fmt: skip


def folder_of(config: NodeConfig) -> Path:
    folder = chain_folder(config.base_path, "dev")
    consensus_folder(folder).mkdir(parents=True)
    return folder


def test_a_node_that_would_start_has_no_problem_and_nothing_is_made(config: NodeConfig) -> None:
    assert start_problems(config) == ()
    assert not config.base_path.exists()


def test_each_cause_has_its_sentence(config: NodeConfig, tmp_path: Path) -> None:
    folder = folder_of(config)
    no_vote_path(folder).write_text("it was moved\n")
    damaged = bytearray(write_log([b"one", b"two"]))
    damaged[0] ^= 1
    key = Keypair.from_uri("//Alice").account
    history_path(consensus_folder(folder), key).write_bytes(damaged)
    spec = json.loads(load_spec("dev").to_json())
    spec["bootNodes"] = ["/ip4/203.0.113.5/tcp/1"]
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    problems = start_problems(
        replace(
            config,
            chain=str(tmp_path / "spec.json"),
            p2p_host="nosuch.invalid",
            public_addresses=(OTHER,),
        )
    )
    expected = (
        "damaged",
        "bootNodes of the",
        "is another node's",
        "nosuch.invalid",
        "it was moved",
    )
    assert len(problems) == len(expected), problems
    for problem, part in zip(problems, expected, strict=True):
        assert part in problem


def test_a_node_that_follows_or_stays_alone_is_not_asked_for_what_it_does_not_use(
    config: NodeConfig,
) -> None:
    no_vote_path(folder_of(config)).write_text("it was moved\n")
    for other in (replace(config, validator=False), replace(config, sealing=Sealing.INSTANT)):
        assert start_problems(other) == ()
    assert start_problems(config) != ()


def test_a_public_address_may_name_this_node(config: NodeConfig) -> None:
    own = peer_id_of(Keypair.from_seed(load_peer_seed(folder_of(config))).account)
    text = f"/ip4/203.0.113.5/tcp/1/p2p/{own}"
    named = replace(config, public_addresses=(text, "/ip4/203.0.113.6/tcp/1"))
    assert start_problems(named) == ()
    assert public_addresses(named, own) == (text, f"/ip4/203.0.113.6/tcp/1/p2p/{own}")
    with pytest.raises(ConfigError, match="made by its first start"):
        public_addresses(named, None)


@pytest.mark.parametrize(
    "text",
    [
        f'public_addresses = ["{OTHER}"]',
        'p2p_host = "nosuch.invalid"',
        'validator = true\nsession_key = "nobody"',
        'sealing = "instant"\ncontrol = true',
    ],
)
def test_the_check_and_the_start_refuse_alike(tmp_path: Path, text: str) -> None:
    file = tmp_path / "node.toml"
    sealing = "" if "sealing" in text else 'sealing = "consensus"\n'
    file.write_text(f'base_path = "{tmp_path}"\nrpc_port = 0\np2p_port = 0\n{sealing}{text}\n')
    called = OpenLedger("ws://127.0.0.1:1", tmp_path)("config", "check", "--config", str(file))
    started = finished("node", "start", "--config", str(file))
    assert (called.exit_code, started.returncode) == (2, 2)
    assert called.err.splitlines()[-1].split(":")[0] in started.stderr
