"""ARCHITECTURE.md links to files and functions; each must exist."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import REPOSITORY

DOCUMENTS = ("ARCHITECTURE.md", "README.md", "STYLE.md")
LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]+)(?:#([^)\s]+))?\)")


def declared_names(path: str) -> set[str]:
    tree = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_local_link_leads_to_a_file_and_its_name(document: str) -> None:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    for label, target, _ in LINK.findall(text):
        if target.startswith(("http:", "https:")):
            continue
        path = REPOSITORY / target
        assert path.exists(), f"{document}: {target} does not exist"
        named = re.fullmatch(r"`(?:\w+\.)?(\w+)\(?\)?`", label)
        if path.suffix == ".py" and named and named[1] not in path.stem:
            assert named[1] in declared_names(target), f"{document}: {target} has no {named[1]}"


def test_the_architecture_page_links_to_code() -> None:
    text = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    code_links = [target for _, target, _ in LINK.findall(text) if target.endswith(".py")]
    assert len(code_links) >= 20


def test_every_room_of_the_floors_is_on_the_page() -> None:
    text = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    linked = {target for _, target, _ in LINK.findall(text)}
    rooms = {
        path.relative_to(REPOSITORY).as_posix()
        for floor in ("runtime", "p2p", "ml", "node")
        for path in (REPOSITORY / floor).glob("*/__init__.py")
    }
    assert rooms <= linked, sorted(rooms - linked)
