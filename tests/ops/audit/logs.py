"""Small audit logs for the tests, written as a worker writes them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ops.audit.hlc import HybridClock
from ops.audit.log import AuditLog, LogOptions
from ops.audit.record import Decision, Record, Result, Verdict, Vocabulary, encode
from ops.audit.stream import Stream, StreamOptions

WORDS = Vocabulary(["eu", "eea", "us", "analyst", "customers", "personal", "mask_mail", "eu-0", "rule_7", "acme"])
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def decision(number: int = 0, **given: Any) -> Decision:
    plain: dict[str, Any] = {
        "proxy": WORDS.name("eu"), "version": 3, "epoch": 3, "subject": WORDS.name("analyst"), "to": WORDS.name("us"),
        "fingerprint": 0xABCD + number, "verdict": Verdict.MASK, "tables": WORDS.names(["customers"]),
        "classes": WORDS.names(["personal"]), "homes": WORDS.names(["eea"]), "rules": WORDS.names(["rule_7"]),
        "obligations": WORDS.names(["mask_mail"]), "shards": WORDS.names(["eu-0"]),
        "rows": 5, "bytes_out": 100, "latency_us": 900,
    }  # fmt: skip
    return Decision(**{**plain, **given})


def stream_options(directory: Path, **given: Any) -> StreamOptions:
    return StreamOptions(**{"directory": directory, "domain": "eea", "proxy": "eu", "worker": 0, **given})


def clock() -> HybridClock:
    return HybridClock(lambda: 1_800_000_000.0)


class Written:
    """A stream driven by hand: `add` records one write each, `anchor`, `close` or leave open as after a kill."""

    def __init__(self, directory: Path, **given: Any) -> None:
        self.clock = clock()
        self.stream = Stream(stream_options(directory, **given), KEY, self.clock)
        self.stream.start()

    def add(self, *records: Record) -> None:
        for record in records:
            self.stream.append([encode(record, self.clock.now())])

    def abandon(self) -> None:
        """What kill -9 does to it."""
        os.close(self.stream._lock)


def main() -> None:
    """For the kill tests: appends until killed, and prints the number of each record that is durable."""
    log = AuditLog(stream_options(Path(sys.argv[1]), segment_bytes=20_000), KEY, LogOptions(anchor_every=0.02))
    number = int(sys.argv[2])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        appended = [(one, log.append(decision(one))) for one in range(number, number + 20)]
        for one, (stamp, durable) in appended:
            durable.result()
            log.append(Result(of=stamp, rows=1, bytes_out=1, latency_us=1))
            sys.stdout.write(f"{one}\n")
            sys.stdout.flush()
        number += 20


if __name__ == "__main__":
    main()
