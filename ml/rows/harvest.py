"""Harvest the demo datanet from the standard library of the running Python.

One row per public function, class and method: the prompt is its qualified name and signature, the
completion its documentation. Nothing is downloaded, and the text is real, its duplicates included.
Modules that open a window or a browser, print, or start threads when imported are never imported;
order is by name.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Final

from ml.rows.row import Row, RowEmptyError, RowHasNulError, RowNotUnicodeError, canonical_row

# Import has side effects, needs a display, or is a test suite.
REFUSED_MODULES: Final = frozenset(
    {
        "__main__",
        "antigravity",
        "distutils",  # setuptools puts its own copy in its place.
        "ensurepip",
        "idlelib",
        "lib2to3",
        "msilib",
        "nt",
        "pydoc_data",
        "rlcompleter",
        "site",
        "sitecustomize",
        "test",
        "this",
        "tkinter",
        "turtle",
        "turtledemo",
        "usercustomize",
        "venv",
        "winreg",
        "winsound",
    }
)
REFUSED_PARTS: Final = frozenset({"__main__", "test", "tests", "idle_test"})
COMPLETION_CHARACTERS_MAX: Final = 4_000
PLAIN_DEFAULTS: Final = frozenset({bool, bytes, float, int, str, type(None)})


def harvest_standard_library(modules: tuple[str, ...] | None = None) -> dict[str, tuple[Row, ...]]:
    """Return the rows by top-level module, both sorted; `modules` narrows it to some of them."""
    names = (
        sorted(sys.stdlib_module_names - REFUSED_MODULES) if modules is None else sorted(modules)
    )
    harvest: dict[str, tuple[Row, ...]] = {}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # Deprecated members are documented too.
        for name in names:
            if name.startswith("_") or name in REFUSED_MODULES:
                continue
            rows = tuple(row for module in _modules(name) for row in module_rows(module))
            if rows:
                harvest[name] = rows
    return harvest


def _modules(name: str) -> Iterator[ModuleType]:
    """Yield a top-level module and its public submodules, by name."""
    module = _imported(name)
    if module is None:
        return
    yield module
    for entry in sorted(
        pkgutil.iter_modules(getattr(module, "__path__", ()), f"{name}."), key=lambda e: e.name
    ):
        last = entry.name.rpartition(".")[2]
        if last.startswith("_") or last in REFUSED_PARTS:
            continue
        yield from _modules(entry.name)


def _imported(name: str) -> ModuleType | None:
    """Import a module; return None where this platform does not have it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None  # Windows-only and unbuilt modules simply have no rows here.


def module_rows(module: ModuleType) -> Iterator[Row]:
    """Yield the rows of one module's own public members, by name."""
    for name, member in sorted(vars(module).items()):
        if name.startswith("_") or not _belongs(member, module):
            continue
        qualified = f"{module.__name__}.{name}"
        if inspect.isclass(member):
            yield from _row(qualified, member)
            yield from _method_rows(qualified, member)
        elif inspect.isroutine(member):
            yield from _row(qualified, member)


def _belongs(member: object, module: ModuleType) -> bool:
    """Return whether a member is the module's own and not imported by it."""
    home = getattr(member, "__module__", None)
    if home == module.__name__:
        return True
    # json.loads lives in json; os.path.join in posixpath; io.BytesIO in _io.
    return isinstance(home, str) and home.lstrip("_") == module.__name__.lstrip("_")


def _method_rows(qualified: str, owner: type) -> Iterator[Row]:
    for name, member in sorted(vars(owner).items()):
        if name.startswith("_"):
            continue
        if isinstance(member, staticmethod | classmethod):
            member = member.__func__
        if inspect.isroutine(member):
            yield from _row(f"{qualified}.{name}", member)


def _row(qualified: str, member: object) -> Iterator[Row]:
    documentation = getattr(member, "__doc__", None)
    if not isinstance(documentation, str):
        return
    text = inspect.cleandoc(documentation)[:COMPLETION_CHARACTERS_MAX]
    try:
        yield canonical_row(Row(qualified + _signature(member), text))
    except (RowEmptyError, RowHasNulError, RowNotUnicodeError):
        return  # A docstring without a visible character is no training data.


def _signature(member: object) -> str:
    """Return the signature as text; memory addresses in defaults would differ from run to run."""
    try:
        signature = inspect.signature(member)  # type: ignore[arg-type]
    except (ValueError, TypeError, NameError, AttributeError):  # Some text signatures do not parse.
        return "(...)"
    parameters = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    plain = [
        p.replace(annotation=inspect.Parameter.empty, default=_shown_default(p.default))
        for p in parameters
    ]
    try:
        return str(inspect.Signature(plain))
    except ValueError:  # Without self a parameter with a default may stand before one without.
        return "(" + ", ".join(p.name for p in plain) + ")"


class _Elided:
    """A default whose own text would differ from run to run: an address, the order of a set."""

    def __repr__(self) -> str:
        return "..."


def _shown_default(default: object) -> object:
    if default is inspect.Parameter.empty or type(default) in PLAIN_DEFAULTS:
        return default
    return _Elided()
