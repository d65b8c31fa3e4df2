"""The tour's third part: an analyst in `us` reads customers of `eu` under a policy, and a rule is changed."""

import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from loadtest.world import configuration
from loadtest.world.fairlead import Fairlead, program
from loadtest.world.layout import Shape, region_id
from loadtest.world.placement import shard_of_id
from loadtest.world.shop import Shop
from loadtest.world.sqlserver import Passwords
from loadtest.world.world import World
from proxy.mysql.auth.scramble import native_digest, sha256_digest

INDENT = 3
ANALYST = "analyst"
PERSONS = 5
"""At least so many customers must be behind an average that leaves."""
PASSPORTS = (
    "ALTER TABLE customers ADD COLUMN passport VARCHAR(20) NOT NULL DEFAULT ''",
    "UPDATE customers SET passport = CONCAT('P', LPAD(MOD(id * 7919, 100000000), 8, '0'))",
)
"""Given to the shop's customers for this part."""
PASSPORT_RULE = {"classes": "sensitive", "homes": "eea", "domains": "usa", "roles": "analyst", "then": "mask(last4)"}
NEW_RULE = {
    "policy": {
        "rules": {"passports": {**PASSPORT_RULE, "budget": "passports"}},
        "budgets": {"passports": {"persons": 100}},
    }
}
AUDIT_KEY, AUDIT_PUBLIC = "audit.key", "audit.pub"
SHOWN = 7
"""Lines of what a command prints."""


def stored(password: str) -> dict[str, Any]:
    """What a version may hold of a password."""
    data = password.encode()
    return {"sha256": sha256_digest(data).hex(), "native": f"*{native_digest(data).hex().upper()}"}


def changes(folder: Path, region: str) -> dict[str, Any]:
    """What the demo's configuration of a region has besides the world's: an analyst, a policy, decision records, a
    metastore, a scratch server."""
    grants = [{"on": "shop.*", "verbs": ["select"]}]
    analyst = {"password": stored(ANALYST), "grants": grants, "default_database": "shop", "redis": "read"}
    columns = {
        "email": {"classes": "personal", "mask": "email"},
        "passport": {"classes": "sensitive"},
        "balance": "pseudonymous",
    }
    tables = {
        "customers": {"classes": "public", "columns": columns, "person": "id"},
        "orders": "public",
        "countries": "public",
        "settings": "public",
    }
    abroad = {"homes": "eea", "domains": "usa", "roles": "analyst"}
    everything = {"classes": ["pseudonymous", "personal", "sensitive"], "operations": ["read", "write"]}
    return {
        "users": {"demo": {"password": {"value": None, **stored("demo")}}, ANALYST: analyst},
        "keyspaces": {"shop": {"scratch": [f"{region}-0"]}},
        "redis": {"patterns": {"customer": {"columns": {one: one for one in ("name", *columns)}}}},
        "metastore": {"sqlite": str(folder / f"versions-{region}.db")},
        "audit": {"folder": str(folder / "audit"), "key": {"file": _signing_key(folder)}},
        "policy": {
            "domains": {"eea": {"regions": ["eu"]}, "usa": {"regions": ["us"]}},
            "labels": {"shop": {"tables": tables}},
            "subjects": {
                "shop": {"users": "demo", "domain": "here", "roles": "shop"},
                "analysts": {"users": ANALYST, "domain": "usa", "roles": "analyst"},
            },
            "rules": {
                "shop": {**everything, "domains": "any", "roles": "shop", "then": "allow"},
                "emails": {"classes": "personal", **abroad, "then": "mask"},
                "balances": {"classes": "pseudonymous", **abroad, "then": f"aggregate({PERSONS})"},
            },
        },
    }


def _signing_key(folder: Path) -> str:
    """The file of the key that signs the records; its public half lies beside it."""
    path = folder / AUDIT_KEY
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / AUDIT_PUBLIC).write_bytes(public)
    return str(path)


