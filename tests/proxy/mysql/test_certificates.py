"""Certificate files: what is refused, and reloading while connections are made."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from loadtest.world.certs import Authority
from proxy.mysql.certificates import (
    ClientFiles,
    ServerFiles,
    TlsContexts,
    TlsFilesError,
    TlsMode,
    client_context,
    server_context,
)
from proxy.mysql.tls import shuttle_server
from tests.proxy.mysql.helpers import run, tcp_pair


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def files_of(authority: Authority, name: str) -> ServerFiles:
    issued = authority.issue(name)
    return ServerFiles(issued.certificate, issued.key)


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    one, two = files_of(authority, "one"), files_of(authority, "two")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    cases = [
        (ServerFiles(one.cert, two.key), "two.key"),
        (ServerFiles(tmp_path / "none.pem", one.key), "none.pem"),
        (ServerFiles(garbage, one.key), "garbage.pem"),
        (ServerFiles(one.cert, one.key, garbage, "required"), "garbage.pem"),
        (ServerFiles(one.cert, one.key, None, "optional"), "CA"),
    ]
    for files, named in cases:
        with pytest.raises(TlsFilesError, match=named):
            server_context(files)
    with pytest.raises(TlsFilesError, match="garbage"):
        client_context(ClientFiles(TlsMode.VERIFY, garbage))


def test_a_key_with_a_passphrase_is_refused_without_asking(authority: Authority, tmp_path: Path) -> None:
    files = files_of(authority, "locked")
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"phrase"),
        )
    )
    with pytest.raises(TlsFilesError, match="passphrase"):
        server_context(ServerFiles(files.cert, locked))


def test_what_a_mode_checks(authority: Authority) -> None:
    def context(mode: TlsMode, ca: Path | None = None) -> ssl.SSLContext:
        made = client_context(ClientFiles(mode, ca))
        assert made is not None
        return made

    assert client_context(ClientFiles(TlsMode.DISABLED)) is None
    for mode in (TlsMode.PREFERRED, TlsMode.REQUIRED):
        assert context(mode).verify_mode is ssl.CERT_NONE
        assert context(mode, authority.ca).verify_mode is ssl.CERT_REQUIRED
        assert not context(mode, authority.ca).check_hostname
    for ca in (None, authority.ca):
        assert context(TlsMode.VERIFY, ca).verify_mode is ssl.CERT_REQUIRED
        assert context(TlsMode.VERIFY, ca).check_hostname
    assert context(TlsMode.REQUIRED).minimum_version is ssl.TLSVersion.TLSv1_2


async def served_name(contexts: TlsContexts, authority: Authority) -> str:
    """The common name that a new client of the listener is shown."""
    near, far = tcp_pair()
    far.setblocking(True)
    client = client_context(ClientFiles(TlsMode.REQUIRED, authority.ca))
    assert client is not None
    loop = asyncio.get_running_loop()
    wrapping = loop.run_in_executor(None, client.wrap_socket, far)
    plain, _ = await shuttle_server(loop, near, contexts.server("mysql"))
    remote = await wrapping
    certificate = remote.getpeercert(binary_form=True)
    assert certificate is not None
    name = x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
    plain.close()
    remote.close()
    return name


def test_reload_takes_what_is_good_and_keeps_what_was(authority: Authority, tmp_path: Path) -> None:
    first, second = files_of(authority, "first"), files_of(authority, "second")
    live = ServerFiles(tmp_path / "live.pem", tmp_path / "live.key")

    def install(files: ServerFiles) -> None:
        live.cert.write_bytes(files.cert.read_bytes())
        live.key.write_bytes(files.key.read_bytes())

    async def main() -> None:
        install(first)
        contexts = TlsContexts({"mysql": live}, {"eu-0": ClientFiles(TlsMode.VERIFY, authority.ca)})
        assert await served_name(contexts, authority) == "CN=first"
        backend = contexts.client("eu-0")
        install(second)
        assert await served_name(contexts, authority) == "CN=first"  # not before it is asked for
        assert contexts.reload() == []
        assert await served_name(contexts, authority) == "CN=second"
        assert contexts.client("eu-0") is not backend

        live.key.write_bytes(first.key.read_bytes())  # half of a rotation
        (problem,) = contexts.reload()
        assert problem.name == "mysql"
        assert "live.key" in problem.message
        assert await served_name(contexts, authority) == "CN=second"

        install(first)
        assert contexts.reload({"mysql": live, "peer": second}, {"us": ClientFiles(TlsMode.DISABLED)}) == []
        assert await served_name(contexts, authority) == "CN=first"
        assert contexts.client("us") is None
        with pytest.raises(KeyError):
            contexts.client("eu-0")
        (problem,) = contexts.reload({"mysql": live, "new": ServerFiles(tmp_path / "none", tmp_path / "none")})
        assert problem.name == "new"
        with pytest.raises(KeyError):
            contexts.server("new")

    run(main())


def test_a_changed_file_is_noticed_once(authority: Authority, tmp_path: Path) -> None:
    """Also one replaced by a rename, which is how certificates are usually rotated."""
    first, second = files_of(authority, "first"), files_of(authority, "second")
    live = ServerFiles(tmp_path / "live.pem", tmp_path / "live.key")
    for source, target in ((first.cert, live.cert), (first.key, live.key)):
        target.write_bytes(source.read_bytes())
    contexts = TlsContexts({"mysql": live})
    assert not contexts.changed()
    (tmp_path / "new").write_bytes(second.cert.read_bytes())
    (tmp_path / "new").rename(live.cert)
    assert contexts.changed()
    assert contexts.reload()  # the key is still the old one's
    assert not contexts.changed()
    live.key.write_bytes(second.key.read_bytes())
    assert contexts.changed()
    assert contexts.reload() == []
    live.cert.unlink()
    assert contexts.changed()


def test_the_lowest_version_is_configured(authority: Authority) -> None:
    files = files_of(authority, "modern")
    newest = ServerFiles(files.cert, files.key, minimum=ssl.TLSVersion.TLSv1_3)
    assert server_context(newest).minimum_version is ssl.TLSVersion.TLSv1_3
    client = client_context(ClientFiles(TlsMode.REQUIRED, minimum=ssl.TLSVersion.TLSv1_3))
    assert client is not None
    assert client.minimum_version is ssl.TLSVersion.TLSv1_3


def test_expiry_is_reported(authority: Authority) -> None:
    contexts = TlsContexts({"mysql": files_of(authority, "watched")}, {"eu-0": ClientFiles(TlsMode.REQUIRED)})
    (status,) = contexts.certificates()
    assert (status.name, status.subject) == ("mysql", "CN=watched")
    assert status.not_after > datetime.datetime.now(datetime.UTC)
    status.path.unlink()
    assert contexts.certificates() == []


def test_a_process_does_not_start_with_a_bad_file(tmp_path: Path) -> None:
    with pytest.raises(TlsFilesError):
        TlsContexts({"mysql": ServerFiles(tmp_path / "none", tmp_path / "none")})
