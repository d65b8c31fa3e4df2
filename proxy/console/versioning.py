"""The verbs about configurations and their versions. They read files and the metastore, so they run in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from _speedups.stats import StatsPage
from config.advice import advice
from config.errors import ConfigError
from config.load import load
from config.parse import duration
from config.settings import MetastoreSettings, Settings
from metastore.open import open_store
from metastore.store import MetastoreError
from metastore.versions import SESSIONS, SHADOW, WORKERS, Bundle, Trial, Versions
from metastore.workflow import Comparison, checked, compared, folder_of, gate, settings_of_version
from ops import digests
from proxy.console.database import DATETIME, INTEGER, TEXT, Column, Rows
from proxy.console.sources import Session, wall
from proxy.console.statements import Token
from proxy.console.tables.configuration import state_of
from router.errors import refusal
from router.policy.compiled import build as build_policy
from router.policy.review import review
from router.simulation import RoutePlanner, Shape, simulate
from router.topology import Topology

CONFIRM_WITHIN = 600.0
"""Seconds to confirm a version in, unless APPLY says otherwise."""
SHOWN = 50
"""Shapes that SIMULATE writes out."""

Lines = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Place:
    """The configuration in force, and where its versions are. `folder`: of the files given to `serve`."""

    page: StatsPage
    settings: Settings
    config: Path
    base: Path | None
    region: str | None
    metastore: MetastoreSettings | None

    @property
    def folder(self) -> Path:
        return self.base or folder_of(self.config)


def table(lines: Lines) -> Rows:
    return Rows((Column("step", TEXT), Column("detail", TEXT)), list(lines))


@contextmanager
def told(verb: str) -> Iterator[None]:
    """What may go wrong, as the verb's answer. Raises Refusal."""
    try:
        yield
    except ConfigError as error:
        raise refusal("CONSOLE_FAILED", verb, "; ".join(str(one) for one in error.mistakes[:10])) from None
    except (MetastoreError, ValueError) as error:
        raise refusal("CONSOLE_FAILED", verb, str(error)) from None
    except OSError as error:
        raise refusal("CONSOLE_FAILED", verb, error.strerror or type(error).__name__) from None


@contextmanager
def versions_of(place: Place, *, create: bool = False) -> Iterator[Versions]:
    if place.metastore is None:
        raise ValueError("this configuration names no metastore. Give it metastore: {sqlite: PATH}")
    with closing(open_store(place.metastore, create=create)) as store:
        yield Versions(store)


def file_of(place: Place, token: Token) -> Path:
    """A configuration beside the one given to `serve`: the console opens no other files. Raises ValueError."""
    folder = place.folder.resolve()
    path = (folder / token.name).resolve()
    if not path.is_relative_to(folder):
        raise ValueError(f"files are read from the folder of the configuration only, {folder}")
    return path


def check(place: Place, token: Token | None) -> Rows:
    """CHECK ['file']"""
    with told("CHECK"):
        path, base = (
            (file_of(place, token), place.folder) if token is not None else (place.config, place.base)
        )
        try:
            settings = load(path, region=place.region, base=base)
            policy = build_policy(settings, Topology.build(settings))
        except ConfigError as error:
            return table([("mistake", str(one)) for one in error.mistakes])
        remarks = [*advice(settings), *(review(settings, policy) if policy is not None else [])]
        return table([*(("remark", str(one)) for one in remarks), ("result", "no mistakes")])


def diff(place: Place, numbers: tuple[int, ...]) -> Rows:
    """DIFF: from what is in force to the file on the disk; DIFF n m: between two versions."""
    with told("DIFF"):
        if not numbers:
            found = compared(place.settings, load(place.config, region=place.region, base=place.base))
        else:
            with versions_of(place) as versions:
                before, after = (
                    settings_of_version(versions, number, place.folder, place.region) for number in numbers
                )
            found = compared(before, after)
    return table(_lines(found) or [("change", "no difference")])


def _lines(found: Comparison) -> Lines:
    rows = [("change", one) for one in found.changes]
    return rows + [("stored rows", one) for one in found.stored_rows]


def simulate_file(place: Place, token: Token) -> Rows:
    """SIMULATE 'file': the recorded statements under another configuration."""
    with told("SIMULATE"):
        path = file_of(place, token)
        after = load(path, region=place.region, secrets=False, base=place.folder)
        found = _forecast(place, after)
        _note_simulated(place, Bundle.of(path, after.files))
        return table(found)


def _note_simulated(place: Place, bundle: Bundle) -> None:
    """For `metastore.require_simulation`: the content was compared with what is in force."""
    if place.metastore is None:
        return
    with suppress(MetastoreError), versions_of(place) as versions:
        active = versions.active()
        if active is not None:
            versions.simulated(bundle.digest, active.number)


