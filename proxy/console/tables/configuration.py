"""Tables about what this Fairlead was told: settings, versions, users, errors, variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from config.flat import flat
from config.settings import Settings
from metastore.open import open_store
from metastore.store import MetastoreError
from metastore.versions import Active, Version, Versions
from proxy.console.sources import Sources, wall
from proxy.console.table import Row, Table, columns
from router.catalogue import ENTRIES

VERSION = "8.0.34-fairlead-console"


def _config(sources: Sources) -> Iterator[Row]:
    places = sources.settings.places
    for entry in flat(sources.settings):
        place = places.get(entry.path)
        file, line = (place.file.name, place.line) if place is not None else (None, None)
        yield entry.key, entry.value, int(place is None and entry.is_default), file, line


def _versions(sources: Sources) -> Iterator[Row]:
    if sources.metastore is None:
        return
    try:
        with closing(open_store(sources.metastore)) as store:
            versions = Versions(store)
            active, history = versions.active(), versions.history()
    except MetastoreError as error:
        sources.warnings.append(str(error))
        return
    for one in history:
        yield one.number, state_of(active, one), one.content, wall(one.when), one.who, one.why, one.base, one.of or None


def state_of(active: Active | None, version: Version) -> str | None:
    """'in force', or until when it must be confirmed; None for those that are not."""
    if active is None or active.number != version.number:
        return None
    return "in force" if active.confirmed else f"until {wall(active.confirm_by)} UTC"


def _users(sources: Sources) -> Iterator[Row]:
    for name, user in sources.settings.users.items():
        grants = "; ".join(f"{', '.join(str(verb) for verb in grant.verbs)} on {grant.on}" for grant in user.grants)
        yield (
            name, "user", None, grants or None, user.default_database,
            str(user.consistency) if user.consistency else None, str(user.redis),
            ", ".join(str(plugin) for plugin in user.plugins), int(user.require_tls),
            ", ".join(user.networks) or None, user.limits.connections,
        )  # fmt: skip
    for name, account in sources.settings.admin.accounts.items():
        yield name, "console", str(account.role), None, None, None, None, None, None, None, None


def _errors(sources: Sources) -> Iterator[Row]:
    for entry in sorted(ENTRIES, key=lambda one: one.id):
        yield entry.id, entry.name, entry.errno, entry.sqlstate, entry.text, entry.why, entry.remedy


def variables(settings: Settings) -> Mapping[str, Any]:
    """The system variables that clients ask for when they connect, and what the console answers."""
    text = "utf8mb4"
    return {
        "auto_increment_increment": 1, "autocommit": 1, "character_set_client": text,
        "character_set_connection": text, "character_set_database": text, "character_set_results": text,
        "character_set_server": text, "character_set_system": "utf8mb3", "collation_connection": f"{text}_general_ci",
        "collation_database": f"{text}_general_ci", "collation_server": f"{text}_general_ci",
        "default_storage_engine": "fairlead", "event_scheduler": "OFF", "foreign_key_checks": 1,
        "have_profiling": "NO", "have_ssl": "YES", "hostname": "fairlead", "init_connect": "",
        "interactive_timeout": int(settings.admin.idle_time), "license": "Apache-2.0", "lower_case_table_names": 1,
        "max_allowed_packet": MAX_PACKET, "max_execution_time": int(settings.admin.query_time * 1000),
        "net_buffer_length": 16384, "net_read_timeout": 30, "net_write_timeout": 60, "performance_schema": 0,
        "protocol_version": 10, "query_cache_size": 0, "query_cache_type": "OFF", "read_only": 1,
        "session_track_schema": 0, "skip_networking": "OFF", "sql_auto_is_null": 0, "sql_mode": "",
        "sql_notes": 1, "sql_safe_updates": 0, "sql_select_limit": 2**63 - 1, "storage_engine": "fairlead",
        "system_time_zone": "UTC", "time_zone": "UTC", "transaction_isolation": "REPEATABLE-READ",
        "transaction_read_only": 1, "tx_isolation": "REPEATABLE-READ", "tx_read_only": 1, "unique_checks": 1,
        "version": VERSION, "version_comment": "Fairlead admin console", "version_compile_machine": "any",
        "version_compile_os": "any", "wait_timeout": int(settings.admin.idle_time), "warning_count": 0,
    }  # fmt: skip


MAX_PACKET = 1 << 20


def _variables(sources: Sources) -> Iterator[Row]:
    for name, value in variables(sources.settings).items():
        yield name, str(value)


TABLES = (
    Table(
        "config", "The settings in force. Secrets are told by where they come from.",
        columns(
            "key TEXT dotted, as in the file", "value TEXT in words", "is_default BIGINT 1: not in the file",
            "file TEXT where it stands", "line BIGINT the line there",
        ), _config,
    ),
    Table(
        "versions", "Configuration versions of the metastore, the newest first.",
        columns(
            "number BIGINT only grows", "state TEXT 'in force', or until when it must be confirmed",
            "content TEXT SHA-256 of the files", "at DATETIME when it was published", "who TEXT published it",
            "why TEXT the reason given", "base BIGINT the version in force before it",
            "of BIGINT the version whose content it is again",
        ), _versions,
    ),
    Table(
        "users", "Who may log in, here and as a client. No passwords, no hashes.",
        columns(
            "name TEXT user name", "kind TEXT user (of the data) or console", "role TEXT of a console account",
            "grants TEXT what the user may do", "default_database TEXT of a client that names none",
            "consistency TEXT where reads go, when the user says", "redis TEXT right at Redis listeners",
            "plugins TEXT authentication methods", "require_tls BIGINT 1: refused without",
            "networks TEXT that it may come from", "connections BIGINT its limit",
        ), _users,
    ),
    Table(
        "errors", "The catalogue of Fairlead's own errors (docs/errors.md).",
        columns(
            "id TEXT stable", "name TEXT of the entry", "errno BIGINT MySQL's nearest", "sqlstate TEXT MySQL's",
            "text TEXT what is said", "why TEXT explanation", "remedy TEXT what to do",
        ), _errors,
    ),
    Table(
        "variables", "System variables, as clients ask for them (SHOW VARIABLES, @@name).",
        columns("name TEXT variable", "value TEXT its value"), _variables,
    ),
)  # fmt: skip
