"""The policy on real servers of two regions: an analyst of `us` reads customers of `eu` through both Fairleads."""

from __future__ import annotations

from typing import Any

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.proxy.clients import ask, client, ids_on, metric, raw, refused, threads_of, together, until, value

pytestmark = pytest.mark.world(regions=2)

USERS = {
    "analyst": {"password": {"value": "x"}, "grants": [{"on": "*.*", "verbs": ["all"]}], "default_database": "shop"},
    "clerk": {"password": {"value": "x"}, "grants": [{"on": "*.*", "verbs": ["all"]}], "default_database": "shop"},
}
POLICY = {
    "domains": {"eea": {"regions": ["eu"]}, "usa": {"regions": ["us"]}},
    "labels": {
        "plain": "public",
        "shop": {
            "classes": "sensitive",
            "tables": {
                "countries": "public",
                "settings": "public",
                "orders": "public",
                "customers": {
                    "classes": "public",
                    "columns": {
                        "email": {"classes": "personal", "mask": "email"},
                        "name": "sensitive",
                        "balance": "pseudonymous",
                    },
                    "person": "id",
                },
            },
        },
    },
    "subjects": {"analysts": {"users": ["analyst"], "domain": "usa"}, "clerks": {"users": ["clerk"], "domain": "eea"}},
    "rules": {
        "masked-abroad": {"classes": "personal", "homes": "eea", "domains": "usa", "then": "mask"},
        "counted-abroad": {"classes": "pseudonymous", "homes": "eea", "domains": "usa", "then": "aggregate(3)"},
    },
}
CHANGES = {"users": USERS, "policy": POLICY}


@pytest.fixture
def eu(world: World) -> Fairlead:
    return world.kept(CHANGES, region="eu")


@pytest.fixture
def us(world: World, eu: Fairlead) -> Fairlead:
    return world.kept(CHANGES, region="us")


def as_analyst(member: Fairlead, **options: Any) -> Any:
    return client(member, user="analyst", password="x", **options)


def clear(world: World, key: int) -> tuple[Any, ...]:
    """The row as its server has it."""
    shard = next(name for name in world.shards if key in ids_on(world, name, 100))
    ((row),) = world.shards[shard].primary.query(
        f"SELECT id, name, email, country FROM shop.customers WHERE id = {key}"
    )
    return row


@pytest.mark.parametrize("region", ["eu", "us"])
def test_an_address_is_masked_abroad_and_a_name_refused(world: World, eu: Fairlead, us: Fairlead, region: str) -> None:
    (key,) = ids_on(world, "eu-0")
    _, name, email, country = clear(world, key)
    with as_analyst({"eu": eu, "us": us}[region]) as connection:
        shown = value(connection, f"SELECT email FROM customers WHERE id = {key}")
        assert shown != email and "*" in shown
        assert ask(connection, f"SELECT id, country FROM customers WHERE id = {key}") == [(key, country)]
        text = refused(connection, f"SELECT name FROM customers WHERE id = {key}", "FL2101")
        assert name not in text
        assert ask(connection, f"SELECT id FROM customers WHERE id = {key} AND email = '{email}'") == []
        refused(connection, f"SELECT id FROM customers WHERE id = {key} AND name > 'a'", "FL2101")
        refused(connection, f"SELECT * FROM customers WHERE id = {key}", "FL2101")


def test_at_home_everything_is_in_clear(world: World, eu: Fairlead, us: Fairlead) -> None:
    (key,) = ids_on(world, "eu-0")
    with client(eu, user="clerk", password="x") as connection:
        assert ask(connection, f"SELECT id, name, email, country FROM customers WHERE id = {key}") == [
            clear(world, key)
        ]
    (key,) = ids_on(world, "us-0")
    with as_analyst(us) as connection:
        assert ask(connection, f"SELECT id, name, email, country FROM customers WHERE id = {key}") == [
            clear(world, key)
        ]


