"""MySQL's functions that clients of a console use and SQLite does not have, and its system variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from proxy.console.sources import wall
from proxy.console.statements import Query
from proxy.console.tables.configuration import VERSION
from router.errors import refusal

Function = Callable[..., Any]


def functions(query: Query, variables: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Function]:
    """By name. `facts`: user, database, connection_id, now (Unix time). Raises Refusal for an unknown variable."""
    now = wall(facts["now"]) or ""
    constant = {
        "version": VERSION, "database": facts["database"], "schema": facts["database"], "user": facts["user"],
        "current_user": facts["user"], "session_user": facts["user"], "system_user": facts["user"],
        "connection_id": facts["connection_id"], "last_insert_id": 0, "row_count": -1, "found_rows": 0,
        "now": now[:19], "curdate": now[:10], "current_role": None,
    }  # fmt: skip
    found: dict[str, Function] = {name: _constant(value) for name, value in constant.items()}
    for written, name in query.variables.items():
        if name not in variables:
            raise refusal("CONSOLE_VARIABLE", name)
        found[written] = _constant(variables[name])
    return {**found, **_COMPUTED}


def _constant(value: Any) -> Function:
    return lambda *_: value


def _concat(*parts: Any) -> str | None:
    return None if None in parts else "".join(map(str, parts))


def _concat_ws(between: Any, *parts: Any) -> str | None:
    return None if between is None else str(between).join(str(part) for part in parts if part is not None)


def _if(condition: Any, then: Any, otherwise: Any) -> Any:
    return then if condition else otherwise


def _extreme(choose: Callable[[tuple[Any, ...]], Any]) -> Function:
    return lambda *parts: None if None in parts else choose(parts)


_COMPUTED: Mapping[str, Function] = MappingProxyType(
    {
        "concat": _concat,
        "concat_ws": _concat_ws,
        "if": _if,
        "greatest": _extreme(max),
        "least": _extreme(min),
    }
)