def _forecast(place: Place, after: Settings) -> Lines:
    before = load(place.config, region=place.region, secrets=False, base=place.base)
    shapes = [
        Shape(row.statement, row.user, row.keyspace, row.count, not row.truncated)
        for row in digests.top(place.page, limit=digests.MOST).rows
        if row.statement and row.user
    ]
    found = simulate(shapes, RoutePlanner(before, {}), RoutePlanner(after, {}))
    lines = [("result", f"{len(found.changes)} of {found.shapes} shapes change")]
    if found.unjudged:
        lines.append(
            ("result", f"{found.unjudged} could not be judged: their text was cut when it was recorded")
        )
    lines.append(("result", "without the live schema: sharding columns have their declared types"))
    lines += [
        ("newly leaves", f"to {where}: {what} (in {count} shapes)")
        for (what, where), count in found.leaving.items()
    ]
    for change in found.changes[:SHOWN]:
        shape = change.shape
        lines.append((change.what, f"{shape.count} x {shape.user}: {shape.norm}"))
        lines += [("because", detail) for detail in change.details]
    if len(found.changes) > SHOWN:
        lines.append(("result", f"and {len(found.changes) - SHOWN} more"))
    return lines


@dataclass(frozen=True, slots=True)
class Application:
    """APPLY 'file' [SHADOW | CANARY '10%' | CANARY WORKERS n] [WITHIN '10m' | AT ONCE] [DRY RUN] [WHY 'reason']"""

    file: Token
    within: float | None = CONFIRM_WITHIN
    dry: bool = False
    why: str = ""
    trial: Trial | None = None

    @classmethod
    def of(cls, tokens: tuple[Token, ...], form: str) -> Application:
        """From the words behind APPLY. Raises Refusal."""
        if not tokens or tokens[0].kind != "string":
            raise refusal("CONSOLE_SYNTAX", form)
        within, dry, why = CONFIRM_WITHIN, False, ""
        trial, rest = _trial(list(tokens[1:]))
        at_once = False
        while rest:
            word, following = rest[0].upper, rest[1] if len(rest) > 1 else None
            if word == "WITHIN" and following is not None and following.kind == "string":
                with told("APPLY"):
                    within = duration(following.name)
            elif word == "WHY" and following is not None and following.kind == "string":
                why = following.name
            elif word == "AT" and following is not None and following.upper == "ONCE":
                at_once = True
            elif word == "DRY" and following is not None and following.upper == "RUN":
                dry = True
            else:
                raise refusal("CONSOLE_SYNTAX", form)
            rest = rest[2:]
        if trial is not None and at_once:
            raise refusal("CONSOLE_SYNTAX", form)
        return cls(tokens[0], None if at_once else within, dry, why, trial)


def _trial(rest: list[Token]) -> tuple[Trial | None, list[Token]]:
    """How it is to be tried, and the words behind. Raises Refusal."""
    word, following = (rest[0].upper if rest else ""), (rest[1] if len(rest) > 1 else None)
    if word == "SHADOW":
        return Trial(SHADOW), rest[1:]
    if word != "CANARY" or following is None:
        return None, rest
    if following.upper == "WORKERS" and len(rest) > 2 and rest[2].text.isdigit():
        return Trial(WORKERS, int(rest[2].text)), rest[3:]
    return Trial(SESSIONS, percent(following.name if following.kind == "string" else "")), rest[2:]


def percent(text: str) -> float:
    """Raises Refusal."""
    with told("APPLY"):
        share = float(text.removesuffix("%").strip())
        if not 0 < share < 100:
            raise ValueError("a share is more than 0 and less than 100 %")
        return share


def apply(place: Place, who: Session, wanted: Application) -> Rows:
    """Validates, compares with the version in force, and makes it the next version."""
    with told("APPLY"):
        path = file_of(place, wanted.file)
        settings = checked(path, place.region, place.folder)
        bundle = Bundle.of(path, settings.files)
        with versions_of(place, create=not wanted.dry) as versions:
            active = versions.active()
            before = active.number if active is not None else 0
            lines: Lines = []
            if before:
                old = settings_of_version(versions, before, place.folder, place.region)
                lines = _lines(compared(old, settings))
            if before and versions.version(before).content == bundle.digest:
                return table([("result", f"version {before} has this content already")])
            if wanted.dry:
                return table([*lines, ("result", "nothing was changed: DRY RUN")])
            if before:
                gate(versions, old, bundle.digest, before)
            version = versions.publish(
                bundle, _name(who), wanted.why, within=wanted.within, on=before, trial=wanted.trial
            )
        lines.append(("result", f"version {version.number} is published"))
        if wanted.trial is not None:
            lines.append(("result", f"{wanted.trial}; version {before} stays in force meanwhile"))
        if wanted.within is not None and before:
            lines.append(
                ("result", f"CONFIRM within {wanted.within:g} s, or it goes back to version {before}")
            )
        return table(lines)


def history(place: Place) -> Rows:
    with told("HISTORY"), versions_of(place) as versions:
        active, found = versions.active(), versions.history()
    names = (
        ("version", INTEGER),
        ("state", TEXT),
        ("content", TEXT),
        ("at", DATETIME),
        ("who", TEXT),
        ("why", TEXT),
    )
    rows = [
        (one.number, state_of(active, one), one.content, wall(one.when), one.who, one.why) for one in found
    ]
    return Rows(tuple(Column(*name) for name in names), list(rows))


def confirm(place: Place) -> Rows:
    with told("CONFIRM"), versions_of(place) as versions:
        return table([("result", f"version {versions.confirm().number} stays")])


def rollback(place: Place, who: Session, to: int | None, why: str) -> Rows:
    with told("ROLLBACK"), versions_of(place) as versions:
        version = versions.rollback(_name(who), why, to)
        return table(
            [("result", f"version {version.number} is published, with the content of version {version.of}")]
        )


def _name(who: Session) -> str:
    return f"{who.user}@{who.peer} by the console"
