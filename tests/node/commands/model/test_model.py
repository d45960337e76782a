from __future__ import annotations

import pytest

from tests.node.commands.support.calling import OpenLedger


def test_models_need_published_data(openledger: OpenLedger) -> None:
    called = openledger("model", "create", "Pythia", "--datanet", "77", "--from", "//Alice")
    assert called.exit_code == 2
    assert "There is no datanet 77" in called.err


@pytest.mark.parametrize(
    ("words", "exit_code", "sentence"),
    [
        (("model", "status", "nothing"), 2, "There is no model 'nothing'"),
        (("model", "train", "9", "--from", "//Alice"), 2, "There is no model '9'"),
        (("model", "watch", "9"), 2, "There is no model"),
        (("model", "watch", "9", "--job", "5"), 2, "There is no job 5"),
        (("model", "publish", "9", "--from", "//Alice"), 2, "There is no model"),
        (("model", "create", "x", "--datanet", "a", "--from", "//Alice"), 2, "NUMBER@VERSION"),
        (("model", "set-datanets", "9", "--datanet", "0", "--from", "//Alice"), 2, "no model"),
        (("ask", "9", "why", "--from", "//Alice"), 2, "There is no model"),
        (("receipt", "show", "0x12"), 2, "is no hash"),
        (("receipt", "show", "0x" + "11" * 32), 1, "refused"),
        (("receipt", "list", "9"), 2, "There is no model"),
        (("verify", "0x" + "11" * 32), 1, "refused"),
        (("earnings", "x"), 2, "is no account"),
        (("claim", "--from", "//Alice"), 1, "NothingToClaim"),
        (("claim", "//Bob", "--from", "//Alice", "--dry-run"), 1, "NothingToClaim"),
        (("model", "list"), 0, ""),
        (("datanet", "list"), 0, ""),
        (("earnings", "//Bob"), 0, ""),
    ],
)
def test_models_questions_and_receipts_fail_with_sentences(
    openledger: OpenLedger, words: tuple[str, ...], exit_code: int, sentence: str
) -> None:
    called = openledger(*words)
    assert called.exit_code == exit_code
    assert sentence in called.err
