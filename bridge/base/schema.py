"""Frozen dataclasses out of JSON values and back, by their annotations.

A field says its bounds in its annotation (`Annotated[str, Characters(1, 80)]`), so that one line
is the type, the check and the documentation. Nothing here knows a single message.

Plain `str` and `int` are refused when the reader is made: everything from outside has a bound.
"""

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from bridge.base.errors import InvalidMessage

T = TypeVar("T")
Reader = Callable[[object, str], Any]


@dataclass(frozen=True, slots=True)
class Characters:
    """Bounds of a string, in characters; only a multiline one may hold line breaks and tabs."""

    minimum: int
    maximum: int
    multiline: bool = False


@dataclass(frozen=True, slots=True)
class Between:
    """Bounds of a number, both included."""

    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class AtMost:
    """How many entries an array or an object may have."""

    entries: int


def read_json(text: str) -> object:
    """Return the JSON value in `text`; raises InvalidMessage."""
    try:
        value: object = json.loads(text, parse_constant=_refuse_constant)
    # The decoder of the standard library recurses once per nesting level.
    except (ValueError, RecursionError) as error:
        raise InvalidMessage("invalid-message", "not a JSON text") from error
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def read(cls: type[T], value: object, path: str = "") -> T:
    """Return the instance of the dataclass `cls` that the JSON value describes; raises InvalidMessage."""
    instance: T = _dataclass_reader(cls)(value, path)
    return instance


