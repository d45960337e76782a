"""The texts of a datanet: each limit passes, and one byte more does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pallets.datanets.records import (
    SUMMARY_BYTES_MAX,
    TAG_BYTES_MAX,
    TAGS_MAX,
    TEXT_BYTES_MAX,
    Profile,
)
from pallets.datanets.texts import has_blank_text, has_long_text, is_licence

PROFILE = Profile("a summary", "", (), "MIT", "a source", "a purpose", "a schema")


def changed(**texts: Any) -> Profile:
    return replace(PROFILE, **texts)


@pytest.mark.parametrize(
    "licence", ["MIT", "CC0-1.0", "LicenseRef-own.1", "LicenseRef-" + "a" * 64]
)
def test_an_open_or_own_licence_is_taken(licence: str) -> None:
    assert is_licence(licence)


@pytest.mark.parametrize(
    "licence", ["", "mit", "Proprietary", "LicenseRef-", "LicenseRef-" + "a" * 65]
)
def test_any_other_licence_is_refused(licence: str) -> None:
    assert not is_licence(licence)


@pytest.mark.parametrize("name", ["summary", "source", "purpose", "schema"])
def test_a_mandatory_text_is_more_than_white_space(name: str) -> None:
    assert not has_blank_text(PROFILE)
    for text in ("", " \t\r\n"):
        assert has_blank_text(changed(**{name: text}))


@pytest.mark.parametrize(
    ("name", "bytes_max"),
    [
        ("summary", SUMMARY_BYTES_MAX),
        ("description", TEXT_BYTES_MAX),
        ("source", TEXT_BYTES_MAX),
        ("purpose", TEXT_BYTES_MAX),
        ("schema", TEXT_BYTES_MAX),
    ],
)
def test_a_text_has_its_maximum_in_bytes_and_no_more(name: str, bytes_max: int) -> None:
    longest = "é" * (bytes_max // 2)
    assert not has_long_text(changed(**{name: longest}))
    assert has_long_text(changed(**{name: longest + "x"}))


def test_tags_have_their_maximum_in_number_and_bytes() -> None:
    assert not has_long_text(changed(tags=("a" * TAG_BYTES_MAX,) * TAGS_MAX))
    assert has_long_text(changed(tags=("a" * (TAG_BYTES_MAX + 1),)))
    assert has_long_text(changed(tags=("a",) * (TAGS_MAX + 1)))
