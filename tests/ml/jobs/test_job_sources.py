"""What must never stand in the sources of ml/: ways of opening a file that can run code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ml

SOURCES = sorted(Path(str(ml.__path__[0])).rglob("*.py"))
FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def names_of(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {name.name.split(".")[0] for name in names}
            case ast.ImportFrom(module=str(module)):
                found.add(module.split(".")[0])
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load" | "save")):
                found.add("torch.load")
            case ast.keyword(arg="trust_remote_code"):
                found.add("trust_remote_code")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_source_opens_what_can_run_code(path: Path) -> None:
    assert not names_of(ast.parse(path.read_text())) & {
        *FORBIDDEN_MODULES,
        "torch.load",
        "trust_remote_code",
    }


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_ml_never_imports_pallets(path: Path) -> None:
    assert not names_of(ast.parse(path.read_text())) & {"pallets", "node", "consensus", "p2p"}
