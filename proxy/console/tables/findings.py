"""The table of findings: what an operator should look at, from the configuration, the servers, the certificates."""

from __future__ import annotations

import json
from collections.abc import Iterator

from _speedups.stats import ERROR_CLASSES
from config.advice import advice
from config.errors import ConfigError, Mistake
from ops.exposure import Level
from ops.readiness import ready
from proxy.certificates import certificates
from proxy.console.sources import Sources, wall
from proxy.console.table import Row, Table, columns
from proxy.console.tables.exposure import meters
from router.policy.compiled import build
from router.policy.review import review
from router.topology import Topology

WARN_DAYS = 30


def _findings(sources: Sources) -> Iterator[Row]:
    yield from _of_readiness(sources)
    yield from _of_servers(sources)
    yield from _of_workers(sources)
    yield from _of_certificates(sources)
    yield from _of_configuration(sources)
    yield from _of_budgets(sources)
    yield from _of_witness(sources)


def _of_witness(sources: Sources) -> Iterator[Row]:
    kept = sources.snapshot.total["errors_by_class"][ERROR_CLASSES.index("policy")]
    if kept:
        text = f"{kept} answers were kept back by the witness (FL2110) since the start: a fault, or a new schema"
        yield "error", "policy", "WITNESS", "answers of servers", text


def _of_budgets(sources: Sources) -> Iterator[Row]:
    for one in meters(sources):
        if one.level is not Level.UNDER:
            spent = one.level is Level.REFUSE
            code = "BUDGET_SPENT" if spent else "BUDGET_WARNING"
            yield "error" if spent else "warning", "policy", code, f"budget {one.flow.budget}", one.told


def _of_readiness(sources: Sources) -> Iterator[Row]:
    for name, (passed, found) in ready(sources.page).checks.items():
        if not passed:
            yield "error", "readiness", "NOT_READY", name, found


def _of_servers(sources: Sources) -> Iterator[Row]:
    for one in sources.snapshot.backends:
        if one.health.state == "down":
            yield "error", "server", "SERVER_DOWN", one.name, f"down after {one.health.failures} failed checks"


def _of_workers(sources: Sources) -> Iterator[Row]:
    """Every worker reads the schema, and they need not agree at a moment of change: each finding once."""
    seen = set()
    for reply in sources.replies.get("findings", ()):
        if reply.note is not None:
            sources.warnings.append(reply.note)
            yield "error", "worker", "WORKER_SILENT", f"worker {reply.worker}", reply.note
        for row in reply.rows:
            if (key := json.dumps(row)) not in seen:
                seen.add(key)
                yield row


def _of_certificates(sources: Sources) -> Iterator[Row]:
    for one in certificates(sources.settings):
        if one.not_after is None:
            yield "error", "certificate", "CERTIFICATE_UNREADABLE", one.name, str(one.path)
            continue
        days = (one.not_after.timestamp() - sources.now) / 86400
        if days < WARN_DAYS:
            word = "has expired" if days < 0 else f"expires in {days:.0f} days"
            severity = "error" if days < 0 else "warning"
            yield severity, "certificate", "CERTIFICATE_EXPIRY", one.name, f"{one.path} {word}"


def _of_configuration(sources: Sources) -> Iterator[Row]:
    remarks: list[Mistake] = advice(sources.settings)
    try:
        policy = build(sources.settings, Topology.build(sources.settings))
        remarks += review(sources.settings, policy) if policy is not None else []
    except ConfigError as error:
        remarks += error.mistakes
    for remark in remarks:
        text = f"{remark.message}. {remark.hint}" if remark.hint else remark.message
        yield "remark", "configuration", "CHECK", remark.key, text


def _certificates(sources: Sources) -> Iterator[Row]:
    for one in certificates(sources.settings):
        until = one.not_after.timestamp() if one.not_after is not None else None
        days = (until - sources.now) / 86400 if until is not None else None
        yield one.name, str(one.path), one.subject, wall(until), days


TABLES = (
    Table(
        "findings", "What should be looked at: servers down, schema drift, unlabelled columns, certificates, remarks.",
        columns(
            "severity TEXT error, warning or remark",
            "source TEXT readiness, server, worker, schema, policy, certificate or configuration",
            "code TEXT stable", "place TEXT what it is about", "text TEXT what is wrong",
        ), _findings, asks="findings",
    ),
    Table(
        "certificates", "Certificate files of listeners, peers and towards servers.",
        columns(
            "name TEXT the setting", "path TEXT file", "subject TEXT of its first certificate",
            "not_after DATETIME UTC", "days_left DOUBLE until then",
        ), _certificates,
    ),
)  # fmt: skip
