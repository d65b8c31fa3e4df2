"""What TLS and compressed packets between client and Fairlead cost per point select, in user instructions.

The very select of `instructions`, text and prepared, by the same crowd: in plaintext, through TLS as the two OpenSSLs
agree on it, and in compressed packets of zlib and zstd. The connections to the servers are plaintext throughout. All
that the worker does counts, the interpreter's share of moving bytes between a codec and the relay too. Nothing is
promised, so nothing is checked: the figures stand beside those of plaintext.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from loadtest.bench import cells, instructions, proof
from loadtest.bench.arena import Arena
from loadtest.bench.crowd import Crowd
from loadtest.bench.instructions import PROTOCOLS, READY_TIMEOUT, SELDOM, THREADS, Counting, UnderCallgrind
from loadtest.bench.layers import Layer, Tls, Zlib, Zstd
from loadtest.bench.progress import Progress
from loadtest.bench.targets import Target
from loadtest.world import rundir
from loadtest.world.certs import Authority
from loadtest.world.sqlserver import TlsFiles

PLAIN = "plaintext"
QUERIES = {PLAIN: (instructions.SHORT, instructions.LONG)}
FEW = 1_600, 3_200
"""Of the others, which take so much longer: what the worker does by the clock, some hundred instructions a query with
short runs, is little beside theirs."""

Counts = Mapping[str, Mapping[str, int]]
"""{encoding: {protocol: instructions per query}}."""
Layers = Mapping[str, Callable[[], Layer] | None]
"""{encoding: what makes a connection's layer}."""


def measure(progress: Progress) -> Counts:
    """Raises CallgrindError, ServerFailed, ServerMissing, WrongAnswer."""
    progress.say("starting everything under callgrind, which takes a minute")
    with _certificate() as files, _arena(files) as arena:
        target = arena.targets[cells.SHARDED]
        proof.check_all([target])
        context = ssl.create_default_context(cafile=str(files.ca))
        layers: Layers = {PLAIN: None, "TLS": lambda: Tls(context, target.endpoint.host), "zlib": Zlib, "zstd": Zstd}
        counts: dict[str, Mapping[str, int]] = {}
        for name, layer in layers.items():
            progress.say(f"counting: {name}")
            counts[name] = asyncio.run(_count(target, arena.directory, layer, *QUERIES.get(name, FEW)))
        return counts


@contextlib.contextmanager
def _certificate() -> Iterator[TlsFiles]:
    directory = rundir.create()
    try:
        yield Authority(directory).issue("fairlead")
    finally:
        rundir.remove(directory)


def _arena(files: TlsFiles) -> Arena:
    """With a listener that offers TLS; compressed packets are offered anyway."""
    listener = {"tls": {"cert": str(files.certificate), "key": str(files.key)}}
    return Arena(
        [cells.SHARDED], fairlead=UnderCallgrind, ready_timeout=READY_TIMEOUT, sections=SELDOM, listener=listener
    )


async def _count(
    target: Target, folder: Path, layer: Callable[[], Layer] | None, short: int, long: int
) -> dict[str, int]:
    async with Crowd(target.endpoint, THREADS, target.rows, layer) as crowd:
        worker = await instructions.busiest_under_callgrind(crowd, PROTOCOLS, target.proxy_pids(), folder)
        counter = Counting(crowd, folder, worker)
        await counter.idle()
        return {name: (await counter.count(name, short, long)).instructions for name in PROTOCOLS}


def lines(counts: Counts) -> list[str]:
    """The report."""
    shown = ["client connections: user instructions per query, and to those of plaintext"]
    for protocol in PROTOCOLS:
        plain = counts[PLAIN][protocol]
        for name, found in counts.items():
            shown.append(f"{protocol}: {name:<9} {found[protocol]:>7}, {found[protocol] / plain:.2f}")
    return shown
