"""An account becomes a validator from the command line, step by step or at once."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from node.client import Client
from node.keys import keystore
from node.keys.keystore import LIGHT_COST
from runtime.crypto import ss58
from runtime.crypto.keys import KeyKind, Keypair
from runtime.types.primitives import OPEN
from tests.node.commands.support.calling import Called, OpenLedger
from tests.node.commands.support.processes import running
from tests.node.commands.support.short_eras import SESSIONS_PER_ERA, mine, short_node, short_spec
from tests.node.support.live_node import LiveNode


@pytest.fixture(autouse=True)
def cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sealing takes a tenth of a second instead of a whole one."""
    monkeypatch.setattr(keystore.Keystore.add, "__defaults__", ("", LIGHT_COST))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with short_node(tmp_path_factory.mktemp("validator")) as running_node:
        yield running_node


@dataclass
class Operator:
    """Somebody with a funded account, a node's folder, a spec file and a password file."""

    openledger: OpenLedger
    folder: Path
    stash: str
    spec: str
    password: str

    def setup(self, *words: str) -> Called:
        return self.openledger("validator", "setup", *self.common, *words, "--json")

    @property
    def common(self) -> tuple[str, ...]:
        base_path = str(self.folder / "base")
        return ("--from", self.stash, "--chain", self.spec, "--base-path", base_path)

    @property
    def opened(self) -> tuple[str, ...]:
        return ("--password-file", self.password, "--session-password-file", self.password)

    def status(self) -> Any:
        return self.openledger.json("validator", "status", self.stash)


@pytest.fixture
def operator(openledger: OpenLedger, tmp_path: Path) -> Operator:
    password, spec = tmp_path / "password", tmp_path / "short.json"
    password.write_text("correct horse\n")
    spec.write_text(short_spec().to_json())
    words = ("key", "generate", "stash", "--password-file", str(password))
    address = openledger.json(*words)["address"]
    openledger.json("account", "transfer", address, "6000OPEN", "--from", "//Alice")
    return Operator(
        openledger=openledger,
        folder=tmp_path,
        stash="stash",
        spec=str(spec),
        password=str(password),
    )


def states(called: Called) -> list[str]:
    return [step["state"] for step in called.document["steps"]]


def test_setup_makes_a_validator_and_skips_what_is_done(operator: Operator, node: LiveNode) -> None:
    unit = operator.folder / "openledger.service"
    words = (*operator.opened, "--bond", "5000OPEN", "--commission", "3", "--unit", str(unit))
    done = operator.setup(*words)
    assert done.exit_code == 0, done.err
    assert states(done) == ["done"] * 4
    assert done.document["transaction"] is not None
    assert "ExecStart=" in unit.read_text()
    assert "--validator" in unit.read_text()

    standing = operator.status()
    first = standing["votes_from_epoch"]
    assert first == done.document["votes_from_epoch"]
    assert first % SESSIONS_PER_ERA == 0
    assert not standing["is_in_current_set"]
    assert f"can vote from epoch {first} on" in standing["sentence"]
    mine(node, first - 1)
    assert operator.status()["is_in_next_set"], "it is elected one epoch before it votes"
    mine(node, first)
    standing = operator.status()
    assert standing["voting_key"] == done.document["session_key"]
    assert standing["sentence"].startswith(f"It votes since epoch {first}")
    assert int(standing["stake_planck"]) == 5000 * OPEN
    assert standing["is_silent"] is None

    again = operator.setup("--bond", "5000OPEN", "--commission", "3")
    assert again.exit_code == 0, "nothing is left, so no password is needed"
    assert states(again) == ["done"] * 4
    assert again.document["transaction"] is None
    assert again.document["votes_from_epoch"] == first
    assert operator.setup(*words).exit_code == 0, "the unit file says the same and stays"


def test_setup_takes_up_where_it_was_interrupted(operator: Operator, node: LiveNode) -> None:
    opened = ("--password-file", operator.password)
    operator.openledger.json("stake", "bond", "2000OPEN", "--from", "stash", *opened)
    rehearsed = operator.setup("--bond", "3000OPEN", "--dry-run")
    assert rehearsed.exit_code == 0, "a dry run needs no password"
    assert states(rehearsed) == ["to do"] * 4
    assert int(rehearsed.document["fee_planck"]) > 0
    assert not (operator.folder / "base").exists(), "a dry run makes no key"
    assert operator.status()["registered_key"] is None

    done = operator.setup("--bond", "3000OPEN", *operator.opened)
    assert states(done) == ["done"] * 4
    staked = operator.openledger.json("stake", "status", "stash")
    assert int(staked["active_planck"]) == 3000 * OPEN
    assert staked["role"] == "validator"
    assert operator.status()["registered_key"] == done.document["session_key"]


def test_the_printed_line_starts_the_validator(operator: Operator) -> None:
    line = operator.setup(*operator.opened).document["node_start"]
    program, *words = shlex.split(line)
    assert program == "openledger"
    with running(*words, "--port", "0", "--p2p-port", "0") as process:
        with Client(process.document["url"]) as client:
            assert client.call("system_nodeRoles") == ["Authority"]
        assert process.stop() == 0


