"""The settings of the admin console: who may log in there, and what one session may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any

from config.option import DURATION, KIB, MIB, SIZE, Option
from config.secrets import Password
from config.words import AdminRole


def _empty() -> Any:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminAccount:
    """An account of the admin console. It is none of `users` and reaches no row."""

    password: Annotated[
        Password,
        Option(
            "As a user's: {env: NAME}, {file: PATH} or {value: TEXT}; or {sha256: …}, {native: …}.",
            secret=True,
        ),
    ]
    role: Annotated[
        AdminRole, Option("viewer: reads; admin: also APPLY, CONFIRM, ROLLBACK TO, RELOAD, KILL, DRAIN.")
    ] = AdminRole.VIEWER


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings:
    """The admin console (docs/console.md), which listens where `listeners.admin` says."""

    accounts: Annotated[Mapping[str, AdminAccount], Option("Who may log in, by name.")] = field(default_factory=_empty)
    sessions: Annotated[int, Option("The most connections at once.", low=1, high=1024)] = 16
    idle_time: Annotated[float, Option("A session silent for so long is closed.", DURATION, low=1)] = 600.0
    query_time: Annotated[float, Option("A query that takes longer is ended.", DURATION, low=0.05, high=600)] = 5.0
    rows: Annotated[int, Option("The most rows of an answer; a longer one is refused.", low=1, high=10**7)] = 100_000
    answer: Annotated[
        int, Option("The most bytes of an answer; a larger one is refused.", SIZE, low=64 * KIB, high=1024 * MIB)
    ] = 16 * MIB
