"""Functions in a write whose value the session knows: written into the text, which is then planned anew.

Only where such a call stands alone, as a value to be stored or compared: a literal means the same there, of a number as
well, which the function has without a sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from router.errors import Refusal
from router.gate import Family
from router.plan import Fact, Facts, Planned, Tell, Told
from router.planner.request import Request
from router.tokens import Token

_FACTS: dict[str, Fact] = {
    "CONNECTION_ID": "connection_id", "CURRENT_USER": "current_user", "USER": "user", "SESSION_USER": "user",
    "SYSTEM_USER": "user", "DATABASE": "database", "SCHEMA": "database", "LAST_INSERT_ID": "last_insert_id",
}  # fmt: skip
_REASONS = frozenset({"LOCAL_FUNCTION", "UNSTABLE_FUNCTION"})
_WRITES = frozenset({Family.INSERT, Family.UPDATE, Family.DELETE})
_BEFORE = frozenset({",", "=", "<=>", "<>", "!=", "<", ">", "<=", ">="})
_BEHIND = frozenset({")", ",", ";", "AND", "OR", "WHERE", "ORDER", "LIMIT", "ON", ""})
_OPENS = frozenset({"VALUES", "VALUE", ",", "IN", "ROW"})


def told(request: Request, reason: Refusal) -> Planned | None:
    """The statement that is refused for such functions, with their places; None when they do not all stand alone."""
    if reason.entry.name not in _REASONS or request.gate.family not in _WRITES:
        return None
    calls = tuple(_calls(request.tokens))
    if not calls or any(one is None for one in calls):
        return None
    plan = Told(tuple(one for one in calls if one is not None), reason.entry.name, reason.filling)
    facts = Facts(request.gate.verb.lower(), writes=True, hints=request.hints)
    because = "what the session knows is written into the statement, which is planned with it"
    return Planned(plan, facts, (because,), request.context.topology)


def _calls(tokens: Sequence[Token]) -> Iterator[Tell | None]:
    """None: one that does not stand alone."""
    for at, token in enumerate(tokens):
        words = [one.text for one in tokens[at + 1 : at + 3]]
        called = words[:1] == ["("]
        if token.upper not in _FACTS or not (called or token.upper == "CURRENT_USER"):
            continue
        last = at + 2 if called else at
        alone = (not called or words == ["(", ")"]) and _alone(tokens, at, last)
        yield Tell(at, last, _FACTS[token.upper]) if alone else None


def _alone(tokens: Sequence[Token], first: int, last: int) -> bool:
    before = tokens[first - 1]
    behind = (tokens[last + 1].upper or tokens[last + 1].text) if last + 1 < len(tokens) else ""
    opens = before.text == "(" and first > 1 and (tokens[first - 2].upper or tokens[first - 2].text) in _OPENS
    return (before.text in _BEFORE or opens) and behind in _BEHIND
