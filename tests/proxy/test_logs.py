"""Log lines: one per event, whatever is in them, and no text of exceptions that may quote a row."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator

import pytest

from config.errors import ConfigError, Mistake
from config.settings import Telemetry
from config.words import LogFormat, LogLevel
from proxy import logs


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Takes what has been written."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)
    logging.raiseExceptions = True


Out = Callable[[], str]


def test_a_line_for_people(out: Out) -> None:
    logs.configure(Telemetry(), "worker 0")
    logging.getLogger("proxy.pool").warning("shard %s: no primary", "eu-0")
    logging.getLogger("proxy.pool").debug("unseen")
    stamp, rest = out().split(" ", 1)
    assert stamp.endswith("Z") and len(stamp) == 24
    assert rest == "warning worker 0: shard eu-0: no primary\n"


@pytest.mark.parametrize("text", ["a\nb", "a\r\x1b[31mb", "a\x00b\x85c\u2028d"])
def test_no_text_breaks_a_line(out: Out, text: str) -> None:
    logs.configure(Telemetry(), "worker 0")
    logging.getLogger("x").error("login of %s", text)
    written = out()
    assert len(written.splitlines()) == 1
    assert all(character.isprintable() for character in written.rstrip("\n"))


def test_a_line_for_machines(out: Out) -> None:
    logs.configure(Telemetry(log_format=LogFormat.JSON), "admin")
    logging.getLogger("x.y").info("two\nlines", extra={"fields": {"shard": "eu-0"}})
    line = json.loads(out())
    assert line["message"] == "two\nlines"
    assert (line["level"], line["process"], line["module"], line["shard"]) == ("info", "admin", "x.y", "eu-0")


def test_the_level_can_change(out: Out) -> None:
    logs.configure(Telemetry(log_level=LogLevel.ERROR), "admin")
    logging.getLogger("x").warning("no")
    logs.configure(Telemetry(log_level=LogLevel.DEBUG), "admin")
    logging.getLogger("x").debug("yes")
    written = out()
    assert written.count("\n") == 1 and "yes" in written


def test_a_very_long_line_is_cut(out: Out) -> None:
    logs.configure(Telemetry(), "admin")
    logging.getLogger("x").error("x" * 1_000_000)
    assert len(out()) < logs.MAX_LINE + 100


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_an_exception_is_told_by_class_and_place() -> None:
    told = logs.told(raised(ValueError("4111 1111 1111 1111")))
    assert told.startswith("ValueError at test_logs.py:") and told.endswith("in raised")
    assert "4111" not in told


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(98, "Address already in use"), "Address already in use"),
        (ConfigError([Mistake(None, None, "users", "is missing")]), "users: is missing"),
    ],
)
def test_what_the_system_or_the_configuration_says_is_told(error: Exception, text: str) -> None:
    assert text in logs.told(raised(error))


def test_log_exception_keeps_the_text_out(out: Out) -> None:
    logs.configure(Telemetry(), "worker 0")
    try:
        raise KeyError("4111")
    except KeyError:
        logging.getLogger("x").exception("a task failed")
    written = out()
    assert "a task failed: KeyError at test_logs.py" in written
    assert "4111" not in written
    assert written.count("\n") == 1
