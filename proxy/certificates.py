"""The certificate files that a configuration names, and until when they are good."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from config.settings import AdminListener, MysqlListener, RedisListener, Settings


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """`name`: the setting; `subject` and `not_after`: of its first certificate, None when it cannot be read."""

    name: str
    path: Path
    subject: str | None = None
    not_after: datetime.datetime | None = None


def certificates(settings: Settings) -> Iterator[CertificateFile]:
    """Those that this region's Fairlead shows to others."""
    for name, path in _files(settings):
        try:
            leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
        except (OSError, ValueError):
            yield CertificateFile(name, path)
        else:
            yield CertificateFile(name, path, leaf.subject.rfc4514_string(), leaf.not_valid_after_utc)


def _files(settings: Settings) -> Iterator[tuple[str, Path]]:
    if settings.peer_tls is not None:
        yield "peer_tls", settings.peer_tls.cert
    for name, listener in settings.listeners.items():
        if isinstance(listener, MysqlListener | RedisListener | AdminListener) and listener.tls is not None:
            yield f"listeners.{name}.tls", listener.tls.cert
    for name, shard in settings.shards.items():
        if shard.region == settings.region and shard.tls.cert is not None:
            yield f"shards.{name}.tls", shard.tls.cert
