"""What the tests of a suite came to, both ways, and which differences are known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import yaml

KNOWN = Path(__file__).parents[2] / "cases" / "driver_suites.yaml"


@dataclass(frozen=True)
class Outcome:
    """`kind`: passed, failed, skipped or, when a test did not run, absent. `text`: the error's."""

    kind: str
    text: str = ""


Outcomes = Mapping[str, Outcome]
ABSENT = Outcome("absent")


def of_junit(path: Path) -> Outcomes:
    """pytest's; a test whose teardown fails is there twice."""
    found: dict[str, Outcome] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        if found.get(name, ABSENT).kind != "failed":
            found[name] = _of_case(case)
    return found


def _of_case(case: ElementTree.Element) -> Outcome:
    for part in case:
        if part.tag in ("failure", "error"):
            return Outcome("failed", f"{part.get('message')}\n{part.text}")
        if part.tag == "skipped":
            return Outcome("skipped", part.get("message") or "")
    return Outcome("passed")


def of_lines(path: Path) -> Outcomes:
    """Those of django_settings.py; one failure among a test's parts is the test's."""
    found: dict[str, Outcome] = {}
    for line in path.read_text().splitlines():
        name, kind, text = json.loads(line)
        if found.get(name, ABSENT).kind != "failed":
            found[name] = Outcome(kind, text)
    return found


def of_go(text: str) -> Outcomes:
    """`go test -v`."""
    kinds = {"PASS": "passed", "FAIL": "failed", "SKIP": "skipped"}
    found: dict[str, Outcome] = {}
    said: list[str] = []
    for line in text.splitlines():
        end = re.match(r"\s*--- (PASS|FAIL|SKIP): (\S+)", line)
        if end is None:
            said = [] if line.startswith("=== RUN") else [*said, line]
        else:
            found[end[2]] = Outcome(kinds[end[1]], "\n".join(said))
    return found


@dataclass(frozen=True)
class Known:
    """A difference that docs/protocol.md explains under this number."""

    suite: re.Pattern[str]
    test: re.Pattern[str]
    difference: int
    why: str


def known_differences() -> list[Known]:
    return [
        Known(re.compile(one["suite"]), re.compile(one["test"]), one["difference"], one["why"])
        for one in yaml.safe_load(KNOWN.read_text())
    ]


@dataclass(frozen=True)
class Differing:
    """A test with another outcome through Fairlead than directly."""

    test: str
    direct: Outcome
    through: Outcome
    known: Known | None

    def __str__(self) -> str:
        lines = [line.strip() for line in self.through.text.splitlines() if line.strip()]
        telling = [line for line in lines if "Error" in line or "FL" in line] or lines
        why = f"difference {self.known.difference}: {self.known.why}" if self.known else "; ".join(telling[-2:])[:400]
        return f"{self.test}: {self.direct.kind} directly, {self.through.kind} through Fairlead ({why})"


def differing(suite: str, direct: Outcomes, through: Outcomes) -> Iterator[Differing]:
    known = [one for one in known_differences() if one.suite.fullmatch(suite)]
    for test in sorted(direct.keys() | through.keys()):
        near, far = through.get(test, ABSENT), direct.get(test, ABSENT)
        if near.kind != far.kind:
            yield Differing(test, far, near, next((one for one in known if one.test.search(test)), None))
