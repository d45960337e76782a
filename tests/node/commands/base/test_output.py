"""Headings: a field's name, unless it alone would say something else than is meant."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest

from node.commands.base.documents import Planck
from node.commands.base.output import label_of
from node.commands.chain.status import ExplanationDocument
from node.commands.staking.records import NominationLine
from node.commands.staking.validator_records import StandingDocument


@dataclass(frozen=True, slots=True)
class Plain:
    """A document without headings of its own."""

    bond_planck: Planck


def test_a_heading_is_the_name_of_the_field_without_its_unit() -> None:
    assert label_of("bond_planck", Plain) == "bond"


def test_a_chain_that_stands_still_and_a_candidate_have_different_headings() -> None:
    headings = {label_of("is_standing", each) for each in (StandingDocument, NominationLine)}
    assert headings == {"stands for election"}
    assert label_of("is_standing", ExplanationDocument) == "finality stands still"


@pytest.mark.parametrize("document", [ExplanationDocument, StandingDocument, NominationLine])
def test_headings_are_of_fields_that_are_there(document: type) -> None:
    labels = document.LABELS  # type: ignore[attr-defined]
    assert set(labels) <= {field.name for field in fields(document)}
