"""polkadot.js, unmodified from npm: the derive calls behind the pages of Apps, over real nodes.

The script calls what the explorer, the staking and the session pages call; here its answers are
compared with what our own client reads of the same chain. It needs no web page: Apps is a display
of these calls.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.client import Client, Included, Wait
from node.demo.node_process import NodeProcess
from node.devnet.cluster import Cluster
from node.devnet.ledger import height_of_era
from node.devnet.state import Settings
from pallets.staking.records import Payee
from runtime.crypto import ss58
from runtime.crypto.keys import KeyKind, Keypair
from runtime.types.primitives import OPEN, AccountId, Id
from tests.clients.support.height import wait_for_blocks
from tests.clients.support.npm import installed

HERE = Path(__file__).resolve().parent / "polkadot_js"
RUN_SECONDS = 180
SHORT_EPOCHS = Settings(block_time_ms=200, epoch_blocks=5, executors=False, serve=False)
FERDIE = Keypair.from_uri("//Ferdie", KeyKind.SR25519)
NOMINATOR = AccountId(FERDIE.account)
BOND, UNBONDED = 5_000 * OPEN, 1_000 * OPEN
ERAS = 3


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    """A folder with the packages, installed once; skips where they cannot be."""
    return installed(request, HERE)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two validators and a nominator, some eras on; then the chain stands still."""
    where = tmp_path_factory.mktemp("devnet") / "pages"
    network = Cluster.up(where, "pages", 2, SHORT_EPOCHS)
    try:
        with network.client(0) as client:
            send(client, "bond", value=BOND, payee=Payee.Staked)
            targets = [Id(entry.stash) for entry in client.api("StakingApi_validator_entries")]
            send(client, "nominate", targets=tuple(targets[:1]))
            ahead = height_of_era(client, ERAS) - network.finalized(0)
        network.advance(ahead)
        with network.client(0) as client:
            send(client, "unbond", value=UNBONDED)
        # Without one of two there is no quorum: what all calls see is one state.
        network.kill(1)
        yield network
    finally:
        for node in network.members:
            node.kill()


def send(client: Client, name: str, /, **arguments: Any) -> None:
    call = client.make_call("Staking", name, **arguments)
    included = client.submit(client.sign(call, FERDIE), Wait.FINAL)
    assert isinstance(included, Included)
    assert included.error is None


@pytest.fixture(scope="module")
def pages(folder: Path, cluster: Cluster) -> dict[str, Any]:
    """What the pages show."""
    return walk(folder, cluster.url(0))


def walk(folder: Path, url: str) -> dict[str, Any]:
    done = subprocess.run(
        ["node", folder / "derive.mjs", url, ss58.encode(NOMINATOR)],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_every_derive_call_behind_explorer_staking_and_session_pages_is_answered(
    pages: dict[str, Any],
) -> None:
    rooms = {name.partition(".")[0] for name in pages["walked"]}
    assert {"chain", "session", "staking"} <= rooms
    assert len(set(pages["walked"])) >= 48


def test_the_explorer_names_the_author_of_every_block(
    pages: dict[str, Any], cluster: Cluster
) -> None:
    authors = pages["explorer"]["authors"]
    assert len(authors) >= ERAS * 30
    with cluster.client(0) as client:
        for number, author in authors.items():
            block = client.header(client.block_hash(int(number))).hash
            seen = client.query("Authorship", "block_author", at=block)
            assert author == ss58.encode(seen), number
    shown = pages["explorer"]
    for page in ("headAuthor", "headerAuthor", "blockAuthor", "newBlockAuthor", "byNumberAuthor"):
        assert shown[page] in authors.values(), page


def test_the_pages_work_on_a_development_node_as_well(folder: Path, tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "--no-executor") as node:
        wait_for_blocks(node.url)
        shown = walk(folder, node.url)
        with Client(node.url) as client:
            account = client.call("openledger_status")["account"]
    assert set(shown["explorer"]["authors"].values()) == {account}
    assert shown["explorer"]["headAuthor"] == account
    assert len(shown["staking"]["elected"]) == 1


def test_the_staking_page_shows_validators_their_stake_and_their_nominators(
    pages: dict[str, Any], cluster: Cluster
) -> None:
    shown = pages["staking"]
    with cluster.client(0) as client:
        era = client.api("StakingApi_era").active
        entries = {ss58.encode(e.stash): e for e in client.api("StakingApi_validator_entries")}
        assert set(shown["validators"]) == set(entries) == set(shown["overview"])
        assert {row["account"] for row in shown["elected"]} == set(entries)
        for row in shown["elected"]:
            stash = AccountId(ss58.decode(row["account"]))
            exposure = client.api("StakingApi_exposure", era, stash)
            ledger = client.api("StakingApi_ledger_of", stash)
            assert row["controller"] == row["account"]
            assert (row["exposed"], row["own"]) == (str(exposure.total), str(exposure.own))
            assert (row["active"], row["total"]) == (str(ledger.active), str(ledger.total))
            assert row["nominators"] == [
                [ss58.encode(other.who), str(other.value)] for other in exposure.others
            ]
        ledger = client.api("StakingApi_ledger_of", NOMINATOR)
    backed = [row for row in shown["elected"] if row["nominators"]]
    assert [row["nominators"][0][0] for row in backed] == [ss58.encode(NOMINATOR)]
    assert shown["nominating"] == shown["own"]["nominators"] == [backed[0]["account"]]
    assert shown["own"]["active"] == str(ledger.active)
    ((_, unlocking),) = shown["own"]["unlocking"]
    assert unlocking == str(UNBONDED)
    assert shown["own"]["redeemable"] == "0"


def test_past_eras_show_points_terms_and_pay_and_nothing_has_to_be_claimed(
    pages: dict[str, Any], cluster: Cluster
) -> None:
    shown = pages["staking"]
    assert shown["eras"] == list(range(pages["session"]["activeEra"]))
    assert len(shown["eras"]) >= ERAS
    with cluster.client(0) as client:
        for era in shown["eras"]:
            points = client.query("Staking", "eras_reward_points", era).total
            paid = client.query("Staking", "eras_validator_reward", era)
            assert shown["erasPoints"][era] == str(points) != "0"
            assert shown["erasRewards"][era] == str(paid) != "0"
            assert shown["erasPrefs"][era] == 2
            assert 0 < shown["stakerPoints"][era] < points
    assert shown["rewards"] > 0
    assert shown["unclaimed"] == 0


def test_the_session_page_shows_epoch_era_and_seats(
    pages: dict[str, Any], cluster: Cluster
) -> None:
    shown = pages["session"]
    with cluster.client(0) as client:
        era = client.api("StakingApi_era")
        info = client.query("Staking", "active_era")
        epoch = client.query("Session", "current_index")
        seats = client.query("Staking", "parameters").validator_count
        queued = client.api("SessionApi_next_authorities").authorities
    assert (shown["activeEra"], shown["currentEra"]) == (era.active, era.planned)
    assert shown["activeEraStart"] == info.start
    assert shown["activeEraStart"] is not None
    assert shown["currentIndex"] == shown["infoIndex"] == shown["progressIndex"] == epoch
    assert shown["validatorCount"] == seats
    keys = {"0x" + member.key.hex() for member in queued}
    assert set(pages["staking"]["sessionKeys"]) <= keys
    assert set(pages["staking"]["nextSessionKeys"]) <= keys
    assert pages["staking"]["sessionKeys"]
