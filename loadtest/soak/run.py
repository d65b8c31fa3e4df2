"""One soak from start to verdict: clients at work, clients killed, a server killed, then the reckoning."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from loadtest.soak.book import Faults
from loadtest.soak.customer import Customer
from loadtest.soak.doom import dooms
from loadtest.soak.journal import Journal, Outage
from loadtest.soak.stage import Stage
from loadtest.soak.verdicts import Evidence, Verdict, judge
from loadtest.soak.watch import Watch

# Parts of the whole time: when the figures for comparison are taken, and a server dies.
SETTLED, SERVER_DIES = 0.2, 0.5
# The last kill leaves the clients a moment to go on.
LAST_KILL = 0.9
SERVER_AWAY_SECONDS = 0.5
FINISH_TIMEOUT = 60.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """`kill_part` of the clients die, each once, spread over the run."""

    clients: int = 500
    connections: int = 20
    seconds: float = 60.0
    kill_part: float = 0.10
    seed: int = 1
    workers: int = 1
    target: str = "fairlead"


@dataclass(frozen=True)
class Outcome:
    """The verdicts and what they were made from."""

    evidence: Evidence
    verdicts: list[Verdict]
    seconds: float

    @property
    def ok(self) -> bool:
        return all(verdict.ok is not False for verdict in self.verdicts)


def run(plan: Plan, say: Say) -> Outcome:
    """Starts the stage, soaks, judges. Raises the world's ServerFailed and ServerMissing."""
    say("starting servers and proxy")
    with Stage(plan.clients, plan.connections, target=plan.target, workers=plan.workers) as stage:
        return asyncio.run(_Soak(plan, stage, say).run())


class _Soak:
    """The tasks of one run."""

    def __init__(self, plan: Plan, stage: Stage, say: Say) -> None:
        self._plan, self._stage, self._say = plan, stage, say
        self._journal, self._stop = Journal(), asyncio.Event()
        self._watch = Watch(stage)
        self._draw = random.Random(plan.seed)
        self._customers = [
            Customer(owner, stage.shard_of(owner), stage.endpoint, self._journal, self._stop, plan.seed)
            for owner in stage.owners
        ]

    async def run(self) -> Outcome:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(self._watch.run())
            clients = [group.create_task(customer.run()) for customer in self._customers]
            helpers = [
                group.create_task(self._kill_clients(began)),
                group.create_task(self._kill_server(began)),
                group.create_task(self._progress(began)),
            ]
            await asyncio.sleep(self._plan.seconds)
            self._stop.set()
            await asyncio.wait_for(asyncio.gather(*clients, *helpers), FINISH_TIMEOUT)
            watcher.cancel()
        return await asyncio.to_thread(self._reckon, began, time.monotonic() - began)

    async def _kill_clients(self, began: float) -> None:
        """Condemns one client after the other at random moments; each dies at the next one that fits."""
        count = round(self._plan.clients * self._plan.kill_part)
        span = self._plan.seconds
        moments = sorted(began + self._draw.uniform(SETTLED, LAST_KILL) * span for _ in range(count))
        victims = self._draw.sample(self._customers, count)
        for moment, victim, doom in zip(moments, victims, dooms(self._draw), strict=False):
            await asyncio.sleep(max(0.0, moment - time.monotonic()))
            victim.condemn(doom)

    async def _kill_server(self, began: float) -> None:
        """`kill -9` of one server in the middle, and its restart."""
        await asyncio.sleep(max(0.0, began + self._plan.seconds * SERVER_DIES - time.monotonic()))
        name, server = next(iter(self._stage.servers.items()))
        self._say(f"kill -9 of server {name}")
        outage = Outage(name, time.monotonic())
        self._journal.outages.append(outage)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(SERVER_AWAY_SECONDS)
        await asyncio.to_thread(server.start)
        outage.until = time.monotonic()
        self._say(f"server {name} is back after {outage.until - outage.since:.1f} s")

    async def _progress(self, began: float) -> None:
        last = 0
        while not self._stop.is_set():
            await asyncio.sleep(1.0)
            journal, now = self._journal, time.monotonic() - began
            self._say(
                f"{now:4.0f}/{self._plan.seconds:.0f} s  {journal.statements - last:6} statements/s  "
                f"{journal.client_kills} kills  {journal.unexpected_errors} unexpected errors"
            )
            last = journal.statements

    def _reckon(self, began: float, seconds: float) -> Outcome:
        """Everything at rest: the pool, then every row on the servers themselves."""
        idle = self._watch.wait_idle()
        last = self._watch.look()
        for shard in self._stage.servers:
            self._journal.found(self._compare(shard))
        settled_at = began + self._plan.seconds * SETTLED
        settled = next((look for look in self._watch.looks if look.at >= settled_at), last)
        evidence = Evidence(
            clients=self._plan.clients,
            connections_each=self._stage.connections_each,
            journal=self._journal,
            settled=settled,
            last=last,
            idle=idle,
            most_connections=self._watch.most,
            answers_for_sessions=self._stage.fairlead is not None,
        )
        return Outcome(evidence, judge(evidence), seconds)

    def _compare(self, shard: str) -> Faults:
        """The books of all owners against the rows of one server; owners of other shards have none there."""
        balances, ledger = self._stage.stored(shard)
        faults = Faults()
        strangers = {row.owner for row in ledger if self._stage.shard_of(row.owner) != shard}
        faults.foreign += [f"owner {owner} has rows on {shard}" for owner in sorted(strangers)]
        for customer in self._customers:
            owner = customer.book.owner
            if self._stage.shard_of(owner) != shard:
                continue
            mine = [row for row in ledger if row.owner == owner]
            faults.extend(customer.book.check(mine))
            faults.extend(customer.book.check_balance(balances.get(owner, -1), mine))
        return faults
