"""One time for a statement on several shards: the first one's, set as the session's `timestamp` on all of them.

NOW() and its kin, defaults and ON UPDATE CURRENT_TIMESTAMP follow it (MySQL Reference Manual 7.1.8, `timestamp`). It is
taken back before the transaction ends, in which the connections are; those of a transaction that breaks off are closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from _speedups.packet import split_packets
from proxy.mysql.packets.resultset import parse_text_row
from proxy.scatter.leases import Lease, is_error

ASK = b"\x03SELECT @@timestamp"
OWN = b"\x03SET timestamp = DEFAULT"


async def set_one_time(numbers: Mapping[str, int], leases: Mapping[str, Lease]) -> dict[str, bytes] | None:
    """None, or answers with the error of a server that does not let its time be set."""
    name, lease = next(iter(leases.items()))
    answer = await lease.command(numbers[name], ASK)
    if is_error(answer):
        return {name: answer}
    answers = await _on_all(numbers, leases, b"\x03SET timestamp = " + (only_value(answer) or b"DEFAULT"))
    if any(map(is_error, answers.values())):
        await set_own_times(numbers, leases)
        return answers
    return None


async def set_own_times(numbers: Mapping[str, int], leases: Mapping[str, Lease]) -> None:
    """Each server's own again. A connection on which that fails is not used any more."""
    for name, answer in (await _on_all(numbers, leases, OWN)).items():
        if is_error(answer):
            leases[name].close()


async def _on_all(numbers: Mapping[str, int], leases: Mapping[str, Lease], payload: bytes) -> dict[str, bytes]:
    answers = await asyncio.gather(*(lease.command(numbers[name], payload) for name, lease in leases.items()))
    return dict(zip(leases, answers, strict=True))


def only_value(answer: bytes) -> bytes | None:
    """Of a result set with one row and one column, which is not empty."""
    packets = [payload for _, payload in split_packets(answer)]
    row = next(one for one in packets[2:] if one[:1] not in (b"\xfe", b"\x00"))
    return parse_text_row(row)[0]
