"""Version strings of servers: which software, which number, and how a greeting says it."""

from __future__ import annotations

REPLICATION_PREFIX = "5.5.5-"


def is_mariadb(version: str) -> bool:
    return "mariadb" in version.lower()


def version_number(version: str) -> int:
    """'10.11.19-MariaDB' -> 101119, as the shared page keeps it."""
    parts = [int("".join(ch for ch in part if ch.isdigit()) or 0) for part in version.split("-")[0].split(".")[:3]]
    parts += [0] * (3 - len(parts))
    return parts[0] * 10000 + parts[1] * 100 + parts[2]


def greeting_version(version: str) -> str:
    """As a server greets with it.

    MariaDB 10 says 5.5.5 first, for replicas of long ago. Connector/Python believes that number; without it, it
    takes MariaDB 10 for a MySQL newer than 8, whose collations MariaDB does not have.
    """
    return f"{REPLICATION_PREFIX}{version}" if version.startswith("10.") and is_mariadb(version) else version