@pytest.mark.parametrize("region", ["eu", "us"])
def test_prepared_statements_are_masked_alike(world: World, eu: Fairlead, us: Fairlead, region: str) -> None:
    member = {"eu": eu, "us": us}[region]
    keys = [ids_on(world, shard)[0] for shard in ("eu-0", "eu-1", "eu-0")]
    with raw(member, user="analyst", password="x") as connection:
        for more in ("", " AND email <> ''"):
            text = f"SELECT email FROM customers WHERE id = ?{more}"
            statement = connection.prepare(text)
            for key in keys * 2:
                shown = connection.execute(statement, [key]).rows[0][0]
                assert shown is not None and b"*" in shown and shown.decode() != clear(world, key)[2]
        protected = connection.prepare("SELECT name FROM customers WHERE id = ?")
        assert connection.execute(protected, [keys[0]]).message.startswith("FL2101")


def test_a_prepared_statement_goes_to_shards_in_different_forms(world: World, us: Fairlead) -> None:
    there, here = ids_on(world, "eu-0")[0], ids_on(world, "us-0")[0]
    with raw(us, user="analyst", password="x") as connection:
        statement = connection.prepare("SELECT email FROM customers WHERE id = ?")
        for _ in range(3):
            assert connection.execute(statement, [here]).rows[0][0] == clear(world, here)[2].encode()
            assert b"*" in (connection.execute(statement, [there]).rows[0][0] or b"")


def parks(member: Fairlead) -> float:
    return metric(member, "fairlead_parks_total")


@pytest.mark.parametrize("region", ["eu", "us"])
def test_a_masked_text_is_put_together_by_the_relay(world: World, eu: Fairlead, us: Fairlead, region: str) -> None:
    member = {"eu": eu, "us": us}[region]
    keys = [key for shard in ("eu-0", "eu-1", "us-0") for key in ids_on(world, shard, 3)]
    with as_analyst(member) as connection:
        for note in ("", " -- trace 1", " /* 2 */"):
            for key in keys:
                ask(connection, f"SELECT email, country AS c FROM customers WHERE id = {key} AND email <> 'x'{note}")
        before = parks(eu), parks(us)
        for number, key in enumerate(keys * 3):
            text = f"SELECT email, country AS c FROM customers WHERE id = {key} AND email <> '{number}' /* {number} */"
            ((shown, country),) = ask(connection, text)
            _, _, email, there = clear(world, key)
            assert country == there and (shown == email if key in ids_on(world, "us-0", 3) else "*" in shown)
        assert (parks(eu), parks(us)) == before


def test_a_text_with_other_spaces_is_put_together_too(world: World, eu: Fairlead) -> None:
    (key,) = ids_on(world, "eu-0")
    forms = ["SELECT email FROM customers WHERE id = {}", "SELECT email\n\tFROM  customers/* all */WHERE id={}", "/**/"]
    with as_analyst(eu) as connection:
        for form in [*forms[:2], forms[2] + forms[0]] * 2:
            for _ in range(3):
                before = parks(eu)
                assert "*" in value(connection, form.format(key))
            assert parks(eu) == before


def test_labels_are_the_clients_own_words(world: World, eu: Fairlead) -> None:
    (key,) = ids_on(world, "eu-0")
    text = f"SELECT UPPER( email ) , email, customers.email e2, LENGTH(/* x */email) FROM customers WHERE id = {key}"
    with as_analyst(eu) as connection, client(eu, user="clerk", password="x") as clerk:
        labels = []
        for one in (connection, connection, clerk):
            with one.cursor() as cursor:
                cursor.execute(text)
                labels.append([column[0] for column in cursor.description])
    assert labels[0] == labels[1] == labels[2] and labels[0][0] == "UPPER( email )"


def test_shards_that_refuse_answer_from_the_plan(world: World, us: Fairlead) -> None:
    there, here = ids_on(world, "eu-0")[0], ids_on(world, "us-0")[0]
    with as_analyst(us) as connection, raw(us, user="analyst", password="x") as prepared:
        statement = prepared.prepare("SELECT name FROM customers WHERE id = ?")
        for number in range(4):
            if number == 1:
                before = parks(us)
            refused(connection, f"SELECT name FROM customers WHERE id = {there}", "FL2101")
            assert value(connection, f"SELECT name FROM customers WHERE id = {here}") == clear(world, here)[1]
            assert prepared.execute(statement, [there]).message.startswith("FL2101")
            assert prepared.execute(statement, [here]).rows[0][0] == clear(world, here)[1].encode()
        assert parks(us) == before


