"""List the modules that have no test file at the mirrored path, and the test files that cover them.

`python -m tests.layout.mirror` prints one line a module; arguments narrow it to some packages.

The mirror of `ml/engine/lora.py` is `tests/ml/engine/test_lora.py`; that of a package's
`__init__.py`, here `ml/engine`, is `tests/ml/test_engine.py`. An `__init__.py` of a docstring only
needs no test. Every other module is mirrored, or a table names the test files that cover it:
`COVERED_BY` those that import the module themselves, `REACHED_BY` those that reach it otherwise,
under the reason why that covers it.

A test file reaches a module where it imports it or names it in a string (a process that it starts,
an attribute that it patches), itself or in the support and conftest files that it uses. It also
reaches a module through the module's room (`ml.engine`, or all of `genesis`): where it reaches
another module of the room, or an entry of `ENTRIES`, which imports or loads the module within the
room. So an entry of the tables cannot outlive the test that it names.
"""

from __future__ import annotations

import argparse
import ast
import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.layout.covered_by import COVERED_BY, REACHED_BY

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("runtime", "pallets", "consensus", "p2p", "ml", "genesis", "node")
NODE_START: Final = (
    "node.demo.node_process",
    "node.devnet.cluster",
    "node.devnet.member",
    "node.devnet.process",
    "cli",
    "node.commands.node.node",
    "node.commands.node.running",
    "node.service.service",
    "node.service.networking",
)
ENTRIES: Final[Mapping[str, Sequence[str]]] = {
    "node.commands": ("node.demo.node_process", "node.devnet.process", "cli"),
    "node.rpc": NODE_START,
    "node.service": NODE_START,
    "node.chain": ("node.jobs.executor",),
}
"""Modules outside a room that tests reach it by: the command line, a node's start, its executor."""

DOTTED_NAME: Final = re.compile(r"\b[a-z_][a-z0-9_]*(?:\.[a-zA-Z_][a-zA-Z0-9_]*)*\b")


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the repository: its path from the root and its dotted name."""

    path: str
    name: str

    @property
    def mirror(self) -> str:
        """The path of the test file that mirrors it."""
        folder, _, stem = self.path.removesuffix("/__init__.py").removesuffix(".py").rpartition("/")
        return "/".join(part for part in ("tests", folder, f"test_{stem}.py") if part)

    @property
    def room(self) -> str:
        """The dotted name of its room: its package and the child of it that it is in."""
        top, _, rest = self.name.partition(".")
        child = f"{top}.{rest.partition('.')[0]}"
        return child if (ROOT / child.replace(".", "/")).is_dir() else top

    @property
    def is_mirrored(self) -> bool:
        """Return whether the mirroring test file exists."""
        return (ROOT / self.mirror).is_file()


def modules(packages: Sequence[str] = PACKAGES) -> Iterator[Module]:
    """Yield the modules that need a test, by path."""
    for package in packages:
        for file in sorted((ROOT / package).rglob("*.py")):
            path = file.relative_to(ROOT).as_posix()
            if file.name != "__init__.py" or has_code(path):
                yield Module(path, dotted_name(path))


def has_code(path: str) -> bool:
    """Return whether a file has a statement beside its docstring and `from __future__`."""
    return any(
        not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        and not (isinstance(node, ast.ImportFrom) and node.module == "__future__")
        for node in parsed(path).body
    )


def dotted_name(path: str) -> str:
    """Return the dotted name of a file's module."""
    return path.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")


@functools.cache
def parsed(path: str) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), path)


@functools.cache
def file_of(name: str) -> str | None:
    """Return the path of a dotted module name, None where it is no file of the repository."""
    stem = name.replace(".", "/")
    for path in (f"{stem}.py", f"{stem}/__init__.py"):
        if (ROOT / path).is_file():
            return path
    return None


@functools.cache
def imports_of(path: str) -> frozenset[str]:
    """Return the dotted names of the repository's modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            # `from package import module` imports the module, not only the package.
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(name for name in names if file_of(name) is not None)


@functools.cache
def names_in_strings(path: str) -> frozenset[str]:
    """Return the modules that the strings of a file name; `-m package` starts its `__main__`."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for dotted in DOTTED_NAME.findall(node.value):
                parts = dotted.split(".")
                prefixes = {".".join(parts[: count + 1]) for count in range(len(parts))}
                # A bare word is a package of that name only by accident, but `cli` is a program.
                names |= {name for name in prefixes if "." in name or name == "cli"}
                names |= {f"{name}.__main__" for name in prefixes}
    return frozenset(name for name in names if file_of(name) is not None)


