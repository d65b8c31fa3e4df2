"""`fairlead example`: the commented example configuration."""

from __future__ import annotations

from importlib import resources

import click

EPILOG = """\b
Examples:
  fairlead example > fairlead.yaml
  fairlead example --schema > fairlead.schema.json
"""


@click.command("example", epilog=EPILOG)
@click.option("--schema", is_flag=True, help="The JSON Schema for editors instead.")
def example(schema: bool) -> None:
    """Print the commented example configuration: every option, its meaning, its default."""
    name = "fairlead.schema.json" if schema else "example.yaml"
    click.echo(resources.files("config").joinpath(name).read_text(encoding="utf-8"), nl=False)
