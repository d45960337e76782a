"""Docstrings of attributes: the string literal below an annotated assignment in a class.

    total_issuance: Value[Balance] = default(0)
    "All OPEN that exist, free and held, in planck."

Python does not store these strings, so they are read from the source of the class, and only when
metadata is made: importing a pallet reads nothing. Where no source is available (an installation of
bytecode only, a class made by `exec`) attributes have no docstring, and metadata goes without
their sentences; nothing that the chain computes depends on them.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from itertools import pairwise

_docs: dict[type, Mapping[str, str]] = {}


def attribute_docs(cls: type) -> Mapping[str, str]:
    """Return the docstrings of a class's own annotated attributes, by attribute."""
    if cls not in _docs:
        _docs[cls] = _read(cls)
    return _docs[cls]


def _read(cls: type) -> Mapping[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        return {}
    [declaration] = ast.parse(source).body
    assert isinstance(declaration, ast.ClassDef), f"{cls.__name__} is declared by a class"
    docs = {}
    body = declaration.body
    for statement, following in pairwise(body):
        match statement, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docs[name] = inspect.cleandoc(text)
    return docs