def test_a_new_key_counts_after_one_whole_epoch(operator: Operator, node: LiveNode) -> None:
    former = operator.setup(*operator.opened).document
    mine(node, former["votes_from_epoch"])
    base_path = ("--base-path", str(operator.folder / "base"), "--session-key", "second")
    words = ("validator", "keys", *base_path, "--password-file", operator.password)
    made = operator.openledger.json(*words)
    assert made["is_new"]
    assert not operator.openledger.json(*words)["is_new"]
    register = ("validator", "set-keys", "--from", "stash", *base_path)
    block = operator.openledger.json(*register, *operator.opened)["block_number"]
    standing = operator.status()
    assert standing["registered_key"] == made["public_key"]
    # Block n is the last of epoch n - 1, so the key is in the set that its own boundary queues.
    assert standing["votes_from_epoch"] == block + 1
    mine(node, block + 1)
    standing = operator.status()
    assert standing["voting_key"] == made["public_key"]
    assert standing["sentence"].startswith(f"It votes since epoch {block + 1}")


def test_a_session_key_is_encrypted_and_only_the_owner_reads_it(
    openledger: OpenLedger, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse")
    words = ("validator", "keys", "--base-path", str(tmp_path), "--password-file", str(password))
    made = openledger.json(*words)
    file = Path(made["file"])
    assert file.parent == tmp_path / "keys"
    assert file.stat().st_mode & 0o777 == 0o600
    pair = keystore.Keystore(file.parent).load("session", "correct horse")
    assert "0x" + pair.account.hex() == made["public_key"]
    assert pair.kind is KeyKind.ED25519


def test_what_an_account_without_a_bond_is_told(openledger: OpenLedger) -> None:
    standing = openledger.json("validator", "status", "//Eve")
    assert "does not stand for election" in standing["sentence"]
    assert standing["votes_from_epoch"] is None
    assert standing["stash"] == ss58.encode(Keypair.from_uri("//Eve").account)


def test_the_first_validator_votes_since_genesis(openledger: OpenLedger) -> None:
    standing = openledger.json("validator", "status", "//Alice")
    assert standing["is_in_current_set"]
    assert standing["is_in_next_set"]
    assert standing["missed"] == 0


def test_setup_asks_before_it_spends(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        stdin = type("Stdin", (), {"isatty": staticmethod(lambda: True)})

    monkeypatch.setattr("node.commands.staking.validator.sys", Terminal)
    words = ("validator", "setup", *operator.common, *operator.opened)
    called = operator.openledger(*words, typed="2000OPEN\n1.5\nn\n")
    assert called.exit_code == 2
    assert "commission 1.5 %" in called.err
    assert "Nothing was sent" in called.err
    assert operator.status()["registered_key"] is None
    called = operator.openledger(*words, typed="2000OPEN\n1.5\ny\n")
    assert called.exit_code == 0, called.err
    assert operator.openledger.json("stake", "status", "stash")["commission_percent"] == 1.5


@pytest.mark.parametrize(
    ("words", "exit_code", "sentence"),
    [
        (("--bond", "1OPEN"), 2, "A validator bonds at least 1,000 OPEN"),
        (("--bond", "6000OPEN"), 5, "for fees"),
        (("--commission", "200"), 2, "no percentage"),
        (("--chain", "dev"), 2, "not that of the spec"),
        (("--chain", "/nowhere.json"), 2, "cannot be read"),
        (("--session-key", ""), 2, "has a name"),
        (("--session-key", "//Alice"), 2, "belongs to another account"),
        (("--unit", "/nowhere/unit", "--session-key", "//Zoe"), 2, "does not exist"),
        (("--unit", "unit"), 2, "--session-password-file"),
        (("--account", "nokey"), 2, "There is no key 'nokey'"),
        (("--bootnode", "/ip4/1.2.3.4/tcp/1"), 2, "does not end in /p2p/ and a peer id"),
        ((), 6, "--password-file"),
    ],
)
def test_a_mistake_ends_with_a_sentence_and_spends_nothing(
    operator: Operator, words: tuple[str, ...], exit_code: int, sentence: str
) -> None:
    called = operator.setup(*words)
    assert called.exit_code == exit_code, called.err
    assert sentence in called.err
    assert operator.openledger.json("stake", "status", "stash")["role"] == "none"


def test_an_account_with_another_password_has_its_own_file(operator: Operator) -> None:
    other = operator.folder / "other"
    other.write_text("battery staple\n")
    keys = ("--keys", str(operator.folder / "base" / "keys"))
    operator.openledger.json("key", "generate", "payer", *keys, "--password-file", str(other))
    words = (*operator.opened, "--account", "payer", "--dry-run")
    line = operator.setup(*words).document["node_start"]
    assert f"--session-password-file {operator.password}" in line
    assert "--password-file ACCOUNT_PASSWORD_FILE" in line
    wrong = operator.setup(*words, "--account-password-file", operator.password)
    assert (wrong.exit_code, "cannot be unlocked" in wrong.err) == (6, True)
    right = operator.setup(*words, "--account-password-file", str(other))
    assert f"--password-file {other}" in right.document["node_start"]


def test_a_unit_file_of_another_validator_is_not_overwritten(operator: Operator) -> None:
    unit = operator.folder / "unit"
    unit.write_text("something else")
    called = operator.setup(*operator.opened, "--unit", str(unit))
    assert called.exit_code == 2
    assert "nothing was overwritten" in called.err
    assert unit.read_text() == "something else"


def test_keys_that_do_not_exist_or_do_not_fit_are_refused(operator: Operator) -> None:
    base_path = operator.folder / "base"
    words = ("validator", "set-keys", "--from", "stash", "--base-path", str(base_path))
    called = operator.openledger(*words, *operator.opened)
    assert called.exit_code == 2
    assert "validator keys" in called.err
    pair, _ = Keypair.generate(KeyKind.SR25519)
    keystore.Keystore(base_path / "keys").add(pair, "correct horse", "session")
    called = operator.openledger(*words, *operator.opened)
    assert called.exit_code == 2
    assert "is sr25519" in called.err
