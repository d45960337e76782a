"""Ways of opening a file that can run code: none may occur in the sources of ml."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ml

SOURCES = sorted(Path(str(ml.__path__[0])).rglob("*.py"))
FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def names_of(tree: ast.AST) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                modules |= {name.name.split(".")[0] for name in names}
            case ast.ImportFrom(module=str(module)):
                modules.add(module.split(".")[0])
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load" | "save")):
                modules.add("torch.load")
            case ast.keyword(arg="trust_remote_code"):
                modules.add("trust_remote_code")
    return modules


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
