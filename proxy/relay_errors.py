"""The errors that the relay answers by itself, in the catalogue's words."""

from __future__ import annotations

from _speedups.relay import Relay
from proxy.compile import error_payload
from proxy.generation import Generation
from proxy.numbers import Numbers
from router.errors import refusal

SHARD_ERRORS = (
    ("BACKEND_LOST", ()),
    ("SHARD_FAILED", ("its server went away; nothing was changed",)),
    ("COMMIT_UNKNOWN", ()),
    ("BACKEND_LOST_IDLE", ()),
    ("QUEUE_TIMEOUT", None),
)
"""The relay's per-shard error kinds, in its order: entry, and the arguments behind the shard's name."""


def fill_errors(relay: Relay, generation: Generation, numbers: Numbers) -> None:
    """Of this configuration."""
    limits = generation.settings.limits
    fixed = (
        ("PACKET_TOO_LARGE", str(limits.max_packet)), ("MALFORMED_PACKET", "out of order"),
        ("MALFORMED_PACKET", "COM_STMT_EXECUTE or COM_STMT_FETCH"), ("UNKNOWN_PREPARED", "of this connection"),
        ("DRAINING",),
        ("IDLE_TIMEOUT", f"{limits.idle_client:g}s"), ("INTERNAL", "session state was lost"),
        ("NO_PRIMARY", "of this statement"), ("QUEUE_FULL", "of this statement"),
        ("POLICY_SERVER_ERROR",), ("POLICY_WITNESS",), ("INTERRUPTED",), ("NO_OPEN_CURSOR",),
        ("MALFORMED_ATTRIBUTES",),
    )  # fmt: skip
    for kind, (name, *args) in enumerate(fixed, len(SHARD_ERRORS)):
        relay.error_put(kind, error_payload(refusal(name, *args)))
    for shard in generation.topology.shards:
        for kind, (name, rest) in enumerate(SHARD_ERRORS):
            more = (f"{limits.queue_wait:g}s",) if rest is None else rest
            payload = error_payload(refusal(name, shard.name, *more))
            relay.error_put(kind, payload, numbers.shards[shard.index])
