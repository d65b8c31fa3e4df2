"""docs/compliance.md is true: its example gives the verdicts that it shows, its masks reveal what they declare."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from router.policy.compiled import build
from router.policy.masks import REVEALS
from router.policy.model import FlowKind
from router.topology import Topology
from tests.router.policy.worlds import world

TEXT = (Path(__file__).parents[3] / "docs" / "compliance.md").read_text()


def rows(header: str) -> list[list[str]]:
    """The cells of the table with this first line."""
    lines = TEXT.partition(header)[2].splitlines()[2:]
    table = lines[: lines.index("")]
    return [[cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]


def test_the_example(tmp_path):
    policy_section = yaml.safe_load(TEXT.partition("```yaml\n")[2].partition("```")[0])["policy"]
    settings = world(tmp_path, {"policy": policy_section})
    policy = build(settings, Topology.build(settings))
    table = rows("| column | user | verdict | rules |")
    assert len(table) == 8
    for column, user, verdict, rules in table:
        subject = policy.subject_of(user, "mysql", None)
        told = policy.decide_column("shop", "customers", column, "eea", subject, "read", FlowKind.IDENTITY)
        shown = told.action.name.lower() + (f"({told.mask})" if told.action.name == "MASK" else "")
        assert (shown, ", ".join(told.rules)) == (verdict, rules), (column, user)
        writing = policy.decide_column("shop", "customers", column, "eea", subject, "write", FlowKind.WRITE)
        assert (writing.action.name == "REFUSE") == (user == "reports" or column == "passport"), (column, user)


def test_masks():
    assert {mask: reveals for mask, _, reveals in rows("| mask | of | reveals |")} == REVEALS
