"""The JSON Schema of the configuration, for editors: completion, meanings, and red lines while typing.

It is drawn from `config.settings`, so it cannot say anything else. `python -m config.schema` writes
`fairlead.schema.json` beside this file; a test keeps that current. What only makes sense across the file
(unknown shards, incomplete buckets) is `fairlead check`'s.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from config.decode import DURATION_WORDS
from config.option import DURATION, NETWORK, PATH, REQUIRED, SIZE, Field, Option, fields_of, short_of
from config.policy import RuleVerdict
from config.secrets import Password, Secret
from config.settings import (
    BUCKETS,
    Address,
    Buckets,
    ColumnType,
    GrantTarget,
    PeerListener,
    RedisAddress,
    Settings,
)

FILE = Path(__file__).with_name("fairlead.schema.json")
DRAFT = "http://json-schema.org/draft-07/schema#"

Json = dict[str, Any]

_DURATION: Json = {
    "type": ["string", "integer"],
    "pattern": r"^(0|(\d+(\.\d+)?(us|ms|s|m|h|d))+)$",
    "maximum": 0,
}
_SIZE: Json = {"type": ["string", "integer"], "pattern": r"^\d+(\.\d+)?\s*([kKmMgG]([iI][bB])?|[bB])?$"}
_BUCKET_RANGE: Json = {"type": ["string", "integer"], "pattern": r"^\d{1,5}(\s*-\s*\d{1,5})?$"}
_TEXT: Json = {"type": ["string", "number", "boolean"]}
_REFERENCES = ("env", "file", "value")


def schema() -> Json:
    """The whole schema, as plain data."""
    return {"$schema": DRAFT, "title": "Fairlead configuration", **_object(Settings)} | {
        "patternProperties": {"^x-": {"description": "Left for YAML anchors."}}
    }


def text() -> str:
    """The schema as the file has it."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _object(cls: type) -> Json:
    fields = fields_of(cls)
    required = [field.name for field in fields if field.required]
    result: Json = {
        "type": "object" if required else ["object", "null"],
        "description": _sentence(cls.__doc__ or ""),
        "properties": {field.name: _property(field) for field in fields},
        "additionalProperties": False,
    }
    return result | ({"required": required} if required else {})


def _property(field: Field) -> Json:
    result = _value(field.type, field.option)
    result = {**result, "description": field.option.meaning}
    default = _written(field.default, field.option)
    return result if default is None else {**result, "default": default}


def _written(default: Any, option: Option) -> Any:
    """A default as one would write it, or None when there is none to show."""
    if (
        default is REQUIRED
        or default is None
        or dataclasses.is_dataclass(default)
        or isinstance(default, Mapping)
    ):
        return None
    if option.unit == DURATION:
        return duration_text(default)
    if option.unit == SIZE:
        return size_text(default)
    return list(default) if isinstance(default, tuple) else default


def duration_text(seconds: float) -> str:
    """0.5 -> '500ms', 3600.0 -> '1h': the largest unit that stays whole."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1), ("ms", 1e-3)):
        count = seconds / length
        if count >= 1 and abs(count - round(count)) < 1e-9:
            return f"{round(count)}{unit}"
    return f"{seconds:g}s"


def size_text(size: int) -> str:
    """67108864 -> '64MiB'."""
    for unit, length in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= length and size % length == 0:
            return f"{size // length}{unit}"
    return str(size)


def _value(kind: Any, option: Option) -> Json:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return _union(get_args(kind), option)
    if origin is tuple:
        return _list(_value(get_args(kind)[0], option))
    if origin is Mapping:
        return _mapping(get_args(kind)[1], option)
    if origin is Literal:
        return {"const": get_args(kind)[0]}
    if kind in _NOTATIONS:
        return dict(_NOTATIONS[kind])
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _class(kind)
    return _scalar(kind, option)


def _class(cls: type) -> Json:
    short = short_of(cls)
    if short is None:
        return _object(cls)
    field = next(field for field in fields_of(cls) if field.name == short)
    return {"anyOf": [_value(field.type, field.option), _object(cls)]}


def _union(kinds: tuple[Any, ...], option: Option) -> Json:
    some = [kind for kind in kinds if kind is not type(None)]
    result = _value(some[0], option) if len(some) == 1 else _tagged(some)
    if len(some) == len(kinds):
        return result
    empty: list[Json] = [{"type": "null"}]
    if option.unit == DURATION:
        empty.append({"enum": [*DURATION_WORDS, False]})
    return {"anyOf": [result, *empty]}


def _tagged(classes: list[Any]) -> Json:
    """Classes told apart by `function` or `kind`; only listeners may leave it out, their name says it."""
    variants = [_object(cls) for cls in classes]
    tag = next(name for name, one in variants[0]["properties"].items() if "const" in one)
    if PeerListener not in classes:
        for variant in variants:
            variant["required"] = [tag, *variant.get("required", [])]
    return {"anyOf": variants}


def _list(item: Json) -> Json:
    """A list of plain values may be written as one."""
    whole = {"type": "array", "items": item}
    return whole if item.get("type") == "object" or "properties" in item else {"anyOf": [whole, item]}


def _mapping(kind: Any, option: Option) -> Json:
    names: Json = {"type": "object", "additionalProperties": _value(kind, option)}
    if type(None) in get_args(kind):
        return {"anyOf": [names, _list({"type": "string"})]}
    return names


def _scalar(kind: Any, option: Option) -> Json:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"enum": [word.value for word in kind]}
    if option.unit in (DURATION, SIZE):
        return dict(_DURATION if option.unit == DURATION else _SIZE)
    if option.unit in (PATH, NETWORK):
        return {"type": "string", "minLength": 1}
    if kind is int:
        return {"type": "integer"} | _bounds(option)
    return {"type": "boolean"} if kind is bool else dict(_TEXT)


def _bounds(option: Option) -> Json:
    low = {} if option.low is None else {"minimum": option.low}
    return low if option.high is None else {**low, "maximum": option.high}


def _reference() -> Json:
    return {
        "type": "object",
        "properties": dict.fromkeys(_REFERENCES, _TEXT),
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


def _password() -> Json:
    form: Json = {"anyOf": [{"type": "string"}, _reference()]}
    hashes: Json = {
        "type": "object",
        "properties": {"sha256": form, "native": form},
        "additionalProperties": False,
        "minProperties": 1,
    }
    return {"anyOf": [_reference(), hashes]}


_NOTATIONS: dict[Any, Json] = {
    Secret: _reference(),
    Password: _password(),
    Address: {"type": "string", "examples": ["127.0.0.1:3306", "[::1]:3306"]},
    RedisAddress: {"type": "string", "examples": ["127.0.0.1:6379", "[::1]:6379"]},
    Buckets: {
        **_list(_BUCKET_RANGE),
        "examples": [f"0-{BUCKETS - 1}"],
    },
    ColumnType: {"type": "string", "examples": ["bigint unsigned", "varchar(64) collate utf8mb4_bin"]},
    RuleVerdict: {
        "type": "string",
        "pattern": r"^(allow|mask(\([a-z0-9_]+\))?|tokenise|aggregate\(\d+\)|send_home|refuse)$",
    },
    GrantTarget: {"type": "string", "pattern": r"^(\*\.\*|[^.*]+\.(\*|[^.*]+))$"},
}


def _sentence(docstring: str) -> str:
    return re.sub(r"\s+", " ", docstring).strip()


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
