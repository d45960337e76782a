"""Methods: how a namespace declares them, and the table in which calls find them.

    class System:
        @method("system_chain")
        def chain(self) -> Json: ...

        @method("author_rotateKeys", local=True)           # for callers on this machine only
        def rotate(self, session: Session) -> Json: ...    # `session` is the caller's

Parameters are read as their annotations say, by position or by name (also in camelCase). Names are
those of Substrate and of the JSON-RPC interface specification.

Rules that hold here: what was not asked for is never answered. An unknown name, a name that is
given twice and a value too many are InvalidParamsError, because the answer to a call whose `hash`
was misspelt would be that of the best block.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from node.rpc.errors import InvalidParamsError
from node.rpc.json_schema import Schema
from node.rpc.parameters import REQUIRED, Json, Reader, is_optional, reader_of, schema_of
from node.rpc.session import Session

F = TypeVar("F", bound=Callable[..., Any])

Result = Json | Awaitable[Json]

NAME_SHOWN_MAX: Final = 80
"""How much of an unknown name an error repeats."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A declared parameter."""

    name: str
    json_name: str
    read: Reader
    is_required: bool
    default: Any
    schema: Schema

    def value_of(self, given: Json) -> Any:
        """Read what was given. Raises InvalidParamsError."""
        if given is None:
            if self.is_required:
                raise InvalidParamsError(f"The parameter `{self.json_name}` is missing, or null.")
            return self.default
        try:
            return self.read(given)
        except InvalidParamsError as error:
            raise InvalidParamsError(
                f"The parameter `{self.json_name}` is not valid: {error.message.rstrip('.')}."
            ) from error


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the interface under one of its names."""

    name: str
    names: tuple[str, ...]
    function: Callable[..., Result]
    parameters: tuple[Parameter, ...]
    wants_session: bool
    is_local: bool

    @property
    def description(self) -> str:
        """The first sentence of its documentation."""
        return " ".join((inspect.getdoc(self.function) or "").partition("\n\n")[0].split())

    def call(self, params: list[Any] | dict[str, Any], session: Session) -> Result:
        """Read the parameters and call. Raises RpcError."""
        given = self._by_name(params) if isinstance(params, dict) else self._by_position(params)
        values = {
            parameter.name: parameter.value_of(given.get(parameter.name))
            for parameter in self.parameters
        }
        if self.wants_session:
            return self.function(session, **values)
        return self.function(**values)

    def _by_position(self, params: list[Any]) -> dict[str, Any]:
        count = len(self.parameters)
        # Trailing nulls say nothing, and some clients fill up with them.
        if any(extra is not None for extra in params[count:]):
            raise InvalidParamsError(
                f"{self.name} takes {self._signature()}; {len(params)} are given."
            )
        return {
            parameter.name: value for parameter, value in zip(self.parameters, params, strict=False)
        }

    def _by_name(self, params: dict[str, Any]) -> dict[str, Any]:
        names = {parameter.json_name: parameter.name for parameter in self.parameters}
        names |= {parameter.name: parameter.name for parameter in self.parameters}
        given: dict[str, Any] = {}
        for key, value in params.items():
            name = names.get(key)
            if name is None:
                raise InvalidParamsError(
                    f"{self.name} has no parameter `{key[:NAME_SHOWN_MAX]}`. "
                    f"It takes {self._signature()}."
                )
            if name in given:
                raise InvalidParamsError(f"The parameter `{key}` is given twice.")
            given[name] = value
        return given

    def _signature(self) -> str:
        shown = [f"`{parameter.json_name}`" for parameter in self.parameters]
        return ", ".join(shown) or "no parameters"


def method(*names: str, local: bool = False) -> Callable[[F], F]:
    """Declare a method of a namespace under one or several names."""

    def mark(function: F) -> F:
        function._rpc_names = names  # type: ignore[attr-defined]
        function._rpc_is_local = local  # type: ignore[attr-defined]
        return function

    return mark


def methods_of(namespaces: Iterable[object]) -> dict[str, Method]:
    """Return the methods that these namespaces declare, by name, sorted."""
    table: dict[str, Method] = {}
    for namespace in namespaces:
        for _, function in inspect.getmembers(namespace, inspect.ismethod):
            for name in getattr(function, "_rpc_names", ()):
                assert name not in table, f"{name} is declared twice"
                table[name] = _method(name, function)
    return dict(sorted(table.items()))


def _method(name: str, function: Callable[..., Result]) -> Method:
    hints = typing.get_type_hints(function)
    declared = list(inspect.signature(function).parameters.values())
    wants_session = bool(declared) and hints[declared[0].name] is Session
    parameters = []
    for entry in declared[1:] if wants_session else declared:
        hint, default = hints[entry.name], entry.default
        missing = default is inspect.Parameter.empty or default is REQUIRED
        parameters.append(
            Parameter(
                entry.name,
                _camel_case(entry.name),
                reader_of(hint),
                default is REQUIRED or (missing and not is_optional(hint)),
                None if missing else default,
                schema_of(hint),
            )
        )
    is_local = getattr(function, "_rpc_is_local", False)
    names: tuple[str, ...] = getattr(function, "_rpc_names", (name,))
    return Method(name, names, function, tuple(parameters), wants_session, is_local)


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
