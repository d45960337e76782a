"""Counts the rooms of each package, their levels, and the imports that run up or in a circle.

`python -m tests.layout.rooms` prints one line a package; with `--arrows` also what imports what.

A room is a direct child of a package: a sub-package, or a module beside the sub-packages. A room
imports another where any module of it does, in a function or for type checkers as well. Its level
is the length of the longest chain of rooms below it. An arrow runs up where it goes against the
order of the layers that pyproject.toml declares for the package, or, where it declares none, where
it is part of a circle.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("runtime", "pallets", "consensus", "p2p", "ml", "genesis", "node")

Arrow = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Rooms:
    """The rooms of one package and the arrows between them, `(importer, imported)`."""

    package: str
    names: frozenset[str]
    arrows: frozenset[Arrow]
    order: Mapping[str, int]

    @property
    def circles(self) -> list[frozenset[str]]:
        """The sets of rooms that reach each other both ways."""
        reached = {name: self._reached_from(name) for name in self.names}
        return sorted(
            {
                frozenset(other for other in reached[name] if name in reached[other]) | {name}
                for name in self.names
                if name in reached[name]
            },
            key=sorted,
        )

    @property
    def upward(self) -> list[Arrow]:
        """The arrows against the declared order, and those within circles."""
        found = set()
        for importer, imported in self.arrows:
            if importer in self.order and imported in self.order:
                if self.order[importer] >= self.order[imported]:
                    found.add((importer, imported))
            elif any({importer, imported} <= circle for circle in self.circles):
                found.add((importer, imported))
        return sorted(found)

    @property
    def levels(self) -> int:
        """The number of rooms on the longest chain of imports; a circle counts as one room."""
        circles = self.circles
        names = {
            name: next((c for c in circles if name in c), frozenset({name})) for name in self.names
        }
        below: dict[frozenset[str], int] = {}

        def level(group: frozenset[str]) -> int:
            if group not in below:
                deeper = {names[b] for a, b in self.arrows if a in group} - {group}
                below[group] = 1 + max(map(level, deeper), default=0)
            return below[group]

        return max(map(level, names.values()), default=0)

    def _reached_from(self, start: str) -> set[str]:
        reached: set[str] = set()
        waiting = [start]
        while waiting:
            here = waiting.pop()
            for importer, imported in self.arrows:
                if importer == here and imported not in reached:
                    reached.add(imported)
                    waiting.append(imported)
        return reached


def declared_orders() -> dict[str, dict[str, int]]:
    """Return for each package the position of its rooms in the layers of its contracts, top first.

    Rooms that one line separates by `|` share a position: an arrow between them runs up as well.
    """
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    orders: dict[str, dict[str, int]] = {}
    for contract in contracts["contracts"]:
        if contract["type"] != "layers":
            continue
        for package in contract.get("containers", ()):
            order = orders.setdefault(package, {})
            start = len(order)
            for position, layer in enumerate(contract["layers"], start):
                for name in layer.replace(":", "|").split("|"):
                    order.setdefault(name.strip(" ()"), position)
    return orders


def packages_of(graph: grimp.ImportGraph) -> Iterator[str]:
    """Yield every package that has rooms: the seven of the repository and all inside them."""
    for module in sorted(graph.modules):
        if graph.find_children(module):
            yield module


def rooms_of(graph: grimp.ImportGraph, package: str, order: Mapping[str, int]) -> Rooms:
    """Return the rooms of a package with the arrows between them."""
    depth = package.count(".") + 1
    names = frozenset(child.split(".")[depth] for child in graph.find_children(package))
    arrows = set()
    for module in graph.find_descendants(package):
        importer = module.split(".")[depth]
        for imported in graph.find_modules_directly_imported_by(module):
            parts = imported.split(".")
            inside = imported.startswith(package + ".")
            if inside and parts[depth] != importer:
                arrows.add((importer, parts[depth]))
    return Rooms(package, names, frozenset(arrows), order)


def all_rooms(packages: Sequence[str] = PACKAGES) -> list[Rooms]:
    """Return the rooms of every package of the repository, read from its sources."""
    graph = grimp.build_graph(*packages, cache_dir=None)
    orders = declared_orders()
    return [rooms_of(graph, package, orders.get(package, {})) for package in packages_of(graph)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.layout.rooms", description=__doc__)
    parser.add_argument("--arrows", action="store_true", help="also print each room's imports")
    parser.add_argument("package", nargs="*", help="only these packages, such as node.rpc")
    options = parser.parse_args()
    print(f"{'package':32} {'rooms':>5} {'levels':>6} {'arrows':>6} {'upward':>6} {'circles':>7}")
    for rooms in all_rooms():
        if options.package and rooms.package not in options.package:
            continue
        counts = (len(rooms.names), rooms.levels, len(rooms.arrows))
        wrong = (len(rooms.upward), len(rooms.circles))
        print(f"{rooms.package:32} {counts[0]:5} {counts[1]:6} {counts[2]:6} ", end="")
        print(f"{wrong[0]:6} {wrong[1]:7}")
        for importer, imported in rooms.upward:
            print(f"    up: {importer} -> {imported}")
        for circle in rooms.circles:
            print(f"    circle: {', '.join(sorted(circle))}")
        if options.arrows:
            for name in sorted(rooms.names):
                below = sorted(imported for importer, imported in rooms.arrows if importer == name)
                print(f"    {name}: {', '.join(below) or '-'}")


if __name__ == "__main__":
    main()
