"""KILL [CONNECTION | QUERY] connection id: of a client of Fairlead, never of a server's."""

from __future__ import annotations

from router.plan import Kill, Planned
from router.planner.request import Draft, Request
from router.template import NotUnderstood


def plan(request: Request) -> Planned:
    rest = list(request.tokens[1:])
    if rest and rest[0].upper in ("HARD", "SOFT"):
        del rest[0]
    statement = bool(rest) and rest[0].upper == "QUERY"
    if rest and rest[0].upper in ("CONNECTION", "QUERY"):
        del rest[0]
    if len(rest) == 1 and rest[0].kind == "literal":
        target = 0
    elif [token.upper for token in rest] == ["CONNECTION_ID", "(", ")"]:
        target = None
    else:
        raise NotUnderstood("a session is named by its connection id")
    return Draft(request, "kill").done(Kill(target, statement))
