"""Exit codes: each error that reaches a person has one, and no move of a module changes it."""

from __future__ import annotations

import errno
import importlib
import json
import os
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Final

import pytest

import consensus
import genesis
import ml
import node
import p2p
import runtime
from node.commands.base.exit_codes import errors_as_exit_codes, exit_code_of
from node.commands.base.output import Output
from node.commands.staking.validator_start import UNIT
from node.storage.errors import DatabaseWriteError
from runtime.errors import ExitCode, OpenLedgerError
from tests.conftest import REPOSITORY

CODES: Final = {
    "ClientError": 1,
    "InsufficientFundsError": 5,
    "UsageError": 2,
    "UnreachableError": 3,
    "WrongNodeError": 3,
    "MayStillLandError": 4,
    "LockedKeyError": 6,
    "KeyNotFoundError": 2,
    "KeyExistsError": 2,
    "EmptyPasswordError": 2,
    "KeystoreError": 6,
    "WrongPasswordError": 6,
    "AccountTextError": 2,
    "ValueTextError": 2,
    "ChainSpecError": 2,
    "PhraseError": 2,
    "SeedError": 2,
    "DerivationError": 2,
    "EncodeError": 2,
    "DecodeError": 2,
    "InvalidBlockError": 1,
    "BodyRefusedError": 1,
    "JustificationError": 1,
    "ConfigError": 2,
    "DevnetError": 2,
    "NodeStartError": 1,
    "NodeStopError": 1,
    "ControlError": 3,
    "NotFinalInTimeError": 4,
    "ForkError": 1,
    "ControlRefusedError": 2,
    "NoAuthoritiesError": 2,
    "DoppelgangerError": 7,
    "SignerError": 2,
    "ConflictingBallotError": 2,
    "DamagedLogError": 8,
    "TransportError": 2,
    "DialError": 2,
    "DatabaseError": 2,
    "DiskFullError": 9,
    "DatabaseDamagedError": 8,
    "DiskLowError": 9,
    "WriteFailedError": 9,
    "ReceiptStoreDamagedError": 8,
    "DamagedHistoryError": 8,
    "DamagedKeyFileError": 8,
    "DevnetFileError": 8,
    "DamagedBlockFileError": 8,
    "LockedNodeKeyError": 6,
    "ChainError": 2,
    "UnknownBlockError": 2,
    "WrongChainError": 2,
    "ListenError": 2,
    "BaseNotFoundError": 2,
    "BaseWithoutSafetensorsError": 2,
    "AdapterRefusedError": 1,
    "AdapterIsPickleError": 1,
    "InputMissingError": 1,
    "InputCorruptError": 1,
    "ProofError": 1,
    "FileRefusedError": 2,
    "LineRefusedError": 2,
}
"""By class name: what scripts of operators rely on."""

HANDLED: Final = {
    "node.authoring.sealer": "node/rpc/namespaces/engine.py answers with it",
    "node.chain.fork_tree": "the chain raises UnfinalizedLimitError",
    "node.chain.import_checks": "the engine runner waits",
    "node.client.answer_events": "the client raises UnreachableError",
    "node.client.transport_websocket": "the client raises MayStillLandError",
    "node.demo.node_process": "the story raises StoryFailedError",
    "node.demo.stage": "the demo prints it",
    "node.jobs.answer_store": "the executor computes again",
    "node.jobs.epoch_inputs": "the executor waits, or reports it on chain",
    "node.jobs.executor": "the executor reports a failure on chain",
    "node.jobs.executor_process": "the executor reports a failure on chain",
    "node.jobs.inputs": "the executor reports a failure on chain",
    "node.keys.sealed_box": "the executor reports that the texts are withheld",
    "node.keys.remote_signer": "the connection ends",
    "node.rpc.blob_routes": "an HTTP status",
    "node.rpc.body_timeout": "an HTTP status",
    "node.rpc.errors": "a JSON-RPC error",
    "node.rpc.feedback_routes": "an HTTP status",
    "node.rpc.follow": "the follow ends",
    "node.rpc.session": "the session ends",
    "node.service.control_socket": "the socket answers with it",
    "node.rpc.dispatcher": "a JSON-RPC error",
    "node.serving.epoch_closer": "a JSON-RPC error or a log line",
    "node.serving.epoch_files": "a log line",
    "node.serving.text_shower": "a log line",
    "node.storage.blob_errors": "an HTTP status or a stalled job",
    "node.storage.log_file": "an OSError, which has an exit code",
    "node.storage.receipt_store": "a log line: an answer that is not recorded is not owed",
    "node.sync.block_sync": "a log line, and the peer is judged later",
    "node.sync.blob_fetcher": "a stalled job",
    "node.transactions.errors": "a JSON-RPC error",
}
"""Modules with errors that reach no person as such, and what becomes of them."""


