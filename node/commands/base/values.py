"""Values of the runtime as people write and read them: text and JSON to values, and back.

Beyond genesis/values.py: an address is an account in any form, a call is an object of pallet, call
and arguments, and what is written on the command line may be plain text or JSON.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import typing
from collections.abc import Callable
from typing import Any

from genesis.values import ValueTextError, parse_value
from node.commands.base.documents import Amount, Fields
from runtime.codec.hexadecimal import to_hex
from runtime.codec.shape import (
    Boolean,
    Choice,
    Compact,
    Enumeration,
    Integer,
    Option,
    Outer,
    Sequence,
    Struct,
    Tuple,
    Variants,
    shape_of,
)
from runtime.crypto import ss58
from runtime.frame.dispatch import Call
from runtime.frame.machine import Machine, UnknownCallError
from runtime.types.primitives import AccountId, Id, MultiAddress, is_balance

ReadAccount = Callable[[str], AccountId]


def parse_text(
    machine: Machine, hint: Any, text: str, read_account: ReadAccount, place: str
) -> Any:
    """Return the value that a command line argument stands for. Raises ValueTextError."""
    shape = shape_of(hint)
    needs_json = isinstance(shape, Sequence | Tuple | Struct | Variants | Option | Boolean | Outer)
    if hint in (AccountId, MultiAddress) or not needs_json:
        return parse_json(
            machine=machine, hint=hint, value=text, read_account=read_account, place=place
        )
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(shape, Option | Variants):
            value = text
        else:
            raise ValueTextError(
                f"{place}: JSON is expected, such as {example_of(hint)}; {text!r:.60} is none "
                f"({error})."
            ) from error
    return parse_json(
        machine=machine, hint=hint, value=value, read_account=read_account, place=place
    )


def parse_json(
    machine: Machine, hint: Any, value: Any, read_account: ReadAccount, place: str
) -> Any:
    """Return the value that a JSON value stands for. Raises ValueTextError."""
    shape, arguments = shape_of(hint), typing.get_args(hint)
    if hint in (AccountId, MultiAddress) and isinstance(value, str):
        account = read_account(value)
        return account if hint is AccountId else Id(account)
    if isinstance(shape, Outer) and shape.name == "call":
        return _call(machine, value, read_account, place)
    if isinstance(shape, Sequence) and isinstance(value, list):
        return tuple(
            parse_json(
                machine=machine,
                hint=arguments[0],
                value=item,
                read_account=read_account,
                place=f"{place}[{at}]",
            )
            for at, item in enumerate(value)
        )
    if isinstance(shape, Option) and value is not None:
        inner = next(argument for argument in arguments if argument is not type(None))
        return parse_json(
            machine=machine, hint=inner, value=value, read_account=read_account, place=place
        )
    if isinstance(shape, Choice) and isinstance(value, str):
        names = {name.lower(): name for name in shape.cls.__members__}
        value = names.get(value.replace("-", "").replace("_", "").lower(), value)
    return parse_value(hint, value, place)


def _call(machine: Machine, value: Any, read_account: ReadAccount, place: str) -> Call:
    if not isinstance(value, dict) or set(value) != {"pallet", "call", "arguments"}:
        raise ValueTextError(
            f'{place}: a call is {{"pallet": "Balances", "call": "transfer_keep_alive", '
            f'"arguments": {{...}}}}, not {value!r:.60}'
        )
    arguments = value["arguments"]
    try:
        spec = machine.bound(str(value["pallet"]), str(value["call"])).spec
    except UnknownCallError as error:
        raise ValueTextError(f"{place}: {error}") from error
    names = [name for name, _ in spec.arguments]
    if not isinstance(arguments, dict) or set(arguments) != set(names):
        raise ValueTextError(f"{place}: {spec.name} takes an object of {', '.join(names)}")
    return Call(
        str(value["pallet"]),
        spec.name,
        tuple(
            parse_json(
                machine=machine,
                hint=hint,
                value=arguments[name],
                read_account=read_account,
                place=f"{place}.{name}",
            )
            for name, hint in spec.arguments
        ),
    )


def example_of(hint: Any) -> str:
    """Return a placeholder for a value of this hint on the command line."""
    shape, arguments = shape_of(hint), typing.get_args(hint)
    if hint in (AccountId, MultiAddress):
        return "ACCOUNT"
    if isinstance(shape, Boolean):
        return "true|false"
    if isinstance(shape, Integer | Compact):
        return "AMOUNT" if is_balance(hint) else "NUMBER"
    if isinstance(shape, Choice):
        return "|".join(shape.cls.__members__)
    if isinstance(shape, Outer):
        return "CALL" if shape.name == "call" else shape.name.upper()
    if isinstance(shape, Option):
        inner = next(argument for argument in arguments if argument is not type(None))
        return f"{example_of(inner)}|null"
    if isinstance(shape, Sequence):
        return f"[{example_of(arguments[0])}, ...]"
    if isinstance(shape, Tuple):
        return f"[{', '.join(example_of(argument) for argument in arguments)}]"
    if isinstance(shape, Struct):
        names = (field.name.rstrip("_") for field in shape.fields)
        return "{" + ", ".join(f'"{name}": ...' for name in names) + "}"
    if isinstance(shape, Variants):
        return "|".join(inner.cls.__name__ for _, inner in shape.members)
    return "TEXT" if hint is str else "0xHEX"


def show_value(hint: Any, value: Any) -> Any:
    """Return a runtime value as JSON; amounts and other 16-byte numbers are decimal texts."""
    if value is None or isinstance(value, bool | str):
        return value
    if hint is AccountId:
        return ss58.encode(value)
    if isinstance(value, enum.IntEnum):
        return value.name
    if isinstance(value, bytes):
        return to_hex(value)
    if is_balance(hint):
        return Amount(value)
    if isinstance(value, int):
        return str(value) if getattr(shape_of(hint), "size", 0) > 8 else value
    if isinstance(value, tuple):
        return _show_tuple(hint, value)
    if isinstance(value, Call):
        return f"{value.pallet}.{value.name}"
    fields = show_fields(value)
    if isinstance(value, Id):
        return fields["account"]
    if isinstance(value, Enumeration):
        name = type(value).__name__
        return {name: fields} if fields else name
    return fields


def show_fields(value: Any) -> Fields:
    """Return the fields of a struct or event as JSON."""
    hints = typing.get_type_hints(type(value), localns=dict(vars(type(value))), include_extras=True)
    return {
        field.name.rstrip("_"): show_value(hints[field.name], getattr(value, field.name))
        for field in dataclasses.fields(value)
    }


def _show_tuple(hint: Any, value: tuple[Any, ...]) -> list[Any]:
    arguments = typing.get_args(hint)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return [show_value(arguments[0], item) for item in value]
    return [show_value(argument, item) for argument, item in zip(arguments, value, strict=True)]
