from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.devnet.errors import GroupsTextError
from node.devnet.groups import groups_text, parse_groups

NODES: Final = (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("0,1|2,3", ((0, 1), (2, 3))),
        ("3 , 1| 0,2", ((1, 3), (0, 2))),
        ("0-2|3", ((0, 1, 2), (3,))),
        ("0|1|2|3", ((0,), (1,), (2,), (3,))),
    ],
)
def test_a_partition_is_groups_of_nodes(text: str, groups: tuple[tuple[int, ...], ...]) -> None:
    assert parse_groups(text, NODES) == groups


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0,1,2,3", "at least two groups"),
        ("0,1|", "no node number"),
        ("", "no node number"),
        ("0,1|2", "In no group: 3"),
        ("0,1|2,3,4", "No such node: 4"),
        ("0,1|1,2,3", "Named more than once: 1"),
        ("0,x|1,2,3", "no node number"),
        ("0,-1|1,2,3", "no node number"),
        ("2-0|1,3", "counts backwards"),
        ("0-999|1", "No such node"),
        ("|" * 2_000, "at most"),
        ("0,1|2,3\n|", "no node number"),
        ("٠|1,2,3", "no node number"),
    ],
)
def test_garbage_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(GroupsTextError, match=reason):
        parse_groups(text, NODES)


@given(st.text(alphabet="0123-,| x", max_size=30) | st.text(max_size=30))
def test_what_is_parsed_names_each_node_once(text: str) -> None:
    try:
        groups = parse_groups(text, NODES)
    except GroupsTextError:
        return
    assert sorted(number for group in groups for number in group) == list(NODES)
    assert parse_groups(groups_text(groups), NODES) == groups
