"""The `fairlead` command. One file per verb, imported when the verb is used.

Exit codes of every verb: 0 all is well, 1 there are findings (mistakes, differences), 2 the command was used
wrongly, 3 refused (the statement would be refused by Fairlead).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib import metadata
from types import MappingProxyType

import click

from cli.guard import DISTRIBUTION, foreign_packages
from config.findings import near_or_known

VERBS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "serve": ("cli.serve", "Run the proxy."),
        "check": ("cli.check", "Validate a configuration."),
        "explain": ("cli.explain", "Show where a statement would go, and why."),
        "diff": ("cli.diff", "Say what changes between two configurations."),
        "simulate": ("cli.simulate", "Say what another configuration would do with recorded statements."),
        "apply": ("cli.apply", "Make a configuration the next version, and put it in force."),
        "confirm": ("cli.confirm", "Let the version in force stay."),
        "rollback": ("cli.rollback", "Go back to an earlier version."),
        "history": ("cli.history", "List configuration versions."),
        "audit": ("cli.audit", "Verify decision records, or report from them."),
        "lookup": ("cli.lookup", "Make, fill and check the tables of lookups."),
        "exposure": ("cli.exposure", "Show how many persons were shown, and what is left of the budgets."),
        "example": ("cli.example", "Print the commented example configuration, or its JSON Schema."),
        "completion": ("cli.completion", "Print the completion script of a shell."),
    }
)
"""Verb -> (module, which holds it under the verb's name; one line for the help)."""

EPILOG = """\b
Examples:
  fairlead example > fairlead.yaml
  fairlead check -c fairlead.yaml
  fairlead explain -c fairlead.yaml --database shop "SELECT * FROM orders WHERE customer_id = 7"
  fairlead diff fairlead.yaml new.yaml
  fairlead serve -c fairlead.yaml --workers 4

Exit codes: 0 well, 1 findings, 2 usage, 3 refused.
"""


class Verbs(click.Group):
    """Knows the verbs by name and imports one when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = getattr(importlib.import_module(VERBS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A misspelt verb is answered with the nearest one."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            hint = near_or_known(args[0], VERBS, "Commands")
            raise click.UsageError(f"there is no command {args[0]}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table: showing the help imports no verb."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, meaning) for name, (_, meaning) in VERBS.items()])


def version() -> str:
    """The installed version; a checkout that was never installed has none."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0 (not installed)"


@click.command(cls=Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version(), "-V", "--version", prog_name="fairlead")
def fairlead() -> None:
    """Fairlead: a sharding and region-routing proxy for MySQL and Redis."""
    refuse_foreign_packages()


def refuse_foreign_packages() -> None:
    """Raises UsageError when another distribution has our package names: its files may replace ours."""
    foreign = foreign_packages()
    if foreign:
        owners = "; ".join(f"{package} is also {', '.join(names)}'s" for package, names in foreign.items())
        raise click.UsageError(
            f"another installed distribution has packages of Fairlead's names: {owners}. "
            "Install Fairlead in an environment of its own."
        )


def main() -> None:
    """The console script."""
    fairlead(prog_name="fairlead", complete_var="_FAIRLEAD_COMPLETE")


if __name__ == "__main__":
    main()
