"""Can the certificate files be used? Looked at with the configuration, so that a reload cannot break TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

from config.findings import Findings, KeyPath
from config.settings import AdminListener, MysqlListener, Settings


def check_certificates(settings: Settings, findings: Findings) -> None:
    """The files that this region's Fairlead will open."""
    if settings.peer_tls is not None:
        tls = settings.peer_tls
        _check(findings, ("peer_tls",), tls.cert, tls.key, tls.ca)
    for name, listener in settings.listeners.items():
        if isinstance(listener, MysqlListener | AdminListener) and listener.tls is not None:
            path = ("listeners", name, "tls")
            _check(findings, path, listener.tls.cert, listener.tls.key, listener.tls.ca)
    for name, shard in settings.shards.items():
        if shard.region == settings.region:
            _check(findings, ("shards", name, "tls"), shard.tls.cert, shard.tls.key, shard.tls.ca)


def _check(findings: Findings, path: KeyPath, cert: Path | None, key: Path | None, ca: Path | None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    readable = [
        _is_readable(findings, (*path, part), file)
        for part, file in (("cert", cert), ("key", key), ("ca", ca))
    ]
    if cert and key and all(readable[:2]):
        try:
            context.load_cert_chain(cert, key, password=_no_passphrase)
        except (ssl.SSLError, ValueError) as error:
            findings.add((*path, "cert"), f"{cert} and {key} cannot be used: {_reason(error)}")
    if ca and readable[2]:
        try:
            context.load_verify_locations(ca)
        except ssl.SSLError as error:
            findings.add((*path, "ca"), f"{ca} cannot be used: {_reason(error)}")


def _is_readable(findings: Findings, path: KeyPath, file: Path | None) -> bool:
    if file is None:
        return False
    try:
        with file.open("rb"):
            return True
    except OSError as error:
        findings.add(path, f"{file}: {error.strerror}")
        return False


def _no_passphrase() -> str:
    raise ValueError("the key is encrypted, and nobody is there to type its passphrase")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not the certificate's"
    if isinstance(error, ssl.SSLError):
        return "not PEM text, or damaged"
    return str(error)
