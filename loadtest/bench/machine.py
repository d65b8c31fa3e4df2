"""On what the figures were taken: machine, kernel, versions."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

UNKNOWN = "unknown"


def describe(targets: dict[str, str]) -> dict[str, str]:
    """Facts as {name: text}; `targets` adds {target: version}."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_model(),
        "cpus": str(len(os.sched_getaffinity(0))),
        "memory": memory(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "distribution": distribution(),
        "load average": " ".join(f"{value:.2f}" for value in os.getloadavg()),
        "python": platform.python_version(),
        "sysbench": first_line(["sysbench", "--version"]),
        "fairlead": commit(),
        **targets,
    }


def cpu_model(text: str | None = None) -> str:
    """The `model name` of /proc/cpuinfo."""
    content = Path("/proc/cpuinfo").read_text() if text is None else text
    match = re.search(r"^model name\s*:\s*(.+)$", content, re.MULTILINE)
    return match.group(1) if match else UNKNOWN


def memory(text: str | None = None) -> str:
    content = Path("/proc/meminfo").read_text() if text is None else text
    match = re.search(r"^MemTotal:\s+(\d+) kB", content, re.MULTILINE)
    return f"{int(match.group(1)) / 2**20:.1f} GiB" if match else UNKNOWN


def distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", UNKNOWN)
    except OSError:
        return UNKNOWN


def commit() -> str:
    """The commit of this checkout, with + when files differ from it."""
    head = first_line(["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"])
    changed = first_line(
        ["git", "-C", str(Path(__file__).parent), "status", "--porcelain", "--untracked-files=no"]
    )
    return head if head == UNKNOWN or changed in ("", UNKNOWN) else f"{head}+"


def first_line(command: list[str]) -> str:
    """The first line a program prints, "" when it prints none, UNKNOWN when it cannot be run."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"  # where Debian keeps servers
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True, env={**os.environ, "PATH": path}
        )
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return (done.stdout or done.stderr).partition("\n")[0].strip()
