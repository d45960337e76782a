"""How a partition is written: node numbers in groups, such as `0,1|2,3` or `0-2|3`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import Final

from node.devnet.errors import GroupsTextError

Groups = tuple[tuple[int, ...], ...]

TEXT_MAX: Final = 1_000
_PART: Final = re.compile(r"([0-9]{1,3})(?:-([0-9]{1,3}))?")


def parse_groups(text: str, nodes: Collection[int]) -> Groups:
    """Return the groups, in which each node is exactly once. Raises GroupsTextError."""
    if len(text) > TEXT_MAX:
        raise GroupsTextError(f"A partition is written in at most {TEXT_MAX} characters.")
    groups = tuple(_group(part, text) for part in text.split("|"))
    return check_groups(groups, nodes)


def check_groups(groups: Groups, nodes: Collection[int]) -> Groups:
    """Return the groups if each node is in exactly one of them. Raises GroupsTextError."""
    named = [number for group in groups for number in group]
    unknown = sorted(set(named) - set(nodes))
    missing = sorted(set(nodes) - set(named))
    twice = sorted(number for number, count in Counter(named).items() if count > 1)
    if len(groups) < 2 or not all(groups):
        raise GroupsTextError("A partition has at least two groups, such as '0,1|2,3'.")
    for numbers, problem in (
        (unknown, "no such node: "),
        (twice, "named more than once: "),
        (missing, "in no group: "),
    ):
        if numbers:
            listed = ", ".join(map(str, numbers))
            raise GroupsTextError(
                f"{problem.capitalize()}{listed}. "
                f"The nodes are {', '.join(map(str, sorted(nodes)))}; put each into one group."
            )
    return tuple(tuple(sorted(group)) for group in groups)


def groups_text(groups: Groups) -> str:
    """Write groups as they are parsed; empty for a whole network."""
    return "|".join(",".join(map(str, group)) for group in groups)


def _group(part: str, text: str) -> tuple[int, ...]:
    numbers: list[int] = []
    for word in part.split(","):
        match = _PART.fullmatch(word.strip())
        if match is None:
            raise GroupsTextError(
                f"{text!r:.80} is no partition: {word.strip()!r:.40} is no node number. "
                "Write groups such as '0,1|2,3'."
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise GroupsTextError(f"{word.strip()!r} counts backwards. Write {last}-{first}.")
        numbers.extend(range(first, last + 1))
    return tuple(numbers)
