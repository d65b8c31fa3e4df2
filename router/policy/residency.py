"""Where data of a class may be kept: what `replicas_in`, `failover`, `backup_in` and `logs_in` say, compiled.

Data may always be in its home domain. Of a class with tags each part has its own say, and all must agree; the lowest
class restricts nothing unless it says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from config.policy import ANY, DEFAULT_CLASSES, HOME, ClassSettings, PolicySettings
from config.words import Failover
from router.policy.classes import Classes
from router.policy.model import ClassId


class Means(StrEnum):
    """How data gets from one place to another."""

    ROWS = "rows"
    REFERENCE = "reference copy"
    REPLICA = "replica"
    FAILOVER = "failover"
    BACKUP = "backup"
    LOG = "log"
    SCRATCH = "copy for a scratch server"


_OPTIONS = {
    Means.ROWS: "replicas_in",
    Means.REFERENCE: "replicas_in",
    Means.REPLICA: "replicas_in",
    Means.SCRATCH: "replicas_in",
    Means.BACKUP: "backup_in",
    Means.LOG: "logs_in",
}
"""What decides; ROWS abroad are the rows of a table whose label names another home than its shard's."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the law's eyes."""

    region: str
    domain: str


@dataclass(frozen=True, slots=True)
class Residency:
    """The residency keywords of a policy."""

    policy: PolicySettings
    classes: Classes

    def allows(self, cls: ClassId, home: str, means: Means, source: Spot | None, target: Spot) -> bool:
        """May data of this class and home, being at `source` (None: where it is written first), go to `target`?"""
        return not self.objections(cls, home, means, source, target)

    def objections(self, cls: ClassId, home: str, means: Means, source: Spot | None, target: Spot) -> tuple[str, ...]:
        """The options that forbid it, 'classes.personal.replicas_in'."""
        option = _OPTIONS.get(means, "failover")
        return tuple(
            f"{section}.{name}.{option}"
            for section, name, given, lowest in self._parts(cls)
            if not (
                _may_fail_over(given, lowest, source, target)
                if means is Means.FAILOVER
                else target.domain == home or _names(getattr(given, option), target.domain, lowest)
            )
        )

    def _parts(self, cls: ClassId) -> list[tuple[str, str, ClassSettings, bool]]:
        level = self.classes.level(cls)
        name = self.classes.levels[level]
        given = (self.policy.classes or DEFAULT_CLASSES)[name]
        tags = [("tags", tag, self.policy.tags[tag], False) for tag in self.classes.tags_of(cls)]
        return [("classes", name, given, level == 0), *tags]


def _names(written: tuple[str, ...], domain: str, lowest: bool) -> bool:
    return lowest if not written else ANY in written or (domain in written and domain != HOME)


def _may_fail_over(given: ClassSettings, lowest: bool, source: Spot | None, target: Spot) -> bool:
    """Compared with where the rows are, which may be abroad already, as a copy that is allowed there."""
    if given.failover is None and lowest and _names(given.replicas_in, target.domain, lowest):
        return True
    if source is None:
        return False
    if given.failover is Failover.REFUSE:
        return source.region == target.region
    return source.domain == target.domain
