"""Errors that Fairlead itself answers, and the exception that carries one.

A backend's own errors are passed on unchanged and never appear here. The entries are in
`router/catalogue.py`;
`docs/errors.md` is generated from them (`python -m router.errors > docs/errors.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from router.catalogue import ENTRIES, Entry

if TYPE_CHECKING:
    from router.plan import Shadowed

CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in ENTRIES}


@dataclass(frozen=True, slots=True)
class _Filled:
    entry: Entry
    args: tuple[str, ...]

    def __str__(self) -> str:
        what = self.entry.text.format(*self.args)
        return f"{self.entry.id}: {what}. {self.entry.remedy.format(*self.args)}"


class Refusal(Exception):
    """A statement, connection or command that Fairlead refuses, with the catalogue's entry and its arguments.

    `tables`: (keyspace, table) that the statement named, as far as that is known. `shadowed`: what a version on trial
    says of it.
    """

    def __init__(self, entry: Entry, args: tuple[str, ...] = ()) -> None:
        self.entry = entry
        self.filling = args
        self.tables: tuple[tuple[str, str], ...] = ()
        self.shadowed: Shadowed | None = None
        super().__init__(str(_Filled(entry, args)))

    @property
    def is_verdict(self) -> bool:
        """Is it the policy that refuses? Then a decision record says so."""
        return self.entry.name.startswith("POLICY_") and self.entry.name != "POLICY_SERVER_ERROR"

    @property
    def errno(self) -> int:
        return self.entry.errno

    @property
    def sqlstate(self) -> str:
        return self.entry.sqlstate

    @property
    def id(self) -> str:
        return self.entry.id

    @property
    def message(self) -> str:
        """The wire text: `FL1203: <what was refused>: <why>. <what to do>`."""
        return str(self)

    def __reduce__(self) -> tuple[type[Refusal], tuple[Entry, tuple[str, ...]]]:
        return (Refusal, (self.entry, self.filling))


def refusal(name: str, *args: str) -> Refusal:
    """The catalogue's entry `name`, filled. KeyError on an unknown name is our bug."""
    return Refusal(CATALOGUE[name], args)


def page() -> str:
    """docs/errors.md, whole."""
    lines = ["# Errors", "", _INTRODUCTION]
    family = ""
    for entry in sorted(ENTRIES, key=lambda entry: entry.id):
        if entry.id[:3] != family:
            family = entry.id[:3]
            lines += ["", f"## {_FAMILIES[family]}"]
        lines += ["", *_section(entry)]
    return "\n".join(lines) + "\n"


_INTRODUCTION = (
    "Fairlead answers these errors itself. Each has a stable id at the head of its text; errno and SQLSTATE "
    "are\n"
    "MySQL's nearest. An error of a backend is passed on as it is and has no id. `{0}`, `{1}` … stand for "
    "what the\n"
    "statement named; values of rows never appear."
)
_FAMILIES = {
    "FL1": "FL1xxx: routing",
    "FL2": "FL2xxx: privileges",
    "FL3": "FL3xxx: sessions and transactions",
    "FL4": "FL4xxx: backends, peers and limits",
    "FL5": "FL5xxx: schema",
    "FL6": "FL6xxx: admin console",
}


def _section(entry: Entry) -> list[str]:
    return [
        f"### {entry.id} {entry.name}",
        "",
        f"errno {entry.errno}, SQLSTATE {entry.sqlstate}: `{entry.text}`",
        "",
        entry.why,
        "",
        f"**What to do.** {entry.remedy}",
    ]


if __name__ == "__main__":
    print(page(), end="")
