"""The verbs of the CLI as statements of the console. What changes something needs the role admin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from proxy.console import versioning
from proxy.console.database import INTEGER, TEXT, Column, Rows
from proxy.console.sources import Session
from proxy.console.statements import Token, words
from proxy.console.workers import NoAnswer
from router.errors import refusal

if TYPE_CHECKING:
    from proxy.console.server import Console


@dataclass(frozen=True, slots=True)
class Verb:
    """One statement: the verb's name in VERBS, its words, and the text as it was written."""

    name: str
    tokens: tuple[Token, ...]
    text: str


Run = Callable[["Verbs", Session, Verb], Awaitable[Rows]]


@dataclass(frozen=True, slots=True)
class Known:
    """`writes`: it changes something, so it needs the role admin."""

    form: str
    meaning: str
    run: Run
    writes: bool = False


def verb_of(tokens: Sequence[Token], text: str) -> Verb | None:
    """None when the statement is none."""
    first, second, _ = words(tokens, 3)
    name = first
    if first == "EXPLAIN" and second == "ROUTE":
        name = "EXPLAIN ROUTE"
    elif first == "ROLLBACK" and not (second == "TO" and len(tokens) > 2 and _is_target(tokens[2])):
        return None
    return Verb(name, tuple(tokens), text) if name in VERBS else None


def _is_target(token: Token) -> bool:
    """A number or PREVIOUS; other words are savepoints, which clients may roll back to."""
    return token.kind == "number" or token.upper == "PREVIOUS"


class Verbs:
    """Carries them out."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def run(self, who: Session, verb: Verb) -> Rows:
        """Raises Refusal."""
        known = VERBS[verb.name]
        if known.writes and not who.admin:
            raise refusal("CONSOLE_ROLE", verb.name)
        return await known.run(self, who, verb)

    # --- the running Fairlead -------------------------------------------------------------------------------

    async def reload(self, who: Session, verb: Verb) -> Rows:
        _nothing_more(verb, 1)
        return await self._ask(verb, "reload")

    async def drain(self, who: Session, verb: Verb) -> Rows:
        _nothing_more(verb, 1)
        return await self._ask(verb, "drain")

    async def _ask(self, verb: Verb, what: str) -> Rows:
        try:
            answer = await self._console.admin.supervisor.ask(what)
        except (TimeoutError, OSError) as error:
            raise refusal(
                "CONSOLE_FAILED", verb.name, str(error) or "the supervisor does not answer"
            ) from None
        if not answer.ok:
            raise refusal("CONSOLE_FAILED", verb.name, "; ".join(answer.lines) or "it is draining already")
        lines = answer.lines or ("nothing changes" if what == "reload" else "draining",)
        return Rows(
            (Column("configuration", INTEGER), Column("change", TEXT)),
            [(answer.number, one) for one in lines],
        )

    async def kill(self, who: Session, verb: Verb) -> Rows:
        tokens = verb.tokens[2:] if words(verb.tokens, 2)[1] in ("CONNECTION", "SESSION") else verb.tokens[1:]
        if len(tokens) != 1 or not tokens[0].text.isdigit():
            raise refusal("CONSOLE_SYNTAX", VERBS["KILL"].form)
        number = int(tokens[0].text)
        # The number says which worker gave it (`proxy.accept.ConnectionIds`).
        worker = (number >> 24) - 1
        if not 0 <= worker < len(self._console.admin.start.workers):
            raise refusal("CONSOLE_SESSION", str(number))
        try:
            rows = await self._console.workers.one(worker, "kill", session=number)
        except (NoAnswer, TimeoutError) as error:
            raise refusal(
                "CONSOLE_FAILED", "KILL", str(error) or f"worker {worker} does not answer"
            ) from None
        if rows != [[True]]:
            raise refusal("CONSOLE_SESSION", str(number))
        return Rows((), [])

    # --- configurations and their versions ------------------------------------------------------------------

    def _place(self) -> versioning.Place:
        admin = self._console.admin
        now, start = admin.in_force, admin.start
        return versioning.Place(start.page, now.settings, now.config, now.base, start.region, start.metastore)

    async def check(self, who: Session, verb: Verb) -> Rows:
        return await self._console.in_thread(versioning.check, self._place(), _file(verb, optional=True))

    async def diff(self, who: Session, verb: Verb) -> Rows:
        numbers = tuple(_number(verb, token) for token in verb.tokens[1:])
        if len(numbers) not in (0, 2):
            raise refusal("CONSOLE_SYNTAX", VERBS["DIFF"].form)
        return await self._console.in_thread(versioning.diff, self._place(), numbers)

    async def simulate(self, who: Session, verb: Verb) -> Rows:
        return await self._console.in_thread(versioning.simulate_file, self._place(), _file(verb))

    async def apply(self, who: Session, verb: Verb) -> Rows:
        wanted = versioning.Application.of(verb.tokens[1:], VERBS["APPLY"].form)
        return await self._console.in_thread(versioning.apply, self._place(), who, wanted)

    async def confirm(self, who: Session, verb: Verb) -> Rows:
        _nothing_more(verb, 1)
        return await self._console.in_thread(versioning.confirm, self._place())

    async def rollback(self, who: Session, verb: Verb) -> Rows:
        target, rest = verb.tokens[2], verb.tokens[3:]
        why = rest[1].name if len(rest) == 2 and rest[0].upper == "WHY" and rest[1].kind == "string" else ""
        if rest and not why:
            raise refusal("CONSOLE_SYNTAX", VERBS["ROLLBACK"].form)
        to = None if target.upper == "PREVIOUS" else _number(verb, target)
        return await self._console.in_thread(versioning.rollback, self._place(), who, to, why)

    async def history(self, who: Session, verb: Verb) -> Rows:
        _nothing_more(verb, 1)
        return await self._console.in_thread(versioning.history, self._place())

    # --- routes ---------------------------------------------------------------------------------------------

    async def explain(self, who: Session, verb: Verb) -> Rows:
        """EXPLAIN ROUTE [AS user] [IN database] statement, or `statement AS user`."""
        settings = self._console.admin.in_force.settings
        tokens, user, database = list(verb.tokens[2:]), None, None
        while len(tokens) > 2 and (word := tokens[0].upper) in ("AS", "IN"):
            user, database = (tokens[1].name, database) if word == "AS" else (user, tokens[1].name)
            tokens = tokens[2:]
        end = len(verb.text)
        if (
            user is None
            and len(tokens) > 2
            and tokens[-2].upper == "AS"
            and tokens[-1].name in settings.users
        ):
            user, end = tokens[-1].name, tokens[-2].at
            tokens = tokens[:-2]
        if not tokens or user is None:
            raise refusal("CONSOLE_SYNTAX", VERBS["EXPLAIN ROUTE"].form)
        if user not in settings.users:
            raise refusal("CONSOLE_FAILED", "EXPLAIN ROUTE", f"there is no user {user}")
        sql = verb.text[tokens[0].at : end].rstrip().rstrip(";")
        if len(sql) > MAX_EXPLAINED:
            raise refusal("CONSOLE_LARGE", f"{MAX_EXPLAINED} characters of a statement")
        try:
            rows = await self._console.workers.any("explain", sql=sql, user=user, database=database)
        except NoAnswer as error:
            raise refusal("CONSOLE_FAILED", "EXPLAIN ROUTE", str(error)) from None
        found = [("as user", user), *((str(step), str(detail)) for step, detail in rows)]
        return Rows((Column("step", TEXT), Column("detail", TEXT)), list(found))


MAX_EXPLAINED = 8000


def _file(verb: Verb, *, optional: bool = False) -> Token | None:
    """The one file's name behind a verb, in quotes."""
    rest = verb.tokens[1:]
    if len(rest) == 1 and rest[0].kind == "string":
        return rest[0]
    if optional and not rest:
        return None
    raise refusal("CONSOLE_SYNTAX", VERBS[verb.name].form)


