"""TLS contexts from certificate files, and their reload.

A context is built beside the one in use and swapped in by one assignment; connections keep the context they
were made with. A file that cannot be used leaves its old context in place and is reported.
"""

import datetime
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal, TypeVar

from cryptography import x509

Files = TypeVar("Files")
Context = TypeVar("Context")
ClientCertificates = Literal["none", "optional", "required"]


class TlsMode(Enum):
    """How a backend is reached."""

    DISABLED = "disabled"
    PREFERRED = "preferred"  # TLS when the server offers it
    REQUIRED = "required"  # TLS or no connection; the chain is checked only if a CA is given, the name never
    VERIFY = "verify"  # TLS, chain and host name checked


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """A listener's certificate. `ca` signs the client certificates that are accepted."""

    cert: Path
    key: Path
    ca: Path | None = None
    client_certificates: ClientCertificates = "none"
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """How to connect to a server. Without `ca`, VERIFY trusts the system's store; cert and key: mTLS."""

    mode: TlsMode
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2


@dataclass(frozen=True, slots=True)
class TlsProblem:
    """A context that could not be built: which one, and why."""

    name: str
    message: str


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """What an operator watches of a certificate in use."""

    name: str
    path: Path
    subject: str
    not_after: datetime.datetime


class TlsFilesError(ValueError):
    """Certificate, key or CA cannot be used; the message names the file."""


def server_context(files: ServerFiles) -> ssl.SSLContext:
    """A listener's context: session tickets, no renegotiation. Raises TlsFilesError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, files.minimum)
    _load_chain(context, files.cert, files.key)
    if files.client_certificates != "none":
        if files.ca is None:
            raise TlsFilesError("client certificates cannot be checked without a CA file")
        _load_ca(context, files.ca)
        required = files.client_certificates == "required"
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def client_context(files: ClientFiles) -> ssl.SSLContext | None:
    """The context towards a server, None when TLS is disabled. Raises TlsFilesError."""
    if files.mode is TlsMode.DISABLED:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context, files.minimum)
    context.check_hostname = files.mode is TlsMode.VERIFY
    if files.ca is not None:
        _load_ca(context, files.ca)
    elif files.mode is TlsMode.VERIFY:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        context.verify_mode = ssl.CERT_NONE
    if files.cert is not None:
        _load_chain(context, files.cert, files.key or files.cert)
    return context


class TlsContexts:
    """Every context of a process by name: listeners' and backends'."""

    def __init__(self, servers: Mapping[str, ServerFiles], clients: Mapping[str, ClientFiles] | None = None) -> None:
        """Raises TlsFilesError: a process does not start with a certificate it cannot use."""
        self._server_files = dict(servers)
        self._client_files = dict(clients or {})
        self._stamps = self._stat_files()
        self._servers = {name: server_context(files) for name, files in self._server_files.items()}
        self._clients = {name: client_context(files) for name, files in self._client_files.items()}

    def server(self, name: str) -> ssl.SSLContext:
        """The context that a listener's next connection uses. KeyError for a name never given."""
        return self._servers[name]

    def client(self, name: str) -> ssl.SSLContext | None:
        """The context that the next connection to a backend uses; None: TLS is disabled for it."""
        return self._clients[name]

    def changed(self) -> bool:
        """Whether a file is another one than at the last load (device, inode, size, time of change)."""
        return self._stat_files() != self._stamps

    def reload(
        self,
        servers: Mapping[str, ServerFiles] | None = None,
        clients: Mapping[str, ClientFiles] | None = None,
    ) -> list[TlsProblem]:
        """Read all files again (of the given set, if one is given) and swap in what can be used.

        A context that cannot be built keeps its predecessor if it has one; names not given any more go.
        """
        server_files = dict(self._server_files if servers is None else servers)
        client_files = dict(self._client_files if clients is None else clients)
        problems: list[TlsProblem] = []
        self._server_files, self._client_files = server_files, client_files
        self._stamps = self._stat_files()  # before reading: a file that changes meanwhile is read again
        new_servers = _rebuild(server_files, self._servers, server_context, problems)
        new_clients = _rebuild(client_files, self._clients, client_context, problems)
        self._servers, self._clients = new_servers, new_clients
        return problems

    def certificates(self) -> list[CertificateStatus]:
        """Subject and expiry of every certificate file, for metrics; unreadable ones are left out."""
        files = [(name, entry.cert) for name, entry in self._server_files.items()]
        files += [(name, entry.cert) for name, entry in self._client_files.items() if entry.cert is not None]
        found = (_status(name, path) for name, path in files)
        return [status for status in found if status is not None]

    def _stat_files(self) -> dict[Path, tuple[int, ...]]:
        entries: list[ServerFiles | ClientFiles] = [
            *self._server_files.values(),
            *self._client_files.values(),
        ]
        paths = {path for entry in entries for path in (entry.cert, entry.key, entry.ca) if path is not None}
        return {path: _stamp(path) for path in paths}


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _rebuild(
    files: Mapping[str, Files],
    current: Mapping[str, Context],
    build: Callable[[Files], Context],
    problems: list[TlsProblem],
) -> dict[str, Context]:
    rebuilt: dict[str, Context] = {}
    for name, entry in files.items():
        try:
            rebuilt[name] = build(entry)
        except TlsFilesError as error:
            problems.append(TlsProblem(name, str(error)))
            if name in current:
                rebuilt[name] = current[name]
    return rebuilt


def _harden(context: ssl.SSLContext, minimum: ssl.TLSVersion) -> None:
    context.minimum_version = minimum
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION


def _load_chain(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    try:
        context.load_cert_chain(cert, key, password=_refuse_password)
    except (OSError, ValueError) as error:
        raise TlsFilesError(f"certificate {cert} with key {key}: {_reason(error)}") from error


def _load_ca(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(cafile=ca)
    except (OSError, ValueError) as error:
        raise TlsFilesError(f"CA {ca}: {_reason(error)}") from error


def _refuse_password() -> str:
    # Without this OpenSSL would ask on the terminal.
    raise ValueError("the key is protected by a passphrase; store it without one")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not in PEM format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


def _status(name: str, path: Path) -> CertificateStatus | None:
    try:
        leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError):
        return None
    return CertificateStatus(name, path, leaf.subject.rfc4514_string(), leaf.not_valid_after_utc)
