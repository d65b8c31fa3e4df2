"""The policy's decisions spelt out naively, to compare the compiled ones with.

A rule is the plain set of all requests that it matches, out of a universe small enough to list; "narrows" is then
"is a proper subset of". Placement is a search over all simple paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, combinations, product

from config.policy import RuleSettings

DOMAINS = ("eea", "usa", "chn")
LEVELS = ("public", "personal", "sensitive")
TAGS = ("health", "geo")
ROLES = ("analyst", "support")
PURPOSES = ("statistics", "care")
PARTIES = ("acme",)
NEVER_NAMED = "-"
"""A value of every dimension that no rule names, so that "all" is more than "all that are named"."""

Request = tuple[str, str, str, str, frozenset[str], str, str]
"""component, home, subject's domain, operation, roles, purpose, counterparty"""


def subsets(names: Iterable[str]) -> list[frozenset[str]]:
    names = list(names)
    return [frozenset(some) for size in range(len(names) + 1) for some in combinations(names, size)]


UNIVERSE: list[Request] = list(
    product(
        (*LEVELS[1:], *TAGS),
        DOMAINS,
        DOMAINS,
        ("read", "write"),
        subsets((*ROLES, NEVER_NAMED)),
        (*PURPOSES, NEVER_NAMED),
        (*PARTIES, NEVER_NAMED),
    )
)


def matched(rule: RuleSettings) -> frozenset[Request]:
    return frozenset(one for one in UNIVERSE if matches(rule, one))


def matches(rule: RuleSettings, request: Request) -> bool:
    component, home, domain, operation, roles, purpose, party = request
    refuses = rule.then.word == "refuse"
    if rule.classes and component not in rule.classes:
        return False
    if rule.homes and home not in rule.homes:
        return False
    if rule.operations:
        if operation not in [one.value for one in rule.operations]:
            return False
    elif operation == "write" and not refuses:
        return False
    if rule.domains:
        if "any" not in rule.domains and domain not in rule.domains and not ("home" in rule.domains and domain == home):
            return False
    elif domain != home and not refuses:
        return False
    if rule.roles and not any(role in roles for role in rule.roles):
        return False
    if rule.purposes and purpose not in rule.purposes:
        return False
    return not rule.counterparties or party in rule.counterparties


STRICTNESS = ("allow", "aggregate", "mask", "tokenise", "send_home", "refuse")


def decide(
    rules: dict[str, RuleSettings], sets: dict[str, frozenset[Request]], requests: list[Request], aggregated: bool
) -> tuple[str, set[str], set[str], int, set[str]]:
    """(action, masks asked for, budgets, k, rules) over all components' requests."""
    actions, masks, budgets, ks, names = {"allow"}, set(), set(), {0}, set()
    for request in requests:
        matching = [name for name in rules if request in sets[name]]
        winners = [name for name in matching if not any(sets[other] < sets[name] for other in matching)]
        if not winners:
            at_home = request[1] == request[2]
            actions.add("allow" if at_home else "refuse")
            names.add("default:home" if at_home else "default:abroad")
        for name in winners:
            then = rules[name].then
            word = then.word
            if word == "aggregate" and not aggregated:
                word = "refuse"
            actions.add(word)
            names.add(name)
            if word == "aggregate":
                ks.add(then.k)
            if word == "mask":
                masks.add(then.mask or "own")
            if word == "tokenise":
                masks.add("token")
            if word != "refuse" and rules[name].budget:
                budgets.add(rules[name].budget)
    if max(ks) and masks:
        actions.add("refuse")
    return max(actions, key=STRICTNESS.index), masks, budgets, max(ks), names


Arrow = tuple[str | None, str, str]
"""source (None: written there first), target, means"""


def forbidden(arrows: list[Arrow], allowed: dict[Arrow, bool]) -> set[Arrow]:
    """The arrows that end some path from a first place, all arrows before them allowed and none allowed itself."""
    return {
        path[-1]
        for path in simple_paths(arrows)
        if not allowed[path[-1]] and all(allowed[one] for one in path[:-1])
    }


def simple_paths(arrows: list[Arrow]) -> Iterator[tuple[Arrow, ...]]:
    """All paths from a first place that come to no place twice, but for their last arrow."""

    def onward(path: tuple[Arrow, ...]) -> Iterator[tuple[Arrow, ...]]:
        yield path
        if path[-1][1] not in [one[1] for one in path[:-1]]:
            for arrow in arrows:
                if arrow[0] == path[-1][1]:
                    yield from onward((*path, arrow))

    return chain.from_iterable(onward((arrow,)) for arrow in arrows if arrow[0] is None)
