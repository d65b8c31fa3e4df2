"""What is said once at the start: where this Fairlead stands, where it listens, what it serves."""

from __future__ import annotations

import logging
import sys
from importlib import metadata
from pathlib import Path

from config.settings import (
    Address,
    AdminListener,
    HttpListener,
    ListenerSettings,
    MysqlListener,
    PeerListener,
    RedisListener,
    Settings,
)
from config.words import LogFormat

log = logging.getLogger(__name__)


def show(settings: Settings, config: Path, workers: int) -> None:
    """A block on standard error for people; one log line for machines."""
    lines = describe(settings, workers)
    if settings.telemetry.log_format is LogFormat.JSON:
        fields = {"region": settings.region, "workers": workers, "listeners": _addresses(settings)}
        log.info("starting with %s", config, extra={"fields": fields})
        return
    print(f"Fairlead {version()} in region {settings.region}, configured by {config}", file=sys.stderr)
    for name, text in lines:
        print(f"  {name:<9} {text}", file=sys.stderr)
    sys.stderr.flush()


def describe(settings: Settings, workers: int) -> list[tuple[str, str]]:
    """(what, where) lines: listeners, shards here, shards by peer, workers."""
    lines = [(name, _listener(one)) for name, one in settings.listeners.items()]
    for region in sorted(settings.regions, key=lambda one: one != settings.region):
        names = " ".join(name for name, shard in settings.shards.items() if shard.region == region)
        if names:
            lines.append(("shards", f"{names} ({_way(settings, region)})"))
    return [*lines, ("workers", str(workers))]


def _way(settings: Settings, region: str) -> str:
    if region == settings.region:
        return "here"
    peer = settings.regions[region].peer
    return f"by {region}, {peer.host}:{peer.port}" if peer else f"in {region}, out of reach"


def version() -> str:
    try:
        return metadata.version("fairlead")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _listener(listener: ListenerSettings) -> str:
    address = address_of(listener)
    if isinstance(listener, HttpListener):
        return f"http://{address}/ (live, ready, metrics)"
    if isinstance(listener, PeerListener):
        return f"{address} (mutual TLS)"
    if isinstance(listener, RedisListener):
        return f"{address} (TLS)" if listener.tls else f"{address} (no TLS)"
    if isinstance(listener, AdminListener):
        return f"{address} (admin console, {'TLS required' if listener.tls else 'no TLS'})"
    assert isinstance(listener, MysqlListener)
    if listener.tls is None:
        return f"{address} (no TLS)"
    return f"{address} (TLS {'required' if listener.tls.required else 'offered'})"


def address_of(listener: ListenerSettings) -> str:
    """`127.0.0.1:3306`, `/run/fairlead.sock`, or both."""
    places = [] if listener.port is None else [str(Address(listener.address, listener.port))]
    if isinstance(listener, MysqlListener) and listener.socket is not None:
        places.append(str(listener.socket))
    return " and ".join(places)


def _addresses(settings: Settings) -> dict[str, str]:
    return {name: address_of(one) for name, one in settings.listeners.items()}