@dataclass(frozen=True)
class Question:
    """What the analyst asks `us`. `judge`: is this (a value, or an error's text) the right answer?"""

    title: str
    statement: str
    why: str
    judge: Callable[[str], bool]


def questions(shop: Shop, shape: Shape) -> list[Question]:
    customer = region_id("eu", 1)
    shard = shard_of_id(shape, customer)
    beside = [row for row in shop.all_customers(shape) if shard_of_id(shape, row[0]) == shard][1 : PERSONS + 3]
    mean = sum(round(float(row[4]) * 100) for row in beside) / len(beside) / 100
    email = next(row[2] for row in shop.all_customers(shape) if row[0] == customer)
    masked = email[0] + "***@" + email.rpartition("@")[2]
    name = next(row[1] for row in shop.all_customers(shape) if row[0] == customer)
    namesake = next(row[0] for row in shop.all_customers(shape) if row[1] == name and row[0] >= region_id("us", 1))
    return [
        Question(
            "An e-mail address from abroad",
            f"SELECT email FROM customers WHERE id = {customer}",
            "The customer's home is eu, the analyst's is us: eu's Fairlead gives a mask in place of the address.",
            lambda said: said != email and said[0] == masked[0] and said.endswith(masked.rpartition("@")[2]),
        ),
        passport("FL2101"),
        Question(
            "An address that is joined with a customer of us",
            "SELECT e.email FROM customers e JOIN customers u ON u.name = e.name "
            f"WHERE e.id = {customer} AND u.id = {namesake}",
            "A scratch server in us joins them: eu's Fairlead lends it the mask, which may be where the analyst is.",
            lambda said: said != email and said[0] == masked[0] and said.endswith(masked.rpartition("@")[2]),
        ),
        Question(
            "An average over enough customers",
            f"/* fairlead: shard={shard} */ SELECT ROUND(AVG(balance), 2) FROM customers "
            f"WHERE id IN ({', '.join(str(row[0]) for row in beside)})",
            f"Balances leave eu in aggregates over {PERSONS} customers or more only, counted where they are.",
            lambda said: said[:1].isdigit() and abs(float(said) - mean) < 0.011,
        ),
    ]


def passport(expected: str) -> Question:
    return Question(
        "A passport number from abroad",
        f"SELECT passport FROM customers WHERE id = {region_id('eu', 1)}",
        "No rule lets it out of eu, so nothing is asked there." if expected == "FL2101" else "The new rule decides.",
        lambda said: expected in said,
    )


