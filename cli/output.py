"""What the verbs print: for people, or as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from config.errors import ConfigError, Mistake

EXIT_OK = 0
EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3

F = TypeVar("F", bound=Callable[..., Any])


def format_option(function: F) -> F:
    """`--format table|json`."""
    return click.option(
        "--format",
        "style",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="For people, or for programs.",
    )(function)


def config_option(function: F) -> F:
    """`-c FILE`, the configuration."""
    return click.option(
        "-c",
        "--config",
        "path",
        type=click.Path(exists=True, path_type=Path),
        required=True,
        envvar="FAIRLEAD_CONFIG",
        show_envvar=True,
        help="The configuration: a YAML file, or a folder of them.",
    )(function)


def region_option(function: F) -> F:
    """`--region`, over the file's."""
    return click.option("--region", help="The region to stand in, instead of the file's.")(function)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_rows(rows: Sequence[tuple[str, str]]) -> None:
    """(step, detail) for people."""
    width = max(len(step) for step, _ in rows)
    for step, detail in _without_repeats(rows):
        click.echo(f"{step:<{width}}  {detail}")


def _without_repeats(rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """A step that goes on for several lines is named once."""
    return [("" if index and rows[index - 1][0] == step else step, detail) for index, (step, detail) in enumerate(rows)]


def mistake_data(mistake: Mistake) -> dict[str, Any]:
    return dataclasses.asdict(mistake)


def print_mistakes(mistakes: Iterable[Mistake], style: str) -> None:
    """One line each, or {"ok": false, "findings": […]}."""
    if style == "json":
        print_json({"ok": False, "findings": [mistake_data(one) for one in mistakes]})
        return
    for mistake in mistakes:
        click.echo(str(mistake))


def exit_with_mistakes(error: ConfigError, style: str) -> NoReturn:
    """Ends a verb that needed a configuration and got a bad one."""
    print_mistakes(error.mistakes, style)
    raise SystemExit(EXIT_FINDINGS)