def _number(verb: Verb, token: Token) -> int:
    if not token.text.isdigit() or len(token.text) > 10:
        raise refusal("CONSOLE_SYNTAX", VERBS[verb.name].form)
    return int(token.text)


def _nothing_more(verb: Verb, count: int) -> None:
    if len(verb.tokens) > count:
        raise refusal("CONSOLE_SYNTAX", f"{verb.tokens[count].text[:40]} behind {verb.name}")


VERBS: Mapping[str, Known] = MappingProxyType(
    {
        "EXPLAIN ROUTE": Known(
            "EXPLAIN ROUTE [AS user] [IN database] statement",
            "Where a statement would go, and why.",
            Verbs.explain,
        ),
        "CHECK": Known("CHECK ['file']", "Mistakes and remarks of a configuration.", Verbs.check),
        "DIFF": Known(
            "DIFF [n m]",
            "What changes from what is in force to the file on disk, or from version n to m.",
            Verbs.diff,
        ),
        "SIMULATE": Known(
            "SIMULATE 'file'", "What another configuration would do with the statements seen.", Verbs.simulate
        ),
        "HISTORY": Known("HISTORY", "The versions, the newest first.", Verbs.history),
        "APPLY": Known(
            "APPLY 'file' [SHADOW | CANARY '10%' | CANARY WORKERS n] [WITHIN '10m' | AT ONCE] [DRY RUN] [WHY 'reason']",
            "Make a configuration beside the one in force the next version, or one on trial until CONFIRM.",
            Verbs.apply,
            writes=True,
        ),
        "CONFIRM": Known("CONFIRM", "The version in force stays.", Verbs.confirm, writes=True),
        "ROLLBACK": Known(
            "ROLLBACK TO n | PREVIOUS [WHY 'reason']",
            "Put an earlier version in force.",
            Verbs.rollback,
            writes=True,
        ),
        "RELOAD": Known("RELOAD", "Read the configuration again.", Verbs.reload, writes=True),
        "KILL": Known("KILL session", "End a client's session.", Verbs.kill, writes=True),
        "DRAIN": Known("DRAIN", "Take no new clients, let transactions end, stop.", Verbs.drain, writes=True),
    }
)
