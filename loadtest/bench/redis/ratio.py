"""The Redis bench: CPU per request of every proxy, in interleaved rounds on one CPU."""

import socket
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtest.bench import machine, picture, procfs, results, tables
from loadtest.bench.errors import CannotMeasure
from loadtest.bench.progress import Progress
from loadtest.bench.ratio import placement, say
from loadtest.bench.redis import load
from loadtest.bench.redis.arena import RedisArena
from loadtest.bench.redis.cells import CLIENTS, REFERENCE, RedisCell, promises
from loadtest.bench.rounds import Plan, Run, Step, run_all
from loadtest.bench.summary import Figure, Verdict, judge, summarise, verdict_line
from loadtest.bench.targets import Target

WARM_SHARE = 10
PROOF_KEYS = 64
PROOF_SECONDS = 10.0


def run(plan: Plan[RedisCell], wanted: Collection[str], progress: Progress) -> dict[str, Any]:
    """Starts the arena, runs the plan, returns everything that is to be kept. Raises CannotMeasure."""
    progress.say(f"starting servers and {', '.join(wanted)}")
    with RedisArena(wanted) as arena:
        facts = machine.describe(arena.versions())
        for target in arena.targets.values():
            prove(target)
        runs = run_all(plan, arena.targets, by_redis_benchmark, lambda *step: say(progress, *step))
    figures = summarise(runs, REFERENCE)
    verdicts = judge(runs, promises())
    subtitle = f"{facts['cpu']}, {facts['kernel']}, Fairlead {facts['fairlead']}, {plan.rounds} rounds"
    return {
        "machine": facts,
        "plan": {"rounds": plan.rounds, "cpu": plan.cpu, "seed": plan.seed, "clients": CLIENTS},
        "figures": [asdict(figure) for figure in figures],
        "verdicts": [{**asdict(verdict), "kept": verdict.kept} for verdict in verdicts],
        "runs": [run.as_dict() for run in runs],
        "text": text(facts, plan, figures, verdicts),
        "picture": picture.svg(figures, "CPU per Redis request", subtitle, REFERENCE),
    }


def prove(target: Target) -> None:
    """What was set is what is got: redis-benchmark does not look at values. Raises CannotMeasure."""
    deadline = time.monotonic() + PROOF_SECONDS
    while (wrong := _wrong(target)) is not None:
        if time.monotonic() > deadline:
            raise CannotMeasure(f"{target.name} does not answer as it should: {wrong}")
        time.sleep(0.1)


def _wrong(target: Target) -> str | None:
    """The first answer that is not right, None when all are."""
    keys = [f"proof:{number}" for number in range(PROOF_KEYS)]
    values = [f"value of {key}" for key in keys]
    steps = [(request("SET", key, value), "+OK\r\n") for key, value in zip(keys, values, strict=True)]
    steps += [(request("GET", key), _bulk(value)) for key, value in zip(keys, values, strict=True)]
    steps.append((request("MGET", *keys), f"*{PROOF_KEYS}\r\n" + "".join(map(_bulk, values))))
    try:
        with socket.create_connection((target.endpoint.host, target.endpoint.port), 5) as connection:
            stream = connection.makefile("rwb")
            for sent, expected in steps:
                stream.write(sent.encode())
                stream.flush()
                found = stream.read(len(expected))
                if found != expected.encode():
                    return f"{found!r} to {sent!r}"
    except OSError as error:
        return repr(error)
    return None


def _bulk(word: str) -> str:
    return f"${len(word)}\r\n{word}\r\n"


def request(*words: str) -> str:
    """In the bench's own words, so that an error in the proxy's encoder cannot hide."""
    return f"*{len(words)}\r\n" + "".join(map(_bulk, words))


def by_redis_benchmark(plan: Plan[RedisCell], step: Step[RedisCell], target: Target) -> Run:
    """Makes one run. The 50 connections that redis-benchmark opens are within the figure. Raises CannotMeasure."""
    requests = step.cell.requests // (WARM_SHARE if step.warm else 1)
    proxy, servers = target.proxy_pids(), target.server_pids()
    prefix = ["taskset", "-c", str(plan.cpu)] if plan.cpu is not None else []
    before = procfs.read_cpu(proxy), procfs.read_cpu(servers)
    begun = time.monotonic()
    report = load.run(step.cell, target.endpoint.port, requests, prefix=prefix)
    proxy_used = procfs.cpu_between(before[0], procfs.read_cpu(target.proxy_pids()))
    server_used = procfs.cpu_between(before[1], procfs.read_cpu(servers))
    return Run(
        round=step.round,
        warm=step.warm,
        cell=step.cell.name,
        target=target.name,
        queries=requests,
        seconds=time.monotonic() - begun,
        qps=report.rps,
        p95_ms=report.latency_p95,
        avg_ms=report.latency_avg,
        proxy_us=proxy_used.nanoseconds / 1000 / requests if proxy else None,
        server_us=server_used.nanoseconds / 1000 / requests,
        login_us=None,
        ignored_errors=0,
        vanished_tasks=proxy_used.vanished,
    )


def text(
    facts: dict[str, str], plan: Plan[RedisCell], figures: Sequence[Figure], verdicts: Sequence[Verdict]
) -> list[str]:
    """What is printed at the end."""
    warnings = tables.warning_lines(figures)
    return [
        *tables.machine_lines(facts),
        f"{plan.rounds} interleaved rounds, {CLIENTS} clients, {load.KEYS} random keys, values of "
        f"{load.VALUE_SIZE} bytes,",
        f"{placement(plan)}; medians over the rounds, ratios within the round.",
        *tables.figure_lines(figures, REFERENCE),
        *(["", *(f"warning: {line}" for line in warnings)] if warnings else []),
        "",
        *(verdict_line(verdict) for verdict in verdicts),
    ]


def keep(content: dict[str, Any], folder: Path) -> list[Path]:
    """Saves the JSON and the picture."""
    kept = {key: value for key, value in content.items() if key not in ("text", "picture")}
    return results.save(folder, "redis", kept, content["picture"])
