"""The rooms of the repository import down only; and what counts as up or as a circle."""

from __future__ import annotations

import pytest

from tests.layout.rooms import Rooms, all_rooms, declared_orders

NODE_ROOMS_MAX = 18


def rooms(*arrows: tuple[str, str], order: dict[str, int] | None = None) -> Rooms:
    names = frozenset(name for arrow in arrows for name in arrow)
    return Rooms("example", names, frozenset(arrows), order or {})


def test_a_chain_has_a_level_for_each_room_and_nothing_runs_up() -> None:
    chain = rooms(("a", "b"), ("b", "c"), ("a", "c"))
    assert (chain.levels, chain.upward, chain.circles) == (3, [], [])


def test_a_circle_is_one_level_and_each_of_its_arrows_runs_up() -> None:
    circle = rooms(("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"))
    assert circle.circles == [frozenset("bc")]
    assert circle.upward == [("b", "c"), ("c", "b")]
    assert circle.levels == 3


def test_an_arrow_against_the_declared_order_or_within_a_line_runs_up() -> None:
    order = {"a": 0, "b": 1, "c": 1}
    assert rooms(("b", "a"), order=order).upward == [("b", "a")]
    assert rooms(("b", "c"), order=order).upward == [("b", "c")]
    assert rooms(("a", "c"), order=order).upward == []


def test_the_orders_are_those_that_import_linter_checks() -> None:
    orders = declared_orders()
    assert {"node", "runtime", "p2p", "ml", "consensus"} <= set(orders)
    assert orders["node"]["service"] < orders["node"]["transactions"]
    assert orders["node"]["finality"] == orders["node"]["sync"]


@pytest.mark.parametrize("found", all_rooms(), ids=lambda found: found.package)
def test_rooms_import_down_only_and_in_no_circle(found: Rooms) -> None:
    assert found.upward == []
    assert found.circles == []


def test_node_has_few_rooms_and_each_has_its_place_in_a_line() -> None:
    [node] = [found for found in all_rooms(("node",)) if found.package == "node"]
    assert len(node.names) <= NODE_ROOMS_MAX
    assert node.names == set(node.order)
