"""redis-py's whole API against one server and through Fairlead: RESP2 and RESP3, sync and asyncio."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from loadtest.world.redis import Redis
from loadtest.world.world import World

pytestmark = [pytest.mark.world(redis=True), pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[3]
CASES = ROOT / "tests/cases/redis/api.txt"
NO_COMMANDS = {
    "aclose", "client", "close", "execute_command", "from_pool", "from_url", "get_cache", "get_connection_kwargs",
    "get_encoder", "get_retry", "himport_registry", "initialize", "load_external_module", "parse_response",
    "set_response_callback", "set_retry",
}  # fmt: skip
"""What no server hears of."""
ANSWERED = 0.83
"""Of the methods that one server of this version can answer, so many at least give the same through Fairlead."""
REFUSED = re.compile(r"'[a-z0-9|-]+' is refused by Fairlead: (.+)")


@dataclass(frozen=True)
class Line:
    """`mark`: how the replies are compared; `name`: what the reply is kept as, empty for nothing."""

    number: int
    mark: str
    name: str
    text: str

    @property
    def method(self) -> str:
        found = re.search(r"\br\.(\w+)\(", self.text)
        return found[1] if found else ""


def lines() -> list[Line]:
    found = []
    for number, text in enumerate(CASES.read_text().splitlines(), 1):
        match = re.fullmatch(r"(?:([~%+!]) )?(?:(\w) = )?(.+)", text)
        if match and not text.startswith("#"):
            found.append(Line(number, match[1] or "=", match[2] or "", match[3]))
    return found


LINES = lines()


def increment(pipe: Any) -> Any:
    pipe.multi()
    return pipe.incr("{t}p1")


async def aincrement(pipe: Any) -> None:
    increment(pipe)


def names(**more: Any) -> dict[str, Any]:
    return {"increment": increment, "enter": lambda one: one.__enter__(), "asyncio": False, **more}


def eval_of(line: Line, known: dict[str, Any]) -> Callable[[], Any]:
    code = compile(line.text, f"{CASES.name}:{line.number}", "eval")
    return lambda: eval(code, known)


def walk(client: Any, skip: str = "") -> dict[int, Any]:
    """Line -> what came of it, but for lines with the marks `skip`."""
    known, found = names(r=client), {}
    for line in LINES:
        if line.mark not in skip:
            value = outcome(eval_of(line, known))
            known[line.name or "_"], found[line.number] = value, value
    return found


def outcome(call: Callable[[], Any]) -> Any:
    try:
        value = call()
        return list(value) if isinstance(value, Iterator) else value
    except Exception as error:
        return error


async def awalk(client: Any, skip: str = "") -> dict[int, Any]:
    """The same with an asyncio client."""
    known: dict[str, Any] = names(r=client, increment=aincrement, enter=lambda one: one.__aenter__(), asyncio=True)
    found = {}
    for line in LINES:
        if line.mark not in skip:
            value = await aoutcome(eval_of(line, known))
            known[line.name or "_"], found[line.number] = value, value
    return found


KEPT = (redis.asyncio.client.Pipeline, redis.asyncio.client.PubSub, redis.asyncio.lock.Lock)


async def aoutcome(call: Callable[[], Any]) -> Any:
    try:
        value = call()
        if hasattr(value, "__aiter__") and not isinstance(value, KEPT):
            return [one async for one in value]
        if isinstance(value, Awaitable) and not isinstance(value, KEPT):
            return await value
        return value
    except Exception as error:
        return error


def comparable(line: Line, value: Any) -> Any:
    """What has to be equal."""
    if isinstance(value, Exception):
        return type(value), str(value)
    if isinstance(value, list) and any(isinstance(one, Exception) for one in value):
        return [comparable(line, one) for one in value]
    if line.mark == "~" or line.name or type(value).__module__.startswith("redis."):
        return type(value)
    if line.mark == "%":
        return type(value), sorted(map(repr, value))
    return value


def differing(server: dict[int, Any], fairlead: dict[int, Any]) -> list[str]:
    found = []
    for line in LINES:
        if line.mark in "+!":
            continue
        one, other = comparable(line, server[line.number]), comparable(line, fairlead[line.number])
        if one != other:
            found.append(f"{line.number}: {line.text}\n    one server  {one}\n    Fairlead    {other}")
    return found


def badly_refused(fairlead: dict[int, Any]) -> list[str]:
    """Lines that should be refused, and are not, or with a text that the manual does not have; or that should not."""
    manual = (ROOT / "docs/redis.md").read_text()
    found = []
    for line in LINES:
        if line.mark == "!":
            match = REFUSED.search(str(fairlead[line.number]))
            if match is None or match[1] not in manual:
                found.append(f"{line.number}: {line.text}: {fairlead[line.number]!r}")
        elif line.mark == "+" and isinstance(fairlead[line.number], Exception):
            found.append(f"{line.number}: {line.text}: {fairlead[line.number]!r}")
    return found


@pytest.fixture
def server(world: World) -> Iterator[Redis]:
    """One that knows Fairlead's user, so that both logins are the same."""
    found = world.redis["eu-1"]
    found.ask("ACL", "SETUSER", "demo", "on", ">demo", "~*", "&*", "+@all")
    for one in world.redis.values():
        one.empty()
    yield found
    found.empty()
    found.ask("ACL", "DELUSER", "demo")


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("kind", ["sync", "asyncio"])
def test_every_method_gives_what_one_server_gives_or_is_refused(world: World, server: Redis, protocol: int, kind: str):
    common: Any = {"username": "demo", "password": "demo", "protocol": protocol, "socket_timeout": 10, "retry": None}
    ports = server.port, world.fairlead().redis_port
    if kind == "sync":
        direct = walk(redis.Redis(port=ports[0], **common), skip="+!")
        server.empty()
        through = walk(redis.Redis(port=ports[1], **common))
    else:
        direct, through = asyncio.run(both(ports, common, server.empty))
    assert not (found := differing(direct, through)), "\n".join(found)
    assert not (found := badly_refused(through)), "\n".join(found)
    answered, known = share(direct)
    assert answered / known >= ANSWERED, f"{answered} of {known}"


async def both(
    ports: tuple[int, int], common: Any, between: Callable[[], None]
) -> tuple[dict[int, Any], dict[int, Any]]:
    direct = await awalk(redis.asyncio.Redis(port=ports[0], **common), skip="+!")
    between()
    return direct, await awalk(redis.asyncio.Redis(port=ports[1], **common))


def share(direct: dict[int, Any]) -> tuple[int, int]:
    """How many methods are answered as one server does, of those that it answers at all."""
    refused = {line.method for line in LINES if line.mark == "!"}
    asked = [line for line in LINES if line.mark not in "+!"]
    answered = {line.method for line in asked if not isinstance(direct[line.number], Exception)} - refused - {""}
    return len(answered), len(answered | (refused - NO_COMMANDS))


def test_every_method_of_redis_py_has_a_case():
    cases = {line.method for line in LINES} | NO_COMMANDS
    for client in (redis.Redis, redis.asyncio.Redis):
        public = {name for name, _ in inspect.getmembers(client) if not name.startswith("_")}
        assert not public - cases, f"without a line in {CASES}"
