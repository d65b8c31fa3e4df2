"""What a policy of 200 labelled columns and 50 rules costs per point select, in user instructions.

The very select of `instructions`, text and prepared, first of a Fairlead without a policy, then of one with it by three
users: `open`, to whom all of the table is open, though not everything else; `guarded`, who may see the column, but not
all of the table, so that the statement goes out as it is and the columns of its answer are looked at; and `masked`, who
gets a leaf in place of the table. Promised is the first: a plan that the policy has nothing against costs at most 3 %.

Only what Fairlead's own compiled code and the library's copying take is counted, by function: the whole path of a query
is there, and what the interpreter does by the clock, some hundred instructions a query when valgrind is slow, is not.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import _speedups
from loadtest.bench import cells, instructions, subject
from loadtest.bench.arena import PARTS, WHOLE, Arena
from loadtest.bench.crowd import Crowd
from loadtest.bench.instructions import PROTOCOLS, READY_TIMEOUT, SELDOM, THREADS, Counting, Tally, UnderCallgrind
from loadtest.bench.progress import Progress
from loadtest.bench.targets import Target

MOST = 1.03
SHORT, LONG = 1_600, 3_200
COLUMNS, RULES = 200, 50
POLLING = "one_round"
"""Left out: how many answers one poll finds, by which its cost is shared, is the machine's doing."""
OURS = frozenset(path.name for path in Path(_speedups.__file__).parent.glob("*.so"))
"""The compiled modules of Fairlead. The standard library has some too, which only what runs by the clock uses."""
USERS = {"open": "reader", "guarded": "clerk", "masked": "analyst"}
"""User -> role, all of them in a domain that is not the data's."""

Counts = Mapping[str, Mapping[str, int]]
"""{user: {protocol: instructions per query}}."""


def policy() -> dict[str, Any]:
    """The section: the bench's table, and as many others as make 200 columns."""
    others = {
        f"t{table}": {"classes": "sensitive", "columns": {f"c{column}": "personal" for column in range(18)}}
        for table in range((COLUMNS - 2) // 18)
    }
    columns = {"c": {"classes": "internal", "mask": "constant"}, "pad": "pseudonymous"}
    abroad = {"homes": "eea", "domains": "usa"}
    named = {
        "readers": {"classes": ["internal", "pseudonymous"], **abroad, "roles": "reader", "then": "allow"},
        "clerks": {"classes": "internal", **abroad, "roles": "clerk", "then": "allow"},
        "analysts": {"classes": "internal", **abroad, "roles": "analyst", "then": "mask"},
    }
    more = {
        f"rule{number}": {"classes": "personal", **abroad, "roles": f"role{number}", "then": "aggregate(5)"}
        for number in range(RULES - len(named))
    }
    return {
        "domains": {"eea": {"regions": ["eu"]}, "usa": {"regions": []}},
        "labels": {
            WHOLE: {"classes": "public", "tables": others},
            PARTS: {"classes": "public", "tables": {"sbtest1": {"classes": "public", "columns": columns}}},
        },
        "subjects": {
            role: {"users": user, "domain": "usa", "roles": [role, *(f"role{number}" for number in range(len(more)))]}
            for user, role in USERS.items()
        },
        "rules": {**named, **more},
    }


def users() -> dict[str, Any]:
    return {
        name: {
            "password": {"env": "FAIRLEAD_BENCH_PASSWORD"},
            "plugins": ["mysql_native_password"],
            "grants": [{"on": f"{keyspace}.*", "verbs": ["select"]} for keyspace in (WHOLE, PARTS)],
        }
        for name in (*USERS, subject.USER)
    }


@dataclass(frozen=True)
class Found:
    """`without` a policy the same users ask in the same order: which connections they find is part of the cost."""

    without: Counts
    under: Counts

    def ratio(self, user: str, protocol: str) -> float:
        return self.under[user][protocol] / self.without[user][protocol]


def measure(progress: Progress, short: int = SHORT, long: int = LONG) -> Found:
    """Raises CallgrindError, ServerFailed, ServerMissing."""
    without, under = (_counts(progress, sections, short, long) for sections in ({}, {"policy": policy()}))
    return Found(without, under)


def _counts(progress: Progress, sections: Mapping[str, Any], short: int, long: int) -> Counts:
    progress.say("starting everything under callgrind, which takes a minute")
    more = {**SELDOM, **sections, "users": users()}
    with Arena([cells.SHARDED], fairlead=UnderCallgrind, ready_timeout=READY_TIMEOUT, sections=more) as arena:
        target = arena.targets[cells.SHARDED]
        counts: dict[str, Mapping[str, int]] = {}
        for user in USERS:
            progress.say(f"counting: {user}, {'with' if sections else 'without'} a policy")
            counts[user] = asyncio.run(_count(target, arena.directory, user, short, long))
        return counts


async def _count(target: Target, folder: Path, user: str, short: int, long: int) -> dict[str, int]:
    async with Crowd(replace(target.endpoint, user=user), THREADS, target.rows) as crowd:
        worker = await instructions.busiest_under_callgrind(crowd, PROTOCOLS, target.proxy_pids(), folder)
        counter = Counting(crowd, folder, worker)
        return {name: of_queries(await counter.count(name, short, long)) for name in PROTOCOLS}


def of_queries(tally: Tally) -> int:
    """The part of the instructions that cannot be anything else's."""
    ours = (
        cost
        for place, name, cost in tally.functions
        if (place in OURS and not name.endswith(POLLING)) or name.startswith(("mem", "__mem"))
    )
    return round(sum(ours))


def findings(found: Found) -> list[str]:
    """What is promised and does not hold; [] when all is well."""
    return [
        f"{protocol}: {found.ratio('open', protocol):.3f} of the same without a policy, at most {MOST}"
        for protocol in PROTOCOLS
        if found.ratio("open", protocol) > MOST
    ]


def lines(found: Found) -> list[str]:
    """The report."""
    shown = [f"{COLUMNS} labelled columns, {RULES} rules: user instructions per query, and to those without a policy"]
    for protocol in PROTOCOLS:
        for user in USERS:
            under, without, ratio = found.under[user], found.without[user], found.ratio(user, protocol)
            shown.append(f"{protocol}: {user:<7} {under[protocol]} under the policy, {without[protocol]}, {ratio:.3f}")
    return shown + [f"over: {finding}" for finding in findings(found)]
