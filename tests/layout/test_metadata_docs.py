"""Every storage entry, constant, call, event and error has its sentence in the served metadata."""

from __future__ import annotations

import pytest

from tests.layout import metadata_docs


@pytest.mark.parametrize("version", [14, 15])
def test_nothing_in_metadata_is_without_a_sentence(version: int) -> None:
    things = metadata_docs.described_things(version)
    assert [thing.name for thing in things if thing.is_empty] == []
    assert {thing.kind for thing in things} == set(metadata_docs.KINDS)


def test_the_command_prints_a_count_for_each_version_and_kind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert metadata_docs.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(metadata_docs.KINDS)
    assert all(": 0 of " in line for line in lines)
