"""The tour's second half: Redis keys beside their rows."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import redis
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from loadtest.demo.borders import ANALYST
from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import Shape, region_id
from loadtest.world.placement import shard_of_id
from loadtest.world.shop import Shop
from loadtest.world.world import World

INDENT = 3


@dataclass(frozen=True)
class RedisStop:
    """Commands on one connection to `region`'s Fairlead; the last one's reply is `expected`, or an error with it."""

    title: str
    commands: tuple[tuple[Any, ...], ...]
    why: str
    expected: Any
    region: str = "eu"
    user: str = "demo"
    refused: bool = False
    shard: str = ""
    """The key of the first command must be found on this shard's server."""


def stops(shop: Shop, shape: Shape) -> list[RedisStop]:
    at_home, abroad = region_id("eu", 1), region_id("us", 1)
    email = next(row[2] for row in shop.all_customers(shape) if row[0] == at_home)
    profile, foreign = f"customer:{at_home}:profile", f"customer:{abroad}:profile"
    return [
        RedisStop(
            title="A customer's cache entry",
            commands=(("HSET", profile, "tier", "gold", "email", email), ("HGET", profile, "tier")),
            why="customer:<id>:… lives on the Redis beside the shard that holds the row of this id, which the "
            "transaction above has changed.",
            expected="gold",
            shard=shard_of_id(shape, at_home),
        ),
        RedisStop(
            title="Keys on two shards in one command",
            commands=(
                ("MSET", *(word for number in range(6) for word in (f"page:{number}", number))),
                ("MGET", *(f"page:{number}" for number in range(6))),
            ),
            why="Split by shard, asked side by side, put together in the order of the keys.",
            expected=[str(number) for number in range(6)],
        ),
        RedisStop(
            title="A transaction",
            commands=(("MULTI",), ("HINCRBY", profile, "visits", 1), ("HGET", profile, "tier"), ("EXEC",)),
            why="Kept until EXEC, then sent in one piece: no connection is tied up meanwhile.",
            expected=[1, "gold"],
        ),
        RedisStop(
            title="A customer of the other region, in that region",
            commands=(("SET", foreign, "silver"), ("GET", foreign)),
            why="us's Fairlead has us's keys.",
            expected="silver",
            region="us",
            shard=shard_of_id(shape, abroad),
        ),
        RedisStop(
            title="The same key read from here",
            commands=(("GET", foreign),),
            why="Asked of us's Fairlead, as the user who asks here.",
            expected="silver",
        ),
        RedisStop(
            title="A foreign read, masked as in the row",
            commands=(("HGET", profile, "email"),),
            why="The policy's verdict of customers.email is the field's, too: eu's Fairlead gives a mask.",
            expected=f"{email[0]}***@{email.rpartition('@')[2]}",
            region="us",
            user=ANALYST,
        ),
        RedisStop(
            title="A foreign read refused",
            commands=(("HGET", profile, "tier"),),
            why="A field that is no column is as closed as the whole row, and no rule lets an analyst of us have that.",
            expected="FL2101",
            region="us",
            user=ANALYST,
            refused=True,
        ),
        RedisStop(
            title="A value into the other region",
            commands=(("RENAME", profile, foreign),),
            why="No command moves what belongs to eu into us.",
            expected="don't hash to the same slot",
            refused=True,
        ),
    ]


class RedisGuide:
    """Runs the stops and keeps the titles of those that went wrong."""

    def __init__(self, world: World, fairleads: Callable[[str], Fairlead], console: Console) -> None:
        self._world = world
        self._fairleads = fairleads
        self._console = console
        self.wrong: list[str] = []

    def walk(self, stops: list[RedisStop], first: int) -> None:
        for number, stop in enumerate(stops, first):
            reply = self._visit(stop)
            wrong = self._judge(stop, reply)
            if wrong:
                self.wrong.append(f"{stop.title}: {wrong}")
            self._show(number, stop, reply, wrong)

    def _visit(self, stop: RedisStop) -> Any:
        port = self._fairleads(stop.region).redis_port
        client: Any = redis.Redis(
            port=port, username=stop.user, password=stop.user, decode_responses=True, single_connection_client=True
        )
        with closing(client):
            reply: Any = None
            try:
                for command in stop.commands:
                    reply = client.execute_command(*command)
            except redis.RedisError as error:
                return error
            return reply

    def _judge(self, stop: RedisStop, reply: Any) -> str:
        if stop.refused:
            return "" if stop.expected in str(reply) else f"not refused: {reply}"
        if reply != stop.expected:
            return f"expected {stop.expected}"
        if stop.shard and b":1" not in self._world.redis[stop.shard].ask("EXISTS", stop.commands[0][1]):
            return f"the key is not on {stop.shard}"
        return ""

    def _show(self, number: int, stop: RedisStop, reply: Any, wrong: str) -> None:
        self._console.print(f"\n[bold]{number}. {stop.title}[/] {'[red]✗' if wrong else '[green]✓'}[/]")
        for command in stop.commands:
            self._say(f"{stop.region} redis, as {stop.user}> {' '.join(map(str, command))}", "cyan")
        self._say(stop.why)
        if stop.shard:
            self._say(f"on the Redis of {stop.shard}", "dim")
        self._say(str(reply), "yellow" if stop.refused else "")
        if wrong:
            self._say(f"WRONG: {wrong}", "bold red")

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Padding(Text(text, style=style), (0, 0, 0, INDENT), expand=False))
