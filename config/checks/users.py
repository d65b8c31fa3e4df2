"""Users: what they may do exists, and they can log in."""

from __future__ import annotations

import re

from config.checks.names import MAX_USER, check_known
from config.findings import Findings, KeyPath, item
from config.secrets import Password
from config.settings import Grant, MysqlListener, Settings, UserSettings
from config.words import AuthPlugin, Verb

_FORMS = {
    "sha256": (re.compile(r"[0-9A-Fa-f]{64}"), "64 hex digits, SHA256(SHA256(password))"),
    "native": (re.compile(r"\*[0-9A-Fa-f]{40}"), "'*' and 40 hex digits, as PASSWORD() gives"),
}


def check_users(settings: Settings, findings: Findings) -> None:
    if not findings.declared("users") and "users" in findings.declared():
        findings.add(("users",), "names no user, so nobody could log in")
    for name in settings.admin.accounts:
        _name_fits(findings, name, ("admin", "accounts", name))
    for name, user in settings.users.items():
        path = ("users", name)
        _name_fits(findings, name, path)
        _plugins_fit(findings, user, path)
        for index, grant in enumerate(user.grants):
            _grant_fits(settings, findings, grant, (*path, "grants", item(index)))
        if user.default_database is not None:
            where = (*path, "default_database")
            check_known(findings, where, user.default_database, findings.declared("keyspaces"), "keyspace")
        if user.require_tls and not _tls_is_offered(settings):
            findings.add((*path, "require_tls"), "no mysql listener has tls, so this user could not log in")


def _name_fits(findings: Findings, name: str, path: KeyPath) -> None:
    if not name or len(name) > MAX_USER or not name.isprintable():
        findings.add(path, "a user name is 1 to 80 printable characters")


def _plugins_fit(findings: Findings, user: UserSettings, path: KeyPath) -> None:
    if not user.plugins and not findings.wrong((*path, "plugins")):
        findings.add((*path, "plugins"), "needs at least one authentication method")
    if user.password.clear is not None or findings.wrong((*path, "password")):
        return
    for plugin, form in ((AuthPlugin.CACHING_SHA2, "sha256"), (AuthPlugin.NATIVE, "native")):
        if plugin in user.plugins and getattr(user.password, form) is None:
            where = "plugins" if "plugins" in findings.declared(*path) else "password"
            findings.add(
                (*path, where),
                f"{plugin} cannot be served from this password",
                f"Give its {form} form too, or leave {plugin} out of plugins",
            )


def check_password_forms(findings: Findings, password: Password, path: KeyPath) -> None:
    """Hashes look like hashes; called once the secrets are read."""
    for form, (pattern, expected) in _FORMS.items():
        secret = getattr(password, form)
        if secret is not None and secret.value is not None and not pattern.fullmatch(secret.value):
            findings.add((*path, form), f"expected {expected}")


def _grant_fits(settings: Settings, findings: Findings, grant: Grant, path: KeyPath) -> None:
    if not grant.verbs and not findings.wrong((*path, "verbs")):
        findings.add((*path, "verbs"), "needs at least one verb")
    if Verb.ADMIN in grant.verbs and grant.on.keyspace is not None:
        findings.add((*path, "verbs"), "admin is about the servers and is granted on *.* only")
    if grant.on.keyspace is None:
        return
    known = findings.declared("keyspaces")
    if not check_known(findings, (*path, "on"), grant.on.keyspace, known, "keyspace"):
        return
    keyspace = settings.keyspaces.get(grant.on.keyspace)
    if grant.on.table is not None and keyspace is not None and not keyspace.unsharded:
        tables = findings.declared("keyspaces", grant.on.keyspace, "tables")
        check_known(findings, (*path, "on"), grant.on.table, tables, "table")


def _tls_is_offered(settings: Settings) -> bool:
    return any(listener.tls for listener in settings.listeners_of(MysqlListener).values())
