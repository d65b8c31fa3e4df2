"""BEGIN, COMMIT, ROLLBACK and savepoints."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from router.context import Completion
from router.plan import CHAIN, RELEASE, Planned, Transaction, TransactionVerb
from router.planner.request import Draft, Request
from router.template import NotUnderstood
from router.tokens import Token, split, words

_CHARACTERISTICS = {
    ("READ", "ONLY"): "read only",
    ("READ", "WRITE"): "read write",
    ("WITH", "CONSISTENT", "SNAPSHOT"): "with consistent snapshot",
}
_CHAINS = {"AND CHAIN": True, "AND NO CHAIN": False}
_RELEASES = {"RELEASE": True, "NO RELEASE": False}
_ENDS = {
    f"{chain} {release}".strip(): (_CHAINS.get(chain), _RELEASES.get(release))
    for chain, release in product(("", *_CHAINS), ("", *_RELEASES))
    if (chain, release) != ("AND CHAIN", "RELEASE")
}
"""Words behind COMMIT and ROLLBACK -> does it chain, does it release? None: as completion_type has it."""


def plan(request: Request) -> Planned:
    tokens = request.tokens
    first, second = words(tokens, 2)
    if first == "BEGIN":
        return _begin(request, tokens[2:] if second == "WORK" else tokens[1:])
    if first == "START" and second == "TRANSACTION":
        return _begin(request, tokens[2:])
    if first == "COMMIT":
        return _end(request, "commit", tokens[1:])
    if first == "SAVEPOINT":
        return _savepoint(request, "savepoint", tokens[1:])
    if first == "RELEASE" and second == "SAVEPOINT":
        return _savepoint(request, "release", tokens[2:])
    if first == "ROLLBACK":
        return _rollback(request, tokens[1:])
    raise NotUnderstood("a transaction statement of this form")


def _begin(request: Request, rest: Sequence[Token]) -> Planned:
    options = set()
    for part in split(rest) if rest else []:
        option = _CHARACTERISTICS.get(tuple(token.upper for token in part))
        if option is None:
            raise NotUnderstood("START TRANSACTION with these characteristics")
        options.add(option)
    if {"read only", "read write"} <= options:
        raise NotUnderstood("START TRANSACTION both READ ONLY and READ WRITE")
    draft = Draft(request, "begin", implicit_commit=True)
    draft.because("a transaction begins on the shard of its first statement")
    return draft.done(Transaction("begin", frozenset(options)))


def _end(request: Request, verb: TransactionVerb, rest: Sequence[Token]) -> Planned:
    """[WORK] [AND [NO] CHAIN] [[NO] RELEASE]"""
    text = [token.upper for token in rest if token.upper != "WORK" or token is not rest[0]]
    said = _ENDS.get(" ".join(text))
    if said is None:
        raise NotUnderstood(f"{verb.upper()} with these words")
    return Draft(request, verb).done(Transaction(verb, _options(*said, request.context.completion)))


def _options(chains: bool | None, releases: bool | None, completion: Completion) -> frozenset[str]:
    """Where both are wanted, one from the words and one by completion_type, nothing is left of the chained one."""
    if releases or (releases is None and completion == "RELEASE"):
        return frozenset({RELEASE})
    return frozenset({CHAIN} if chains or (chains is None and completion == "CHAIN") else ())


def _rollback(request: Request, rest: Sequence[Token]) -> Planned:
    rest = rest[1:] if words(rest, 1) == ("WORK",) else rest
    if words(rest, 1) != ("TO",):
        return _end(request, "rollback", rest)
    rest = rest[2:] if words(rest, 2)[1] == "SAVEPOINT" else rest[1:]
    return _savepoint(request, "rollback to", rest)


def _savepoint(request: Request, verb: TransactionVerb, rest: Sequence[Token]) -> Planned:
    if len(rest) != 1 or not rest[0].is_name:
        raise NotUnderstood(f"{verb.upper()} without a plain name")
    draft = Draft(request, verb)
    draft.because("a savepoint belongs to the transaction's shard")
    return draft.done(Transaction(verb, savepoint=rest[0].name))
