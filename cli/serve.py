"""`fairlead serve`: run the proxy."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cli.output import config_option, region_option

EPILOG = """\b
Examples:
  fairlead serve -c fairlead.yaml
  fairlead serve -c /etc/fairlead --region us --workers 4
  fairlead serve -c fairlead.yaml --watch

Exit codes: 0 stopped as told, 1 could not run, 2 the configuration is wrong.
"""
MOST_WORKERS = 1024


@click.command("serve", epilog=EPILOG)
@config_option
@region_option
@click.option(
    "--workers",
    type=click.IntRange(1, MOST_WORKERS),
    metavar="N",
    help="How many worker processes. Default: one per processor core that may be used.",
)
@click.option("--watch", is_flag=True, help="Reload by itself when the configuration changes on disk.")
def serve(path: Path, region: str | None, workers: int | None, watch: bool) -> None:
    """Run the proxy until SIGTERM or Ctrl-C.

    \b
    Signals, to the process that was started:
      SIGHUP           read the configuration again; a wrong one changes nothing
      SIGTERM, SIGINT  take no new clients, let transactions end (limits.drain), stop;
                       a second one stops at once
      SIGUSR2          start this program anew and hand over to it: no client is refused
    """
    from proxy.supervision.supervisor import run

    count = workers or len(os.sched_getaffinity(0))
    raise SystemExit(run(path, region, count, watch=watch))
