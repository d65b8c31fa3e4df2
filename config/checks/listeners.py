"""Listeners: they can all be opened, and what they need is there."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path

from config.addresses import is_loopback
from config.checks.names import check_plain
from config.findings import Findings
from config.parse import PATH_LONGEST
from config.settings import AdminListener, HttpListener, ListenerSettings, MysqlListener, PeerListener, Settings

_COLLATION = re.compile(r"[a-z0-9]+_[a-z0-9_]+|binary")
_VERSION = re.compile(r"\d+\.\d+\.\d+[!-~]{0,48}")


def check_listeners(settings: Settings, findings: Findings) -> None:
    check_plain(findings, "listeners", settings.listeners)
    written = findings.declared("listeners")
    if not settings.listeners_of(MysqlListener) and set(written) == set(settings.listeners):
        findings.add(("listeners",), "no mysql listener, so no client could connect")
    for name in list(settings.listeners_of(PeerListener))[1:]:
        findings.add(("listeners", name), "a second peer listener; one is enough")
    for name in list(settings.listeners_of(HttpListener))[1:]:
        findings.add(("listeners", name), "a second http listener; one is enough")
    for name in list(settings.listeners_of(AdminListener))[1:]:
        findings.add(("listeners", name), "a second admin listener; one is enough")
    for name, console in settings.listeners_of(AdminListener).items():
        _console_is_guarded(settings, findings, name, console)
    for name, listener in settings.listeners_of(MysqlListener).items():
        _announcement_is_right(findings, name, listener)
        _can_be_reached(findings, name, listener)
    _ports_differ(settings, findings)
    _peers_can_come_in(settings, findings)


def _announcement_is_right(findings: Findings, name: str, listener: MysqlListener) -> None:
    if not _COLLATION.fullmatch(listener.collation):
        findings.add(("listeners", name, "collation"), f"{listener.collation!r} is no collation's name")
    if listener.version is not None and not _VERSION.fullmatch(listener.version):
        findings.add(
            ("listeners", name, "version"), "drivers expect a version such as 8.0.36 or 10.11.6-MariaDB"
        )


def _can_be_reached(findings: Findings, name: str, listener: MysqlListener) -> None:
    if listener.port is None and listener.socket is None:
        if "port" not in findings.declared("listeners", name):
            findings.add(("listeners", name), "needs a port or a socket")
    elif listener.socket is not None and (size := len(os.fsencode(listener.socket))) > PATH_LONGEST:
        findings.add(
            ("listeners", name, "socket"),
            f"the path of a Unix socket has at most {PATH_LONGEST} bytes, this one {size}: {listener.socket}",
            "Put it into a folder with a shorter name, /run/fairlead",
        )


def _console_is_guarded(settings: Settings, findings: Findings, name: str, listener: AdminListener) -> None:
    """Who is at the console sees the whole configuration and may change it."""
    if listener.tls is None and not is_loopback(listener.address):
        findings.add(
            ("listeners", name, "address"),
            f"the admin console would be open to other machines on {listener.address} without TLS",
            "Give the listener tls: {cert: …, key: …}, or bind it to 127.0.0.1",
        )
    if not settings.admin.accounts and not findings.declared("admin", "accounts"):
        findings.add(
            ("listeners", name),
            "nobody could log in to the admin console",
            "Name accounts: admin: {accounts: {NAME: {password: {env: …}, role: admin}}}",
        )


def _ports_differ(settings: Settings, findings: Findings) -> None:
    """Two listeners on one port, unless on different addresses; a listener on a server's own address."""
    names = list(settings.listeners)
    for index, name in enumerate(names):
        listener = settings.listeners[name]
        for other in names[:index]:
            rival = settings.listeners[other]
            if listener.port is not None and listener.port == rival.port and _overlap(listener.address, rival.address):
                message = f"port {listener.port} is listener {other}'s already"
                findings.add(("listeners", name, "port"), message)
            if _socket_of(listener) is not None and _socket_of(listener) == _socket_of(rival):
                findings.add(("listeners", name, "socket"), f"is the socket of listener {other} already")
    for title, shard in settings.shards.items():
        servers = [*([shard.primary] if shard.primary else []), *(one.address for one in shard.replicas)]
        for name, listener in settings.listeners.items():
            if (listener.address, listener.port) in [(server.host, server.port) for server in servers]:
                findings.add(("listeners", name, "port"), f"is the address of a server of shard {title}")
            if str(_socket_of(listener)) in [server.host for server in servers]:
                findings.add(("listeners", name, "socket"), f"is the socket of a server of shard {title}")


def _socket_of(listener: ListenerSettings) -> Path | None:
    return listener.socket if isinstance(listener, MysqlListener) else None


def _overlap(one: str, other: str) -> bool:
    return one == other or _is_any(one) or _is_any(other)


def _is_any(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False


def _peers_can_come_in(settings: Settings, findings: Findings) -> None:
    listeners = settings.listeners_of(PeerListener)
    for name in listeners:
        if settings.peer_tls is None and "peer_tls" not in findings.declared():
            findings.add(("listeners", name), "needs peer_tls; peers come in over mutual TLS only")
    local = settings.regions.get(settings.region)
    if listeners or local is None or local.peer is None or "peer" in findings.declared("listeners"):
        return
    if _lies_abroad_too(settings):
        findings.add(
            ("listeners",),
            "no peer listener, so the other regions cannot reach this one's shards",
            f"They are told to come to port {local.peer.port}: listeners: {{peer: {{port: …}}}}",
        )


def _lies_abroad_too(settings: Settings) -> bool:
    """Some keyspace lies on shards of this region and of another."""
    for keyspace in settings.keyspaces.values():
        homes = {settings.shards[name].region for name in keyspace.shards if name in settings.shards}
        if settings.region in homes and len(homes) > 1:
            return True
    return False
