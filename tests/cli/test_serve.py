"""`fairlead serve`: what it hands to the supervisor, and what it answers to wrong use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.main import fairlead
from proxy.supervision import supervisor

Calls = list[tuple[Any, ...]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    seen: Calls = []

    def run(*given: Any, **options: Any) -> int:
        seen.append((*given, options))
        return 7

    monkeypatch.setattr(supervisor, "run", run)
    return seen


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fairlead.yaml"
    path.write_text("region: eu\n")
    return path


def test_hands_over_what_was_said(calls: Calls, file: Path) -> None:
    words = ["serve", "-c", str(file), "--region", "us", "--workers", "3", "--watch"]
    assert CliRunner().invoke(fairlead, words).exit_code == 7
    assert calls == [(file, "us", 3, {"watch": True})]


def test_one_worker_per_core_that_may_be_used(calls: Calls, file: Path) -> None:
    CliRunner().invoke(fairlead, ["serve"], env={"FAIRLEAD_CONFIG": str(file)})
    assert calls == [(file, None, len(os.sched_getaffinity(0)), {"watch": False})]


@pytest.mark.parametrize("words", [[], ["-c", "/absent"], ["--workers", "0"], ["--workers", "1025"]])
def test_wrong_use(calls: Calls, file: Path, words: list[str]) -> None:
    given = words if "-c" in words or not words else ["-c", str(file), *words]
    assert CliRunner().invoke(fairlead, ["serve", *given], env={"FAIRLEAD_CONFIG": ""}).exit_code == 2
    assert calls == []


def test_help_shows_examples_and_signals() -> None:
    text = CliRunner().invoke(fairlead, ["serve", "--help"]).output
    assert "fairlead serve -c fairlead.yaml" in text and "SIGHUP" in text