def test_executions_under_a_policy_need_nothing_but_the_relay(world: World, us: Fairlead) -> None:
    keys = [key for shard in ("eu-0", "us-0") for key in ids_on(world, shard, 2)]
    with raw(us, user="analyst", password="x") as connection:
        statement = connection.prepare("SELECT email FROM customers WHERE id = ?")
        for key in keys:
            connection.execute(statement, [key])
        before = parks(us)
        for key in keys * 3:
            shown = connection.execute(statement, [key]).rows[0][0] or b""
            assert (b"*" in shown) == (key in ids_on(world, "eu-0", 2))
        assert parks(us) == before


def test_masked_texts_that_wait_are_still_masked(world: World, eu: Fairlead) -> None:
    """Behind BEGIN, SET and PREPARE steps, and behind each other for few connections, with other texts in between."""
    keys = ids_on(world, "eu-0", 12)
    rows = {key: clear(world, key) for key in keys}

    def work(start: int) -> None:
        with as_analyst(eu) as connection, client(eu, user="clerk", password="x") as clerk:
            for number in range(30):
                key = keys[(start + number) % len(keys)]
                if number % 5 == 0:
                    mode = ("", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES")[(start + number) % 3]
                    ask(connection, f"SET sql_mode = '{mode}'")
                ask(connection, "BEGIN")
                filler = "z" * (70_000 if number % 7 == 0 else number)
                text = f"SELECT id, email FROM customers WHERE id = {key} AND email NOT IN ('', '{filler}')"
                ((found, shown),) = ask(connection, text)
                assert found == key and "*" in shown
                ask(connection, "COMMIT")
                assert value(clerk, f"SELECT email FROM customers WHERE id = {key}") == rows[key][2]

    together([lambda start=start: work(start) for start in range(8)])  # type: ignore[misc]


def test_an_aggregate_over_enough_persons_leaves(world: World, eu: Fairlead) -> None:
    few = ids_on(world, "eu-0", 2)
    many = ids_on(world, "eu-0", 5)
    with as_analyst(eu) as connection:
        total = "/* fairlead: shard=eu-0 */ SELECT SUM(balance), COUNT(*) FROM customers WHERE id IN ({})"
        (row,) = ask(connection, total.format(", ".join(map(str, many))))
        assert row[1] == len(many)
        assert ask(connection, total.format(", ".join(map(str, few)))) == []
        refused(connection, f"SELECT balance FROM customers WHERE id = {few[0]}", "FL2101")
        refused(connection, f"SELECT MAX(balance) FROM customers WHERE id = {few[0]}", "FL2101")


def test_a_lock_reaches_the_row_through_its_leaf(world: World, eu: Fairlead) -> None:
    one, other = ids_on(world, "eu-0", 2)
    with as_analyst(eu) as connection, client(eu, user="clerk", password="x") as rival:
        ask(connection, "BEGIN")
        ask(connection, f"SELECT email FROM customers WHERE id = {one} FOR UPDATE")
        ask(rival, "SET innodb_lock_wait_timeout = 1")
        ask(rival, f"UPDATE customers SET country = country WHERE id = {other}")
        with pytest.raises(pymysql.err.OperationalError) as error:
            ask(rival, f"UPDATE customers SET country = 'FR' WHERE id = {one}")
        assert error.value.args[0] == 1205
        ask(connection, "ROLLBACK")


def test_leaves_keep_the_use_of_indexes(world: World, eu: Fairlead) -> None:
    (key,) = ids_on(world, "eu-0")
    with as_analyst(eu) as connection:
        told = dict(ask(connection, f"EXPLAIN ROUTE SELECT email FROM customers WHERE id = {key}"))
    text = told["sends to eu-0"].replace("?", str(key))
    rows = world.shards["eu-0"].primary.query(f"EXPLAIN {text}", database="shop")
    assert len(rows) == 1 and rows[0][3] in ("const", "eq_ref"), rows


def test_the_route_is_explained_column_by_column(world: World, us: Fairlead) -> None:
    (key,) = ids_on(world, "eu-0")
    with as_analyst(us) as connection:
        told = ask(connection, f"EXPLAIN ROUTE SELECT email, name FROM customers WHERE id = {key}")
    columns = [detail for step, detail in told if step == "column"]
    assert any("customers.email (personal) of eea" in one and "mask" in one for one in columns), told
    assert any("customers.name (sensitive) of eea" in one and "refuse" in one for one in columns), told


def test_rows_of_both_regions_come_together(world: World, us: Fairlead) -> None:
    emails = {}
    for shard in ("eu-0", "us-0"):
        (key,) = ids_on(world, shard)
        emails[key] = clear(world, key)[2]
    home, abroad = sorted(emails, key=lambda key: key in ids_on(world, "eu-0", 100))
    with as_analyst(us) as connection:
        rows = dict(ask(connection, f"SELECT id, email FROM customers WHERE id IN ({home}, {abroad})"))
    assert rows[home] == emails[home]
    assert rows[abroad] != emails[abroad] and "*" in rows[abroad]


def test_errors_of_servers_keep_no_value(world: World, eu: Fairlead) -> None:
    (key,) = ids_on(world, "eu-0")
    probe = f"SELECT EXTRACTVALUE(1, CONCAT(0x7e, email)) FROM customers WHERE id = {key}"
    with as_analyst(eu) as connection, pytest.raises(pymysql.err.Error) as error:
        ask(connection, probe)
    assert error.value.args[0] == 1105
    assert error.value.args[1].startswith("FL2108")


def test_what_is_refused_everywhere_opens_no_connection(world: World, us: Fairlead) -> None:
    (key,) = ids_on(world, "eu-1")
    before = {name: threads_of(shard.primary) for name, shard in world.shards.items() if name.startswith("eu")}
    with as_analyst(us) as connection:
        refused(connection, f"SELECT name FROM customers WHERE id = {key}", "FL2101")
        refused(connection, "SELECT name FROM customers WHERE id IN (1099511627777, 1099511627778)", "FL2101")
        refused(connection, f"EXPLAIN SELECT email FROM customers WHERE id = {key}", "FL2105")
    assert before == {name: threads_of(shard.primary) for name, shard in world.shards.items() if name in before}


def test_a_peer_is_told_how_its_client_was_authenticated(world: World) -> None:
    """Over the listener `mysql` the clerk is somebody abroad, and the other region must not take it for less."""
    subjects = {
        "clerks": {"users": ["clerk"], "domain": "eea"},
        "clerks-outside": {"users": ["clerk"], "listeners": ["mysql"], "domain": "usa"},
        "analysts": {"users": ["analyst"], "domain": "usa"},
    }
    changes = {"users": USERS, "policy": {**POLICY, "subjects": subjects}}
    world.kept(changes, region="eu")
    us = world.kept(changes, region="us")
    (key,) = ids_on(world, "eu-0")
    with client(us, user="clerk", password="x") as connection:
        shown = value(connection, f"SELECT email FROM customers WHERE id = {key}")
        assert "*" in shown
        refused(connection, f"SELECT name FROM customers WHERE id = {key}", "FL2101")


UNMOVED = [
    "SELECT id FROM customers",
    "SELECT id, email FROM customers LIMIT 7",
    "SELECT email FROM customers ORDER BY email, id LIMIT 9",
    "SELECT COUNT(*) FROM customers WHERE email LIKE '%1%'",
    "SELECT email, COUNT(*) FROM customers GROUP BY email ORDER BY 1 LIMIT 5",
    "SELECT GROUP_CONCAT(id) FROM customers",
    "SELECT id FROM customers WHERE email > 'm' LIMIT 5",
    "SELECT MAX(LENGTH(email)) FROM customers",
    "SELECT name FROM customers",
    "SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id WHERE c.email < 'n' LIMIT 5",
    "SELECT DISTINCT email FROM customers LIMIT 4",
]


def test_protected_cells_change_no_answer(world: World, eu: Fairlead) -> None:
    """Other addresses behind what the mask shows, and other names: byte by byte the same, order and errors included."""
    server = world.shards["eu-0"].primary
    with raw(eu, user="analyst", password="x") as connection:
        texts = [f"/* fairlead: shard=eu-0 */ {text}" for text in UNMOVED]
        before = [connection.query(text) for text in texts]
        assert sum(not one.refused for one in before) >= len(texts) - 2, [one.message for one in before]
        server.run("UPDATE customers SET email = INSERT(email, 2, 1, CHAR(97 + id * 7 % 26))", database="shop")
        server.run("UPDATE customers SET name = REVERSE(name)", database="shop")
        assert [connection.query(text) for text in texts] == before


@pytest.mark.parametrize("region", ["eu", "us"])
def test_merged_rows_are_ordered_and_grouped_by_what_may_be_seen(
    world: World, eu: Fairlead, us: Fairlead, region: str
) -> None:
    with as_analyst({"eu": eu, "us": us}[region]) as connection:
        shown = ask(connection, "SELECT id, email FROM customers")
        assert any("*" in email for _, email in shown)
        ordered = ask(connection, "SELECT email, id FROM customers ORDER BY email, id DESC")
        assert ordered == sorted([(email, key) for key, email in shown], key=lambda row: (row[0].lower(), -row[1]))
        counted = ask(connection, "SELECT email, COUNT(*) FROM customers GROUP BY email ORDER BY email")
        assert sum(count for _, count in counted) == len(shown)
        refused(connection, "SELECT id FROM customers ORDER BY name LIMIT 5", "FL2101")
        refused(connection, "SELECT MAX(name) FROM customers", "FL2101")


def test_a_label_for_a_column_that_is_not_there_closes_its_table(world: World) -> None:
    """The column was renamed by somebody, and the label was not."""
    (key,) = ids_on(world, "eu-0")
    for shard in world.shards.values():
        shard.primary.run("ALTER TABLE customers CHANGE email mail VARCHAR(190) NOT NULL", database="shop")
    eu = world.fleet(CHANGES)["eu"]
    with as_analyst(eu) as connection, client(eu, user="clerk", password="x") as clerk:
        until(lambda: "there is no column shop.customers.email" in eu.log.read_text(), "the warning", eu)
        refused(connection, f"SELECT mail FROM customers WHERE id = {key}", "FL2101")
        refused(connection, f"SELECT country FROM customers WHERE id = {key}", "FL2101")
        assert ask(connection, "SELECT COUNT(*) FROM countries WHERE code = 'DE'") == [(1,)]
        assert "@" in value(clerk, f"SELECT mail FROM customers WHERE id = {key}")


# --- scratch servers --------------------------------------------------------------------------------------------

SAME_DOMAIN = "SELECT a.id, a.email FROM customers a JOIN customers b ON b.email = a.email AND b.id <> a.id"


@pytest.mark.parametrize("region", ["eu", "us"])
def test_a_scratch_server_gets_what_the_policy_lets_be_there(world: World, region: str) -> None:
    """An analyst's rows of the eu are masked, and may be in the us then; those of the us may not be in the eu."""
    changes = {**CHANGES, "keyspaces": {"shop": {"scratch": ["eu-0", "us-0"]}}}
    members = {name: world.kept(changes, region=name) for name in ("eu", "us")}
    with as_analyst(members[region]) as connection:
        countries = "SELECT COUNT(*) FROM customers a JOIN customers b ON b.country = a.country AND b.id > a.id"
        assert value(connection, countries) > 0
        refused(connection, SAME_DOMAIN.replace("email", "name"), "FL2101")
        if region == "eu":
            refused(connection, SAME_DOMAIN, "FL2114")
            return
        rows = ask(connection, SAME_DOMAIN)
        assert rows and all("*" in email for _, email in rows)
        told = [detail for step, detail in ask(connection, f"EXPLAIN ROUTE {SAME_DOMAIN}") if step == "  └ policy"]
    assert "eu-0 gives email masked" in told and "us-0 gives it as it is" in told
    assert metric(members["us"], "fairlead_scratch_statements_total", outcome="answered") >= 2