@functools.cache
def reached_by(test: str) -> frozenset[str]:
    """Return the modules that a test file, its support files and its conftest files name."""
    conftests = [folder / "conftest.py" for folder in Path(test).parents if folder.name]
    waiting = [test, *(str(path) for path in conftests if (ROOT / path).is_file())]
    read: set[str] = set()
    names: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in read:
            continue
        read.add(path)
        names |= imports_of(path) | names_in_strings(path)
        for name in imports_of(path):
            file = file_of(name)
            if file is not None and file.startswith("tests/"):
                waiting.append(file)
    return frozenset(names)


@functools.cache
def reached_in_room(name: str, room: str) -> frozenset[str]:
    """Return the modules of a room that a module of it, or its entry, imports or loads there."""
    reached: set[str] = set()
    waiting = [name]
    while waiting:
        here = waiting.pop()
        file = file_of(here)
        if here in reached or file is None or not is_in(here, room):
            continue
        reached.add(here)
        waiting.extend(imports_of(file) | names_in_strings(file))
    return frozenset(reached)


def is_in(name: str, room: str) -> bool:
    """Return whether a module is in a room, the room itself and its entry included."""
    return name == room or name.startswith(f"{room}.") or name in ENTRIES.get(room, ())


def reaches(test: str, module: Module) -> bool:
    """Return whether a test file reaches a module, by its name or through the module's room."""
    names = reached_by(test)
    return module.name in names or any(
        module.name in reached_in_room(name, module.room)
        for name in names
        if is_in(name, module.room)
    )


def entries() -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Yield the entries of both tables: the module, its test files, and whether they import it."""
    for path, tests in COVERED_BY.items():
        yield path, tests, True
    for covered in REACHED_BY.values():
        for path, tests in covered.items():
            yield path, tests, False


def problems() -> list[str]:
    """Return a sentence for each module without a test and each wrong entry of the tables."""
    sentences: list[str] = []
    known = {module.path: module for module in modules()}
    named = Counter(path for path, _, _ in entries())
    for path, module in known.items():
        if not module.is_mirrored and path not in named:
            sentences.append(f"{path} has no {module.mirror} and no entry in a table.")
    sentences += [f"{path} has {count} entries." for path, count in named.items() if count > 1]
    for path, tests, is_imported in entries():
        if path not in known:
            sentences.append(f"An entry names {path}, which is gone or needs no test.")
            continue
        module = known[path]
        if module.is_mirrored:
            sentences.append(f"An entry names {path}, which {module.mirror} mirrors.")
        if not tests:
            sentences.append(f"The entry of {path} names no test file.")
        for test in tests:
            if not (ROOT / test).is_file():
                sentences.append(f"The entry of {path} names {test}, which does not exist.")
            elif is_imported and module.name not in imports_of(test):
                sentences.append(f"COVERED_BY names {test} for {path}, which does not import it.")
            elif not is_imported and module.name in imports_of(test):
                sentences.append(f"{test} imports {path}: COVERED_BY is the table of its entry.")
            elif not reaches(test, module):
                sentences.append(f"REACHED_BY names {test} for {path}, which never reaches it.")
    return sentences


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.layout.mirror", description=__doc__)
    parser.add_argument("package", nargs="*", default=PACKAGES, help="only these packages")
    options = parser.parse_args()
    tests_of = {path: tests for path, tests, _ in entries()}
    for package in options.package:
        all_modules = list(modules([package]))
        unmirrored = [module for module in all_modules if not module.is_mirrored]
        print(f"{package}: {len(unmirrored)} of {len(all_modules)} modules without a mirror")
        for module in unmirrored:
            print(f"    {module.path}: {', '.join(tests_of.get(module.path, ())) or 'NO TEST'}")
    for problem in problems():
        print(problem)


if __name__ == "__main__":
    main()
