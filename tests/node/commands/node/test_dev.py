"""`openledger dev`: the settings that come from its environment."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from cli import root


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["--log-level", "loud"], {}),
        ([], {"OPENLEDGER_LOG_LEVEL": "loud"}),
        (["--log-level", "loud"], {"OPENLEDGER_LOG_LEVEL": "debug"}),
    ],
)
def test_the_log_level_is_that_of_the_option_then_of_the_environment(
    words: list[str], environment: dict[str, str]
) -> None:
    result = CliRunner().invoke(root, ["dev", "--port", "0", *words], env=environment)
    assert result.exit_code == 2, result.output
    assert "'loud' is no log level" in result.stderr