def error_classes(*packages: ModuleType) -> Iterator[type[Exception]]:
    """Every exception class that the modules of some packages define."""
    found: dict[type[Exception], None] = {}
    for package in packages:
        for file in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for member in vars(importlib.import_module(file.name)).values():
                is_error = isinstance(member, type) and issubclass(member, Exception)
                if is_error and member.__module__ == file.name:
                    found[member] = None
    yield from found


OWN: Final = list(error_classes(genesis, node))
ALL: Final = [*OWN, *error_classes(consensus, ml, p2p, runtime)]


@pytest.mark.parametrize("cls", OWN, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_an_error_has_an_exit_code_or_is_handled(cls: type[Exception]) -> None:
    if issubclass(cls, OpenLedgerError):
        assert cls.exit_code in set(ExitCode) - {ExitCode.OK, ExitCode.STOPPED}
    else:
        assert cls.__module__ in HANDLED, "derive it from OpenLedgerError, or say who handles it"


def test_only_modules_with_handled_errors_are_listed() -> None:
    handled = {cls.__module__ for cls in OWN if not issubclass(cls, OpenLedgerError)}
    assert handled == set(HANDLED)


@pytest.mark.parametrize("name", CODES)
def test_an_exit_code_stays_as_it_was(name: str) -> None:
    classes = [cls for cls in ALL if cls.__name__ == name and issubclass(cls, OpenLedgerError)]
    assert classes, "the class is gone or has another name: scripts see the name as `kind`"
    assert {int(cls.exit_code) for cls in classes} == {CODES[name]}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_disk_that_is_full_or_fails_has_a_code_of_its_own(number: int) -> None:
    assert exit_code_of(OSError(number, os.strerror(number))) is ExitCode.DISK


def test_the_unit_of_a_validator_starts_it_again_unless_that_is_wrong_or_useless() -> None:
    line = next(line for line in UNIT.splitlines() if line.startswith("RestartPreventExitStatus="))
    final = {ExitCode(int(code)) for code in line.partition("=")[2].split()}
    assert final == {ExitCode.USAGE, ExitCode.LOCKED, ExitCode.DOPPELGANGER, ExitCode.DATA}


def test_every_exit_code_stands_in_the_readme() -> None:
    text = (REPOSITORY / "README.md").read_text()
    table = text[text.index("exit code by class (") :].split(")")[0]
    numbers = {
        int(word) for word in table.replace("(", " ").replace("\n", " ").split() if word.isdigit()
    }
    assert numbers == set(ExitCode)


def test_a_refused_path_is_a_usage_error_and_a_bug_has_no_exit_code() -> None:
    assert exit_code_of(PermissionError(13, "Permission denied")) is ExitCode.USAGE


def test_the_unit_of_a_validator_starts_it_again_after_a_failed_write() -> None:
    line = next(line for line in UNIT.splitlines() if line.startswith("RestartPreventExitStatus="))
    final = {int(code) for code in line.partition("=")[2].split()}
    failed = [cls for cls in OWN if issubclass(cls, DatabaseWriteError)]
    assert {int(cls.exit_code) for cls in failed} & final == set()


def test_an_argument_that_is_no_unicode_text_is_a_usage_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped, errors_as_exit_codes(Output(as_json=False)):
        "wh\udcff?".encode()
    assert stopped.value.code == ExitCode.USAGE
    assert "is no Unicode text" in capsys.readouterr().err


def test_a_bug_has_no_exit_code() -> None:
    assert exit_code_of(KeyError("bug")) is None


def test_an_expected_error_is_one_sentence_and_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    class ForeignError(OpenLedgerError):
        exit_code = ExitCode.FUNDS

    with pytest.raises(SystemExit) as ended, errors_as_exit_codes(Output(as_json=True)):
        raise ForeignError("What, why, what next.")
    assert ended.value.code == 5
    problem = json.loads(capsys.readouterr().out)["error"]
    assert problem == {"kind": "ForeignError", "message": "What, why, what next.", "exit_code": 5}
