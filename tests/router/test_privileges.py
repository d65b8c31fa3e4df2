"""Grants by keyspace, table and verb."""

from __future__ import annotations

import pytest

from config.settings import Grant, GrantTarget
from config.words import Verb
from router.privileges import Grants, Need


def grant(on: str, *verbs: Verb) -> Grant:
    keyspace, _, table = on.partition(".")
    target = GrantTarget(None if keyspace == "*" else keyspace, None if table == "*" else table)
    return Grant(on=target, verbs=verbs)


@pytest.mark.parametrize(
    ("on", "verb", "need", "allowed"),
    [
        ("*.*", Verb.SELECT, Need(Verb.SELECT, "shop", "t"), True),
        ("*.*", Verb.ALL, Need(Verb.DROP, "shop"), True),
        ("shop.*", Verb.SELECT, Need(Verb.SELECT, "shop", "t"), True),
        ("shop.*", Verb.SELECT, Need(Verb.INSERT, "shop", "t"), False),
        ("shop.*", Verb.SELECT, Need(Verb.SELECT, "Shop", "t"), False),
        ("shop.t", Verb.SELECT, Need(Verb.SELECT, "shop", "t"), True),
        ("shop.t", Verb.SELECT, Need(Verb.SELECT, "shop", "u"), False),
        ("shop.t", Verb.SELECT, Need(Verb.SELECT, "shop"), False),
        ("shop.t", Verb.ALL, Need(Verb.DELETE, "shop", "t"), True),
        ("*.*", Verb.ALL, Need(Verb.ADMIN, "shop"), False),
        ("shop.*", Verb.ADMIN, Need(Verb.ADMIN, "shop"), False),
        ("*.*", Verb.ADMIN, Need(Verb.ADMIN, "shop"), True),
        ("*.*", Verb.ADMIN, Need(Verb.SELECT, "shop", "t"), False),
    ],
)
def test_allows(on: str, verb: Verb, need: Need, allowed: bool) -> None:
    assert Grants("u", (grant(on, verb),)).allows(need) is allowed


def test_grants_add_up() -> None:
    grants = Grants("u", (grant("shop.*", Verb.SELECT), grant("shop.t", Verb.INSERT)))
    assert grants.check([Need(Verb.SELECT, "shop", "t"), Need(Verb.INSERT, "shop", "t")]) is None
    denied = grants.check([Need(Verb.INSERT, "shop", "u")])
    assert denied is not None
    assert (denied.errno, denied.sqlstate) == (1142, "42000")
    assert "INSERT command denied to user 'u' for table 'u'" in denied.message


def test_a_database_without_any_grant_is_denied_as_such() -> None:
    denied = Grants("u", (grant("shop.*", Verb.SELECT),)).check([Need(Verb.SELECT, "app", "t")])
    assert denied is not None
    assert denied.errno == 1044


def test_a_verb_on_a_whole_keyspace() -> None:
    denied = Grants("u", (grant("shop.t", Verb.CREATE),)).check([Need(Verb.CREATE, "shop")])
    assert denied is not None
    assert denied.errno == 1227


def test_without_grants_nothing_is_seen() -> None:
    nobody = Grants("u")
    assert not nobody.sees("shop")
    assert not nobody.administers
    assert not nobody.everywhere
    assert not nobody.all_on("shop")


def test_what_is_seen() -> None:
    grants = Grants("u", (grant("shop.t", Verb.SELECT), grant("app.*", Verb.ALL)))
    assert grants.sees("shop") and grants.sees("app") and not grants.sees("logs")
    assert grants.all_on("app") and not grants.all_on("shop")
    assert Grants("u", (grant("*.*", Verb.ALL),)).everywhere
    assert Grants("u", (grant("*.*", Verb.ADMIN),)).administers
    assert not Grants("u", (grant("shop.*", Verb.ADMIN),)).administers
