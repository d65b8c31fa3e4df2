"""The command: help, version, lazy verbs, the guard of our package names."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import cli.main
from cli.guard import PACKAGES, foreign_packages
from cli.main import VERBS, fairlead
from cli.output import EXIT_FINDINGS, EXIT_OK, EXIT_REFUSED, EXIT_USAGE

ROOT = Path(__file__).parents[2]


def run(*arguments: str):
    return CliRunner().invoke(fairlead, list(arguments), prog_name="fairlead")


def test_exit_codes_are_those_promised():
    assert (EXIT_OK, EXIT_FINDINGS, EXIT_USAGE, EXIT_REFUSED) == (0, 1, 2, 3)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["serve", "--help"], ["check", "--help"]])
def test_help(arguments):
    result = run(*arguments)
    assert result.exit_code == EXIT_OK and "Usage: fairlead" in result.output


def test_help_shows_every_verb_and_examples():
    output = run("--help").output
    assert all(verb in output for verb in VERBS)
    assert "Examples:" in output and "Exit codes" in output


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_there_and_has_examples(verb):
    result = run(verb, "--help")
    assert result.exit_code == EXIT_OK
    assert f"fairlead {verb}" in result.output, "an example to copy"


def test_every_verb_has_a_file_of_its_own():
    for verb, (module, meaning) in VERBS.items():
        assert module == f"cli.{verb}" and meaning.endswith(".")
        assert isinstance(cli.main.fairlead.get_command(click.Context(fairlead), verb), click.Command)


def test_version():
    result = run("--version")
    assert result.exit_code == EXIT_OK and result.output.startswith("fairlead, version ")


def test_a_misspelt_verb():
    result = run("chekc")
    assert result.exit_code == EXIT_USAGE and "Did you mean check?" in result.output


def test_verbs_are_imported_when_used():
    code = (
        "import sys, cli.main; from click.testing import CliRunner; "
        "CliRunner().invoke(cli.main.fairlead, ['--help']); "
        "print(sorted(m for m in sys.modules if m in "
        "('cli.check', 'cli.serve', 'router.topology', 'uvloop', 'sqlglot', 'proxy')))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


def test_the_guard_knows_all_our_packages():
    found = {path.parent.name for path in ROOT.glob("*/py.typed")}
    assert set(PACKAGES) == found


def test_the_guard_passes_in_this_environment():
    assert foreign_packages() == {}


def test_the_guard_sees_another_distribution():
    owners = {"proxy": ["fairlead", "proxy.py"], "config": ["fairlead"], "cli": ["other"], "numpy": ["numpy"]}
    assert foreign_packages(owners) == {"proxy": ["proxy.py"], "cli": ["other"]}


def test_a_foreign_package_stops_every_verb(monkeypatch):
    monkeypatch.setattr(cli.main, "foreign_packages", lambda: {"proxy": ["proxy.py"]})
    result = run("example")
    assert result.exit_code == EXIT_USAGE and "proxy is also proxy.py's" in result.output


def test_a_foreign_package_does_not_hide_the_help(monkeypatch):
    monkeypatch.setattr(cli.main, "foreign_packages", lambda: {"proxy": ["proxy.py"]})
    assert run("--help").exit_code == EXIT_OK


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "complete "), ("zsh", "compdef"), ("fish", "complete ")]
)
def test_completion(shell, word):
    result = run("completion", shell)
    assert result.exit_code == EXIT_OK and word in result.output and "_FAIRLEAD_COMPLETE" in result.output


def test_completion_completes_verbs():
    """What a shell's script asks for, answered without running anything."""
    code = "import sys; from cli.main import main; main()"
    output = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={
            "_FAIRLEAD_COMPLETE": "bash_complete",
            "COMP_WORDS": "fairlead ch",
            "COMP_CWORD": "1",
            "PATH": "",
        },
        capture_output=True,
        text=True,
    )
    assert output.stdout.strip() == "plain,check"


def test_the_example_can_be_had():
    assert run("example").output == (ROOT / "config" / "example.yaml").read_text()
    assert run("example", "--schema").output == (ROOT / "config" / "fairlead.schema.json").read_text()


def test_the_package_holds_what_the_verbs_print():
    assert importlib.util.find_spec("config") is not None
    text = (ROOT / "pyproject.toml").read_text()
    assert 'config = ["example.yaml", "*.json"]' in text
