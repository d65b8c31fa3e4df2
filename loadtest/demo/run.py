"""Starts the world, shows it, loads it, keeps it until Ctrl-C."""

import dataclasses
import os
import signal
import threading
import time
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from loadtest.demo import borders, cache, places, tour, traffic
from loadtest.demo.borders import BorderGuide
from loadtest.demo.cache import RedisGuide
from loadtest.demo.guide import Guide
from loadtest.world.layout import FULL, Shape
from loadtest.world.process import ServerFailed
from loadtest.world.shop import Shop
from loadtest.world.sqlserver import ServerMissing
from loadtest.world.world import Fleet, World

CUSTOMERS_PER_REGION = 5000
TRAFFIC_SECONDS = 5
TRAFFIC_THREADS = 8
INTERRUPTED = 130
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NAMES = {"mariadb": "MariaDB", "mysql": "MySQL"}

console = Console(highlight=False)


def main() -> int:
    once = os.environ.get("ONCE", "") not in ("", "0")
    try:
        shape = _shape(os.environ.get("MYSQL", ""))
        places.claim()
        _interrupt_on(*ENDING)
        wrong = _run(shape, once)
        if once:
            wrong += [f"left running: {line}" for line in places.still_open()]
    except (places.PortTaken, ServerMissing, ServerFailed, ValueError) as error:
        console.print(f"[red]demo: {error}", markup=True)
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped; nothing is left running.")
        return INTERRUPTED if once else 0
    for line in wrong:
        console.print(f"[bold red]wrong[/] {line}")
    return 1 if wrong else 0


def _run(shape: Shape, once: bool) -> list[str]:
    """The whole demo. Returns what went wrong, empty when everything was right."""
    shop = Shop(customers=CUSTOMERS_PER_REGION)
    world = World(shape, datasets=[shop], fairlead_ports=places.PORTS, changes=borders.changes)
    try:
        fleet = _start(world, shop)
        guide = Guide(world, fleet["eu"], console)
        stops = tour.stops(shop, shape)
        guide.walk(stops)
        keys = RedisGuide(world, lambda region: fleet[region], console)
        keys.walk(cache.stops(shop, shape), len(stops) + 1)
        border = BorderGuide(world, {region: fleet[region] for region in world.regions}, console)
        border.walk(borders.questions(shop, shape), len(stops) + len(cache.stops(shop, shape)) + 1)
        wrong = guide.wrong + keys.wrong + border.wrong + _traffic(fleet["eu"].port)
        if not once:
            _farewell()
            threading.Event().wait()
        return wrong
    finally:
        # It takes seconds at most; a second Ctrl-C would leave the rest to the kernel.
        _ignore(*ENDING)
        with console.status("stopping everything …"):
            world.stop()


def _start(world: World, shop: Shop) -> Fleet:
    began = time.monotonic()
    with console.status("starting servers and loading data …"):
        world.start()
        for shard in world.shards.values():
            shard.primary.run(*borders.PASSPORTS, database=shop.database)
    loaded = time.monotonic()
    version = str(world.shards["eu-0"].primary.value("SELECT version()")).partition("-")[0]
    what = f"{NAMES[world.shape.flavour]} {version}"
    console.print(
        f"[bold]{len(world.servers())} servers[/] ({what}): regions {' and '.join(world.regions)}, "
        f"{world.shape.shards} shards each, {world.shape.replicas} replica and a Redis a shard; "
        f"{len(shop.all_customers(world.shape)):,} customers, {len(shop.all_orders(world.shape)):,} orders "
        f"[dim]{loaded - began:.1f} s[/]"
    )
    with console.status("starting a Fairlead in each region …"):
        fleet = world.fleet().start()
    addresses = ", ".join(f"{region} 127.0.0.1:{one.mysql}" for region, one in places.PORTS.items())
    console.print(f"[bold]2 Fairleads[/]: {addresses} [dim]{time.monotonic() - loaded:.1f} s[/]")
    return fleet


def _traffic(port: int) -> list[str]:
    """Some load with a line that moves. Returns what went wrong."""
    console.print("\n[bold]Load[/]: sysbench, customers of eu, every tenth of us, every tenth event a purchase")
    bar = Progress(TextColumn("  "), BarColumn(), TextColumn("{task.description}"), console=console)
    with bar:
        task = bar.add_task("", total=TRAFFIC_SECONDS)

        def report(now: traffic.Second) -> None:
            figures = f"{now.qps:,.0f} queries/s, 95 % within {now.p95:.1f} ms, {now.errors:.0f} errors/s"
            bar.update(task, completed=now.second, description=figures)

        try:
            answered = traffic.run(
                port,
                customers=CUSTOMERS_PER_REGION,
                seconds=TRAFFIC_SECONDS,
                threads=TRAFFIC_THREADS,
                report=report,
            )
        except traffic.TrafficFailed as failure:
            return [f"load: {failure}"]
    console.print(f"   {answered:,} queries answered, none failed")
    return []


def _farewell() -> None:
    eu, us = places.PORTS["eu"], places.PORTS["us"]
    console.print(
        f"""
[bold]Connect[/] (user demo, password demo, database shop)
   mariadb -h 127.0.0.1 -P {eu.mysql} -u demo -pdemo shop   [dim]# eu; us: {us.mysql}[/]
   pymysql.connect(host="127.0.0.1", port={eu.mysql},
                   user="demo", password="demo", database="shop")
   mariadb -h 127.0.0.1 -P {us.mysql} -u analyst -panalyst shop   [dim]# sees less of eu[/]
   redis-cli -p {eu.redis} --user demo --pass demo       [dim]# eu; us: {us.redis}[/]
   redis-cli -p {us.redis} --user analyst --pass analyst [dim]# sees less of eu[/]
   EXPLAIN ROUTE <statement>                         [dim]# where to, and why[/]
[bold]Look[/]
   mariadb -h 127.0.0.1 -P {eu.admin} -u demo -pdemo fairlead  [dim]# the admin console; us: {us.admin}[/]
      SELECT user, state, pinned, shard FROM sessions; [dim]# SHOW FAIRLEAD HELP lists the rest[/]
   http://127.0.0.1:{eu.http}/                            [dim]# overview; us: {us.http}[/]
   http://127.0.0.1:{eu.http}/digests?format=table        [dim]# by shape of statement[/]
   http://127.0.0.1:{eu.http}/metrics                     [dim]# for Prometheus[/]

Ctrl-C stops everything."""
    )


def _shape(mysql: str) -> Shape:
    shape = dataclasses.replace(FULL, redis=True)
    if mysql in ("", "0"):
        return shape
    if not mysql.startswith("9.7"):
        raise ValueError(f"MYSQL={mysql} is not known; MYSQL=9.7 is")
    return dataclasses.replace(shape, flavour="mysql")


def _interrupt_on(*signals: signal.Signals) -> None:
    """Has these end the demo and its world, also where a shell set them to be ignored."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in signals:
        signal.signal(number, interrupt)


def _ignore(*signals: signal.Signals) -> None:
    for number in signals:
        signal.signal(number, signal.SIG_IGN)
