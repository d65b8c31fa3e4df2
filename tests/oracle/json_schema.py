"""A validator for the part of JSON Schema (draft 7) that config/fairlead.schema.json uses."""

from __future__ import annotations

import re
from typing import Any

TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}


def problems(value: Any, schema: dict[str, Any], at: str = "$") -> list[str]:
    """Where and why `value` is not what `schema` says; empty when it is."""
    unknown = set(schema) - KEYWORDS
    assert not unknown, f"the oracle does not know {unknown}"
    found: list[str] = []
    if "anyOf" in schema and all(problems(value, one, at) for one in schema["anyOf"]):
        found.append(f"{at}: fits no alternative")
    if "type" in schema and not has_type(value, schema["type"]):
        return [*found, f"{at}: not {schema['type']}"]
    if "const" in schema and value != schema["const"]:
        found.append(f"{at}: not {schema['const']}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: not in {schema['enum']}")
    if isinstance(value, str):
        found += text_problems(value, schema, at)
    if isinstance(value, int | float) and not isinstance(value, bool):
        found += number_problems(value, schema, at)
    if isinstance(value, dict):
        found += object_problems(value, schema, at)
    if isinstance(value, list) and "items" in schema:
        found += [
            text for i, one in enumerate(value) for text in problems(one, schema["items"], f"{at}[{i}]")
        ]
    return found


KEYWORDS = {
    "$schema",
    "title",
    "description",
    "default",
    "examples",
    "anyOf",
    "type",
    "const",
    "enum",
    "pattern",
    "minLength",
    "minimum",
    "maximum",
    "properties",
    "patternProperties",
    "additionalProperties",
    "required",
    "minProperties",
    "maxProperties",
    "items",
}


def has_type(value: Any, names: Any) -> bool:
    for name in names if isinstance(names, list) else [names]:
        if isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool)):
            return True
    return False


def text_problems(value: str, schema: dict[str, Any], at: str) -> list[str]:
    found = []
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{at}: does not match {schema['pattern']}")
    if len(value) < schema.get("minLength", 0):
        found.append(f"{at}: too short")
    return found


def number_problems(value: float, schema: dict[str, Any], at: str) -> list[str]:
    low, high = schema.get("minimum", value), schema.get("maximum", value)
    return [] if low <= value <= high else [f"{at}: not within {low} and {high}"]


def object_problems(value: dict[str, Any], schema: dict[str, Any], at: str) -> list[str]:
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extra = schema.get("additionalProperties", True)
    found = [f"{at}: {name} is missing" for name in schema.get("required", []) if name not in value]
    if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value)):
        found.append(f"{at}: wrong number of keys")
    for name, one in value.items():
        if name in known:
            found += problems(one, known[name], f"{at}.{name}")
        elif any(re.search(pattern, name) for pattern in patterns):
            continue
        elif extra is False:
            found.append(f"{at}: {name} is not known")
        elif isinstance(extra, dict):
            found += problems(one, extra, f"{at}.{name}")
    return found
