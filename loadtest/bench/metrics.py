"""Fairlead's own figures, read from its /metrics page (Prometheus text format 0.0.4)."""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

CONNECTS = "fairlead_backend_connects_total"
SHARD_CONNECTIONS = "fairlead_shard_connections"
SHARD_WAITING = "fairlead_shard_waiting_sessions"
PARKED = "fairlead_parked"
CLIENTS = "fairlead_clients"
PLAN_LOOKUPS = "fairlead_plan_cache_lookups_total"


class NoSuchMetric(KeyError):
    """The page has no sample of this name: the proxy and this harness disagree about names."""


@dataclass(frozen=True)
class Sample:
    name: str
    labels: dict[str, str]
    value: float


class Metrics:
    """The samples of one page."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = list(samples)

    @classmethod
    def parse(cls, text: str) -> "Metrics":
        families = text_string_to_metric_families(text)
        return cls(Sample(s.name, s.labels, s.value) for family in families for s in family.samples)

    def sum(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name that have these labels. NoSuchMetric for an unknown name."""
        named = [sample for sample in self._samples if sample.name == name]
        if not named:
            raise NoSuchMetric(name)
        return sum(s.value for s in named if labels.items() <= s.labels.items())
