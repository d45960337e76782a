"""The layout of the repository: floors, names, heavy imports, and what nobody may load."""

from __future__ import annotations

import ast
import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGES = ("runtime", "pallets", "consensus", "p2p", "ml", "genesis", "node")
TOP_LEVEL = (*PACKAGES, "cli", "tests", "benchmarks")
OUR_DISTRIBUTIONS = frozenset({"openledger-node"})
PURE = ("runtime", "pallets", "consensus")
HEAVY = {
    "torch": ("ml",),
    "transformers": ("ml",),
    "peft": ("ml",),
    "safetensors": ("ml",),
    "plyvel": ("node/storage/leveldb.py",),
    "plyvel_next": ("node/storage/leveldb.py",),
    "sqlite3": ("node/storage/receipt_store.py",),
}
UNSAFE_MODULES = frozenset({"pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"})
IMPURE_MODULES = frozenset(
    {"time", "datetime", "random", "os", "socket", "threading", "trio", "asyncio", "pathlib"}
)


def sources(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """The committed Python files below some folders, parsed."""
    for folder in folders:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            name = path.relative_to(REPOSITORY).as_posix()
            yield name, parsed(path)


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), path.name)


def imported(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """The top-level modules that a file imports, and whether for type checkers alone."""
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            yield name.partition(".")[0], id(node) in guarded


def test_floors_import_down_only() -> None:
    program = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("import-linter is not installed; pip install openledger-node[dev]")
    done = subprocess.run(
        [program, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", TOP_LEVEL)
def test_a_top_level_name_belongs_to_no_other_distribution(name: str) -> None:
    assert name not in sys.stdlib_module_names
    if name in ("tests", "benchmarks"):
        return  # not installed: they are in the sdist alone
    owners = set(metadata.packages_distributions().get(name, ())) - OUR_DISTRIBUTIONS
    assert not owners, f"{name} is also a module of {owners}"


@pytest.mark.parametrize("module", HEAVY)
def test_a_heavy_module_is_imported_where_it_belongs(module: str) -> None:
    places = HEAVY[module]
    found = [
        name
        for name, tree in sources(*PACKAGES)
        if any(used == module and not typing for used, typing in imported(tree))
    ]
    strays = [name for name in found if not name.startswith(places)]
    assert not strays, f"{module} is imported in {strays}"


def test_starting_the_program_loads_nothing_heavy() -> None:
    program = (
        "import sys, cli, node.service.service, node.commands\n"
        "print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_nothing_that_can_run_code_is_unpickled() -> None:
    for name, tree in sources(*PACKAGES, "benchmarks"):
        used = {module for module, _ in imported(tree)} & UNSAFE_MODULES
        assert not used, f"{name} imports {used}"
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called != "torch.load", f"{name} unpickles tensors"
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert ast.unparse(node.value) == "False", f"{name} trusts remote code"
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", f"{name} allows pickle"


def test_the_pure_floors_know_no_clock_randomness_or_files() -> None:
    for name, tree in sources(*PURE):
        used = {module for module, typing in imported(tree) if not typing} & IMPURE_MODULES
        allowed = {"os"} if name in ("runtime/crypto/keys.py",) else set()
        assert used <= allowed, f"{name} imports {used - allowed}"


def test_the_rules_of_the_chain_have_no_floats() -> None:
    for name, tree in sources("runtime", "pallets"):
        for node in ast.walk(tree):
            is_float = isinstance(node, ast.Constant) and isinstance(node.value, float)
            assert not is_float, f"{name}:{getattr(node, 'lineno', 0)} has a float"
            is_division = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
            assert not is_division, f"{name}:{getattr(node, 'lineno', 0)} divides with /"