class BorderGuide:
    """Asks as the analyst, gives an operator's commands, and keeps what went wrong."""

    def __init__(self, world: World, members: Mapping[str, Fairlead], console: Console) -> None:
        self._world = world
        self._members = members
        self._asked = members["us"]
        self._console = console
        self._number = 0
        self.wrong: list[str] = []

    def walk(self, questions: list[Question], first: int) -> None:
        self._number = first
        for question in questions:
            self._ask(question)
        self._look_at_records()
        self._change_a_rule()

    def _look_at_records(self) -> None:
        """Each region's Fairlead has written down what it decided about its own rows."""
        folder = str(self._world.directory / "audit")
        self._title("What was decided is on record, where the data is")
        self._run("audit", "verify", folder, "--key", str(self._world.directory / AUDIT_PUBLIC), expect="whole")
        by = ("--by", "class,to,verdict", "--subject", ANALYST)
        self._run("audit", "report", folder, *by, expect="aggregate")

    def _change_a_rule(self) -> None:
        """Version 1 is what is in force; version 2 has a rule more, and is taken back. Both regions get it: eu decides
        about rows of eu."""
        for region in self._members:
            self._run("apply", "-c", self._old(region), "--at-once", expect="in force in 1 of 1", quiet=True)
        self._title("A rule is changed: what differs, and for whom")
        old, new = self._old("us"), self._new("us")
        self._run("diff", old, new, expect="rule passports is added", codes=(1,))
        corpus = ("--corpus", f"http://127.0.0.1:{self._asked.http_port}", "--schema", f"shop={self._schema()}")
        self._run("simulate", old, new, *corpus, expect="customers.passport of eea, masked (last4)", codes=(1,))
        self._title("The rule is put in force, and must be confirmed")
        for region in self._members:
            self._run("apply", "-c", self._new(region), "--confirm-within", "10m", expect="in force in 1 of 1")
        self._ask(passport("****"))
        self._title("The rule has a budget: so many persons in twelve months")
        self._run("exposure", "-c", self._new("eu"), expect="passports  sensitive  eea   usa")
        self._title("And taken back")
        for region in self._members:
            self._run("rollback", "-c", self._new(region), "--why", "not like this", expect="in force in 1 of 1")
        self._ask(passport("FL2101"))

    def _old(self, region: str) -> str:
        return self._file(f"{region}", self._members[region].configuration)

    def _new(self, region: str) -> str:
        return self._file(f"{region}-new", configuration.merge(self._members[region].configuration, NEW_RULE))

    # --- steps ----------------------------------------------------------------------------------------------

    def _title(self, title: str) -> None:
        self._console.print(f"\n[bold]{self._number}. {title}[/]")
        self._number += 1

    def _ask(self, question: Question) -> None:
        self._title(question.title)
        self._say(f"us, as {ANALYST}> {question.statement}", "cyan")
        self._say(question.why)
        with closing(self._asked.connect(user=ANALYST, password=ANALYST)) as connection, connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN ROUTE {question.statement}")
            for step, detail in _policy_lines(cursor.fetchall()):
                self._say(f"{step}: {detail}", "dim")
            try:
                cursor.execute(question.statement)
                said, style = str(cursor.fetchall()[0][0]), ""
            except pymysql.err.Error as error:
                said, style = str(error.args[1]), "yellow"
        self._say(said, style)
        self._judge(question.title, question.judge(said), said)

    def _run(self, *arguments: str, expect: str, codes: tuple[int, ...] = (0,), quiet: bool = False) -> None:
        """A command of the program; what it prints is shown."""
        variable = {configuration.PASSWORD_VARIABLE: Passwords().service}
        done = subprocess.run(
            [program(), *arguments], capture_output=True, text=True, env={**os.environ, **variable}, check=False
        )
        said = done.stdout + done.stderr
        if not quiet:
            words = (Path(one).name if one.startswith("/") else one.replace(f"{self._world.directory}/", "")
                     for one in arguments)  # fmt: skip
            self._say(f"$ fairlead {' '.join(words)}", "cyan")
            for line in said.rstrip().splitlines()[:SHOWN]:
                self._say(line)
        self._judge(f"fairlead {arguments[0]}", done.returncode in codes and expect in said, said)

    def _judge(self, title: str, right: bool, said: str) -> None:
        self._say("✓" if right else "WRONG", "green" if right else "bold red")
        if not right:
            self.wrong.append(f"{title}: {said}")

    def _file(self, name: str, content: Mapping[str, Any]) -> str:
        path = self._world.directory / f"{name}.yaml"
        path.write_text(yaml.safe_dump(dict(content), sort_keys=False))
        return str(path)

    def _schema(self) -> str:
        """The shop's tables, as mysqldump --no-data would give them."""
        tables = ("customers", "orders", "countries")
        primary = self._world.shards_of("us")[0].primary
        texts = [str(primary.query(f"SHOW CREATE TABLE shop.{table}")[0][1]) for table in tables]
        path = self._world.directory / "shop.sql"
        path.write_text("".join(f"{text};\n" for text in texts))
        return str(path)

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Padding(Text(text, style=style), (0, 0, 0, INDENT), expand=False))


def _policy_lines(route: Any) -> list[tuple[str, str]]:
    """Of EXPLAIN ROUTE: who asks, what is decided where the customer's home is, and what is sent there."""
    return [
        (str(step), str(detail)) for step, detail in route
        if step in ("subject", "column") or str(step).startswith("sends to")
    ][:8]  # fmt: skip
