"""Glob patterns fit what they fit on a server (KEYS)."""

from __future__ import annotations

import pytest

from loadtest.world.redis import Redis
from router.redis.glob import matches
from router.redis.resp import decode, request
from tests.proxy.redis.raw import Raw

NAMES = [
    b"a", b"b", b"ab", b"abc", b"a-c", b"a]c", b"^", b"-", b"*", b"a*c", b"[ab]", b"a\\c", b"z\n", b"\xffx", b"aaab",
]  # fmt: skip
PATTERNS = [
    b"*", b"?", b"??", b"a*", b"*b", b"a*b*", b"[ab]", b"[^ab]", b"[a-c]?", b"[c-a]", b"a\\*c", b"a[]]c", b"a[\\]]c",
    b"[^", b"[ab", b"\\[ab\\]", b"a\\\\c", b"***a", b"", b"a", b"\\", b"[\xff]x", b"[a-]", b"[-a]", b"z?", b"a[^-]c",
]  # fmt: skip


@pytest.mark.servers
def test_as_the_server(redis_server: Redis):
    client = Raw(redis_server.port, login=False)
    for name in NAMES:
        client.ask("SET", name, 1)
    for pattern in PATTERNS:
        client.send(request("KEYS", pattern))
        expected = sorted(decode(client.read()))
        assert sorted(one for one in NAMES if matches(pattern, one)) == expected, pattern
    client.ask("FLUSHALL")
    client.close()
