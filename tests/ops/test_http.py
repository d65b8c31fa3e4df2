"""The HTTP listener, over ASGI and once over a real socket."""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import closing

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from _speedups.stats import StatsPage
from ops import http
from ops.http import Admin, application, bind, names_loopback, server
from ops.readiness import Verdict

LOOPBACK, REMOTE = ("127.0.0.1", 5000), ("192.0.2.7", 5000)


def get(admin: Admin, path: str, client: tuple[str, int] = LOOPBACK, host: str = "127.0.0.1:7380",
        method: str = "GET") -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(application(admin), client=client)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as session:
            return await session.request(method, path, headers={"host": host})

    return asyncio.run(ask())


@pytest.fixture
def admin(page: StatsPage) -> Admin:
    block = page.worker(0)
    block.digest_add(*block.claim(1, b"select ? from t", keyspace=0), 100)
    block.slow_add(1, 700_000, 1, 1, keyspace=0)
    return Admin(page)


def test_probes(admin: Admin) -> None:
    for path in ("/live", "/ready"):
        answer = get(admin, path)
        assert answer.status_code == 200 and answer.json()["ok"] is True
    admin.page.drain()
    answer = get(admin, "/ready")
    assert answer.status_code == 503
    assert answer.json()["checks"]["draining"] == {"ok": False, "found": "draining"}
    assert get(admin, "/live").status_code == 200, "a draining Fairlead lives"


def test_readiness_can_be_judged_elsewhere(page: StatsPage) -> None:
    answer = get(Admin(page, ready=lambda: Verdict(False, {"peer": (False, "us is gone")})), "/ready")
    assert (answer.status_code, answer.json()["checks"]["peer"]["found"]) == (503, "us is gone")


def test_metrics(admin: Admin) -> None:
    answer = get(admin, "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "fairlead_queries" in {family.name for family in text_string_to_metric_families(answer.text)}


def test_digests(admin: Admin) -> None:
    answer = get(admin, "/digests?by=count&limit=5")
    assert [row["statement"] for row in answer.json()["rows"]] == ["select ? from t"]
    table = get(admin, "/digests?format=table")
    assert table.headers["content-type"].startswith("text/plain") and "select ? from t" in table.text


def test_slow_log(admin: Admin) -> None:
    answer = get(admin, "/slow").json()
    assert [row["statement"] for row in answer["rows"]] == ["select ? from t"]
    assert get(admin, f"/slow?after={answer['next_after']}").json()["rows"] == []
    assert "700ms" in get(admin, "/slow?format=table").text


def test_overview(admin: Admin) -> None:
    answer = get(admin, "/")
    assert answer.headers["content-type"].startswith("text/html") and "select ? from t" in answer.text


@pytest.mark.parametrize("path", [
    "/digests?by=fastest", "/digests?limit=0", "/digests?limit=1001", "/digests?limit=x",
    "/digests?format=xml", "/slow?after=-1", "/slow?limit=99999999999999999999", "/slow?limit=%D9%A3",
    "/slow?format=",
])
def test_bad_parameters_are_named(admin: Admin, path: str) -> None:
    answer = get(admin, path)
    assert answer.status_code == 400
    assert path.partition("?")[2].partition("=")[0] in answer.json()["error"]


@pytest.mark.parametrize("path", ["/digests", "/slow", "/"])
def test_statements_are_not_shown_to_strangers(admin: Admin, path: str) -> None:
    assert get(admin, path, client=REMOTE, host="10.0.0.5:7380").status_code == 403
    opened = Admin(admin.page, remote_statements=True)
    assert get(opened, path, client=REMOTE, host="10.0.0.5:7380").status_code == 200


@pytest.mark.parametrize("path", ["/live", "/ready", "/metrics"])
def test_probes_and_metrics_are_for_everybody(admin: Admin, path: str) -> None:
    assert get(admin, path, client=REMOTE, host="10.0.0.5:7380").status_code == 200


def test_a_rebound_name_is_refused(admin: Admin) -> None:
    for path in ("/digests", "/metrics", "/"):
        assert get(admin, path, host="evil.example:7380").status_code == 421


@pytest.mark.parametrize("host, named", [
    ("localhost", True), ("LOCALHOST:7380", True), ("127.0.0.1:7380", True), ("127.8.8.8", True),
    ("[::1]:7380", True), ("", True), ("evil.example", False), ("127.0.0.1.evil.example", False),
    ("[::2]", False), ("localhost.evil.example:80", False), ("10.0.0.5", False),
])
def test_loopback_hosts(host: str, named: bool) -> None:
    assert names_loopback(host) is named


@pytest.mark.parametrize("method, path, status", [
    ("POST", "/metrics", 405), ("DELETE", "/digests", 405), ("GET", "/nothing", 404), ("HEAD", "/ready", 200),
])
def test_it_only_reads(admin: Admin, method: str, path: str, status: int) -> None:
    assert get(admin, path, method=method).status_code == status


@pytest.mark.parametrize("path", ["/", "/metrics", "/nothing", "/digests?limit=0"])
def test_every_answer_has_the_headers(admin: Admin, path: str) -> None:
    headers = get(admin, path).headers
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


# ---------------------------------------------------------------- over a socket
def served(admin: Admin, ask: Callable[[httpx.Client], None]) -> None:
    """Run the server on a free port in a thread while `ask` uses it."""
    with closing(bind("127.0.0.1", 0)) as listener:
        running = server(admin)
        thread = threading.Thread(target=lambda: asyncio.run(running.serve(sockets=[listener])), daemon=True)
        port = listener.getsockname()[1]
        listener.listen()
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
                ask(client)
        finally:
            running.should_exit = True
            thread.join(20)
        assert not thread.is_alive()


def test_over_a_real_socket(admin: Admin) -> None:
    def ask(client: httpx.Client) -> None:
        assert client.get("/live").json()["ok"] is True
        assert client.get("/digests?format=table").status_code == 200
        answer = client.get("/metrics")
        assert "fairlead_ready 1.0" in answer.text and "server" not in answer.headers
        assert client.get("/", headers={"host": "evil.example"}).status_code == 421

    served(admin, ask)


def until_closed(client: httpx.Client, sent: bytes) -> bytes:
    """What a bare connection that sends this and no more is answered until the server closes it."""
    port = client.base_url.port
    assert port is not None
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as bare:
        bare.sendall(sent)
        while part := bare.recv(4096):
            answer += part
    return answer


def test_an_endless_head_is_cut_off(admin: Admin) -> None:
    def ask(client: httpx.Client) -> None:
        head = b"GET /live HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 5 * http.MOST_HEAD_BYTES
        assert until_closed(client, head).startswith(b"HTTP/1.1 400")

    served(admin, ask)


@pytest.mark.parametrize("sent", [
    b"", b"GET /live HT", b"GET /live HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nabc",
    b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\nGET /li",
])
def test_a_request_that_does_not_end_is_cut_off(
    admin: Admin, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(http, "KEEP_ALIVE_SECONDS", 0.2)

    def ask(client: httpx.Client) -> None:
        until_closed(client, sent)

    served(admin, ask)


def test_a_taken_port_is_an_error() -> None:
    with closing(bind("127.0.0.1", 0)) as listener:
        listener.listen()
        with pytest.raises(OSError):
            bind("127.0.0.1", listener.getsockname()[1])
