"""Messages between the supervisor and its workers, and the digest that both compare."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.supervision import control


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = control.pair()
    with ours, theirs:
        yield ours, theirs


Ends = tuple[socket.socket, socket.socket]


def test_messages_arrive_one_by_one(ends: Ends) -> None:
    ours, theirs = ends
    sent = [{"verb": "reload", "number": 2, "digest": "d"}, {"verb": "drain", "seconds": 30.0}]
    assert all(control.send(ours, message) for message in sent)
    assert control.receive(theirs) == sent
    assert control.receive(theirs) == []


def test_the_other_side_has_gone(ends: Ends) -> None:
    ours, theirs = ends
    control.send(theirs, {"verb": "ready"})
    theirs.close()
    assert control.receive(ours) == [{"verb": "ready"}]
    assert control.receive(ours) is None
    assert not control.send(ours, {"verb": "drain"})


def test_a_side_that_reads_nothing_does_not_block_the_other(ends: Ends) -> None:
    ours, _ = ends
    assert any(not control.send(ours, {"verb": "drain"}) for _ in range(100_000))


def test_a_long_reason_fits_one_datagram(ends: Ends) -> None:
    ours, theirs = ends
    assert len(control.encode({"verb": "refused", "error": "\0" * 1_000_000})) <= control.MAX_MESSAGE
    control.send(theirs, {"verb": "refused", "number": 1, "error": "é" * 100_000})
    [message] = control.receive(ours) or []
    assert message["error"] == "é" * control.MAX_ERROR


@pytest.mark.parametrize("data", [b"\xff", b"", b"[]", b"3", b"{}", b'{"verb": 1}', b"[" * 60000])
def test_what_is_no_message(data: bytes) -> None:
    assert control.decode(data) == {"verb": control.MALFORMED}


def test_the_digest_is_of_names_order_and_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("a")
    two.write_text("bc")
    whole = control.digest_of([one, two])
    assert whole == control.digest_of([one, two])
    assert whole != control.digest_of([two, one])
    one.write_text("ab")
    two.write_text("c")
    assert whole != control.digest_of([one, two])
    with pytest.raises(OSError):
        control.digest_of([tmp_path / "absent.yaml"])