def to_json(value: object) -> Any:
    """Return what `json.dumps` takes; an optional field that is None is left out."""
    cls = type(value)
    if cls in _PLAIN or isinstance(value, str):
        # The enums of the protocol are strings, and are written as such.
        return value
    if is_dataclass(cls):
        return _dataclass_to_json(value, cls)
    if isinstance(value, Mapping):
        return {key: to_json(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [to_json(entry) for entry in value]
    raise TypeError(f"{cls} does not travel")


def _dataclass_to_json(value: object, cls: type) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, key, may_be_absent in _written_fields(cls):
        entry = getattr(value, name)
        if entry is not None or not may_be_absent:
            result[key] = entry if type(entry) in _PLAIN else to_json(entry)
    return result


def json_name(name: str) -> str:
    """Return the field's name on the wire: `for_` is `for`, which Python keeps for itself."""
    return name.removesuffix("_")


def describe(annotation: Any) -> str:
    """Return the annotation in the words of the protocol document."""
    if get_origin(annotation) is Annotated:
        base, bound = get_args(annotation)[:2]
        return _describe_bounded(base, bound)
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(describe(member) for member in get_args(annotation))
    if annotation is type(None):
        return "null"
    names = {str: "string", int: "integer", float: "number", bool: "boolean"}
    return names.get(annotation) or f"`{annotation.__name__}`"


def _describe_bounded(base: Any, bound: object) -> str:
    match bound:
        case Characters():
            return f"string ({bound.minimum} to {bound.maximum} characters)"
        case Between():
            return f"{describe(base)} ({bound.minimum} to {bound.maximum})"
        case AtMost() if get_origin(base) is tuple:
            return f"array (at most {bound.entries}) of {describe(get_args(base)[0])}"
        case AtMost():
            return f"object (at most {bound.entries} keys) of {describe(get_args(base)[1])}"
    raise TypeError(f"{bound} does not bound {base}")


def annotations_of(cls: type) -> dict[str, tuple[Any, bool]]:
    """Return, by name on the wire, each field's annotation and whether it may be left out."""
    hints = get_type_hints(cls, include_extras=True)
    return {json_name(field.name): (hints[field.name], _has_default(field)) for field in _fields(cls)}


def _fields(cls: type) -> tuple[Field[Any], ...]:
    return fields(cls)


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


_PLAIN = frozenset({str, int, float, bool, type(None)})
_WRITTEN: dict[type, tuple[tuple[str, str, bool], ...]] = {}
_READERS: dict[type, Reader] = {}


def _written_fields(cls: type) -> tuple[tuple[str, str, bool], ...]:
    if cls not in _WRITTEN:
        _WRITTEN[cls] = tuple(
            (field.name, json_name(field.name), field.default is None) for field in _fields(cls)
        )
    return _WRITTEN[cls]


def _fail(path: str, expected: str) -> InvalidMessage:
    return InvalidMessage("invalid-message", f"{path or 'the message'}: expected {expected}")


def _dataclass_reader(cls: type) -> Reader:
    if cls not in _READERS:
        _READERS[cls] = _make_dataclass_reader(cls)
    return _READERS[cls]


def _make_dataclass_reader(cls: type) -> Reader:
    hints = get_type_hints(cls, include_extras=True)
    required: list[tuple[str, str, Reader]] = []
    optional: list[tuple[str, str, Reader]] = []
    for field in _fields(cls):
        entry = (field.name, json_name(field.name), _reader(hints[field.name]))
        (optional if _has_default(field) else required).append(entry)

    def read_dataclass(value: object, path: str) -> Any:
        if not isinstance(value, dict):
            raise _fail(path, "an object")
        prefix = f"{path}." if path else ""
        arguments: dict[str, Any] = {}
        for name, key, reader in required:
            if key not in value:
                raise _fail(prefix + key, "a value, found none")
            arguments[name] = reader(value[key], prefix + key)
        for name, key, reader in optional:
            if key in value:
                arguments[name] = reader(value[key], prefix + key)
        return cls(**arguments)

    return read_dataclass


def _reader(annotation: Any) -> Reader:
    if get_origin(annotation) is Annotated:
        base, *bounds = get_args(annotation)
        return _bounded_reader(base, bounds)
    if get_origin(annotation) in (Union, types.UnionType):
        return _optional_reader(annotation)
    if annotation is bool:
        return _read_bool
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _enum_reader(annotation)
    if is_dataclass(annotation) and isinstance(annotation, type):
        return _dataclass_reader(annotation)
    raise TypeError(f"{annotation} has no bound")


def _bounded_reader(base: Any, bounds: list[Any]) -> Reader:
    bound = bounds[0]
    origin, arguments = get_origin(base), get_args(base)
    if isinstance(bound, Characters):
        return _string_reader(bound)
    if isinstance(bound, Between):
        return _number_reader(bound, may_be_fraction=base is float)
    if isinstance(bound, AtMost) and origin is tuple:
        return _array_reader(_reader(arguments[0]), bound.entries)
    if isinstance(bound, AtMost) and origin is Mapping:
        return _object_reader(_reader(arguments[0]), _reader(arguments[1]), bound.entries)
    raise TypeError(f"{bound} does not bound {base}")


def _optional_reader(annotation: Any) -> Reader:
    members = [member for member in get_args(annotation) if member is not type(None)]
    if len(members) != 1:
        raise TypeError(f"{annotation} is more than an optional value")
    inner = _reader(members[0])
    return lambda value, path: None if value is None else inner(value, path)


def _string_reader(bound: Characters) -> Reader:
    allowed = "\n\r\t" if bound.multiline else ""
    expected = f"a string of {bound.minimum} to {bound.maximum} characters"

    def read_string(value: object, path: str) -> str:
        if not isinstance(value, str) or not bound.minimum <= len(value) <= bound.maximum:
            raise _fail(path, expected)
        # A lone surrogate is valid JSON, but can never be written as UTF-8 again.
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise _fail(path, "no lone surrogates")
        if not value.isprintable() and any(
            (character < " " or "\x7f" <= character <= "\x9f") and character not in allowed
            for character in value
        ):
            raise _fail(path, "no control characters")
        return value

    return read_string


def _number_reader(bound: Between, *, may_be_fraction: bool) -> Reader:
    expected = f"{'a number' if may_be_fraction else 'an integer'} from {bound.minimum} to {bound.maximum}"

    def read_number(value: object, path: str) -> int | float:
        # `True` is an int for Python, but not a number for JSON.
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _fail(path, expected)
        if isinstance(value, float) and not may_be_fraction:
            raise _fail(path, expected)
        if not bound.minimum <= value <= bound.maximum:
            raise _fail(path, expected)
        return value

    return read_number


def _read_bool(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise _fail(path, "true or false")
    return value


def _enum_reader(cls: type[Enum]) -> Reader:
    members: Mapping[object, Enum] = {member.value: member for member in cls}
    expected = "one of " + ", ".join(str(value) for value in members)

    def read_enum(value: object, path: str) -> Enum:
        member = members.get(value) if isinstance(value, str) else None
        if member is None:
            raise _fail(path, expected)
        return member

    return read_enum


def _array_reader(inner: Reader, maximum: int) -> Reader:
    def read_array(value: object, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > maximum:
            raise _fail(path, f"an array of at most {maximum}")
        return tuple(inner(entry, f"{path}[{index}]") for index, entry in enumerate(value))

    return read_array


def _object_reader(key_reader: Reader, inner: Reader, maximum: int) -> Reader:
    def read_object(value: object, path: str) -> dict[Any, Any]:
        if not isinstance(value, dict) or len(value) > maximum:
            raise _fail(path, f"an object of at most {maximum} keys")
        # The key is not repeated in the path: it is the sender's, and could be of any length.
        return {
            key_reader(key, f"a key of {path}"): inner(entry, f"{path}[…]") for key, entry in value.items()
        }

    return read_object
