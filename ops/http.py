"""The HTTP listener of the admin process: probes, metrics, digests, slow log, overview. It only reads.

It has no authentication: bind it to loopback, or to an address that only the monitoring reaches.
What shows statements is answered to loopback clients alone, unless `remote_statements` is set.
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from _speedups.stats import StatsPage
from ops import digests, metrics, overview, readiness, redis, slowlog
from ops.ledger import Reading
from ops.parameters import BadParameter, one_of, whole
from ops.readiness import Patience, Verdict
from ops.snapshot import Snapshot

MOST_CONNECTIONS = 64
MOST_HEAD_BYTES = 16 * 1024
KEEP_ALIVE_SECONDS = 15
REQUEST_SECONDS = 10
SHUTDOWN_SECONDS = 3

HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


@dataclass(frozen=True)
class Admin:
    """What the endpoints answer from. `ready` replaces the judgement of ops.readiness when given; `meters` reads the
    budgets of exposure."""

    page: StatsPage
    patience: Patience = field(default_factory=Patience)
    ready: Callable[[], Verdict] | None = None
    remote_statements: bool = False
    rates: overview.Rates = field(default_factory=overview.Rates)
    meters: Callable[[], Sequence[Reading]] = tuple

    def verdict(self) -> Verdict:
        return self.ready() if self.ready else readiness.ready(self.page, self.patience)


Endpoint = Callable[[Request], Awaitable[Response]]


def application(admin: Admin) -> Starlette:
    """The ASGI application."""
    def route(path: str, answer: Callable[[Admin, Request], Response], statements: bool = False) -> Route:
        return Route(path, endpoint(admin, answer, statements), methods=["GET"])

    return Starlette(
        routes=[
            route("/live", live),
            route("/ready", ready),
            route("/metrics", metrics_text),
            route("/digests", digests_list, statements=True),
            route("/slow", slow_list, statements=True),
            route("/redis/keys", redis_keys, statements=True),
            route("/redis/slow", redis_slow, statements=True),
            route("/", overview_page, statements=True),
        ],
        middleware=[Middleware(Guard)],
    )


def endpoint(admin: Admin, answer: Callable[[Admin, Request], Response], statements: bool) -> Endpoint:
    """An endpoint that turns a bad parameter into 400 and keeps statements from strangers."""
    async def run(request: Request) -> Response:
        if statements and not admin.remote_statements and not from_loopback(request):
            return problem(403, "statements are shown to loopback clients only")
        try:
            return answer(admin, request)
        except BadParameter as error:
            return problem(400, str(error))
    return run


# ---------------------------------------------------------------- answers
def live(admin: Admin, request: Request) -> Response:
    return verdict_response(readiness.live(admin.page, admin.patience))


def ready(admin: Admin, request: Request) -> Response:
    return verdict_response(admin.verdict())


def metrics_text(admin: Admin, request: Request) -> Response:
    return Response(metrics.render(admin.page, admin.patience, admin.meters()), media_type=metrics.CONTENT_TYPE)


def digests_list(admin: Admin, request: Request) -> Response:
    wants_table = format_of(request) == "table"
    by = request.query_params.get("by", "total_time")
    report = digests.top(admin.page, by, number(request, "limit", 20))
    if wants_table:
        return PlainTextResponse(digests.as_table(report))
    return JSONResponse(digests.as_json(report))


def slow_list(admin: Admin, request: Request) -> Response:
    wants_table = format_of(request) == "table"
    report = slowlog.newest(admin.page, number(request, "after", 0), number(request, "limit", 50))
    if wants_table:
        return PlainTextResponse(slowlog.as_table(report))
    return JSONResponse(slowlog.as_json(report))


def redis_keys(admin: Admin, request: Request) -> Response:
    return JSONResponse(redis.hot_keys(admin.page, number(request, "limit", 10)))


def redis_slow(admin: Admin, request: Request) -> Response:
    return JSONResponse(redis.slow_commands(admin.page, number(request, "limit", 50)))


def overview_page(admin: Admin, request: Request) -> Response:
    return HTMLResponse(overview.page(Snapshot(admin.page, admin.patience), admin.verdict(), admin.rates))


def verdict_response(verdict: Verdict) -> Response:
    checks = {name: {"ok": ok, "found": found} for name, (ok, found) in verdict.checks.items()}
    return JSONResponse({"ok": verdict.ok, "checks": checks}, 200 if verdict.ok else 503)


def problem(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)


def format_of(request: Request) -> str:
    return one_of("format", request.query_params.get("format", "json"), ("json", "table"))


def number(request: Request, name: str, default: int) -> int:
    return whole(name, request.query_params.get(name, str(default)))


# ---------------------------------------------------------------- who asks
def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def from_loopback(request: Request) -> bool:
    return request.client is not None and is_loopback(request.client.host)


def names_loopback(host: str) -> bool:
    """Whether a Host header names this machine to itself."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower() in ("localhost", "") or is_loopback(name)


class Guard:
    """Refuses loopback requests under a foreign Host (a web page that rebinds its name), adds the headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif self.is_rebound(scope):
            await problem(421, "this Host is not served here")(scope, receive, with_headers(send))
        else:
            await self.app(scope, receive, with_headers(send))

    @staticmethod
    def is_rebound(scope: Scope) -> bool:
        client = scope.get("client")
        if client is None or not is_loopback(client[0]):
            return False
        host = next((value for key, value in scope["headers"] if key == b"host"), b"")
        return not names_loopback(host.decode("latin-1"))


def with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *HEADERS.items()]
        await send(message)
    return sending


# ---------------------------------------------------------------- running
class PatientProtocol(H11Protocol):
    """HTTP/1.1 whose requests must be complete within REQUEST_SECONDS, so that nobody can hold a place."""

    deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.forget()

    def watch(self) -> None:
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self.forget()
        elif self.deadline is None:
            self.deadline = self.loop.call_later(REQUEST_SECONDS, self.transport.close)

    def forget(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


class Embedded(uvicorn.Server):
    """A server beside others in one loop: signals are somebody else's, who sets `should_exit`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def embedded(admin: Admin) -> Embedded:
    """For `await serve(sockets=…)` in a running loop."""
    return Embedded(config(admin, log_config=None))


def server(admin: Admin, **options: Any) -> uvicorn.Server:
    """A server with its limits set; `options` are uvicorn's (host, port, fd, uds …)."""
    return uvicorn.Server(config(admin, **options))


def config(admin: Admin, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        application(admin),
        log_level="warning", access_log=False, server_header=False, proxy_headers=False, lifespan="off",
        ws="none", http=PatientProtocol, limit_concurrency=MOST_CONNECTIONS, backlog=MOST_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        h11_max_incomplete_event_size=MOST_HEAD_BYTES, **options,
    )


def bind(address: str, port: int) -> socket.socket:
    """A listening socket for `run`, bound before the process gives anything up. OSError when it is taken."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError:
        listener.close()
        raise
    return listener


def run(admin: Admin, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; the whole of the admin process."""
    server(admin).run(sockets=[listener])
