"""Methods: how a namespace declares them, and the table in which calls find them.

    class System:
        @method("system_chain")
        def chain(self) -> Json: ...

        @method("author_rotateKeys", local=True)           # for callers on this machine only
        def rotate(self, session: Session) -> Json: ...    # `session` is the caller's

Parameters are read as their annotations say, by position or by name (also in camelCase).
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from node.rpc.errors import InvalidParamsError
from node.rpc.parameters import Json, Reader, is_optional, reader_of
from node.rpc.session import Session

F = TypeVar("F", bound=Callable[..., Any])

Result = Json | Awaitable[Json]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A declared parameter."""

    name: str
    json_name: str
    read: Reader
    is_required: bool
    default: Any

    def value_of(self, given: Json) -> Any:
        """Read what was given. Raises InvalidParamsError."""
        if given is None:
            if self.is_required:
                raise InvalidParamsError(f"The parameter `{self.json_name}` is missing.")
            return self.default
        try:
            return self.read(given)
        except InvalidParamsError as error:
            raise InvalidParamsError(
                f"The parameter `{self.json_name}` is not valid: {error.message}."
            ) from error


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the interface under one of its names."""

    name: str
    function: Callable[..., Result]
    parameters: tuple[Parameter, ...]
    wants_session: bool
    is_local: bool

    def call(self, params: list[Any] | dict[str, Any], session: Session) -> Result:
        """Read the parameters and call. Raises RpcError."""
        values: dict[str, Any] = {}
        for position, parameter in enumerate(self.parameters):
            if isinstance(params, dict):
                given = params.get(parameter.json_name, params.get(parameter.name))
            else:
                given = params[position] if position < len(params) else None
            values[parameter.name] = parameter.value_of(given)
        if self.wants_session:
            return self.function(session, **values)
        return self.function(**values)


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
        hint, missing = hints[entry.name], entry.default is inspect.Parameter.empty
        parameters.append(
            Parameter(
                entry.name,
                _camel_case(entry.name),
                reader_of(hint),
                missing and not is_optional(hint),
                None if missing else entry.default,
            )
        )
    is_local = getattr(function, "_rpc_is_local", False)
    return Method(name, function, tuple(parameters), wants_session, is_local)


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
