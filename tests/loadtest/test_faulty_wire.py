"""The relay that misbehaves, against an echo."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from loadtest.world.faulty_wire import FaultyWire


@pytest.fixture
def wire() -> Iterator[FaultyWire]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_echo, args=(listener,), daemon=True).start()
        with FaultyWire(listener.getsockname()[1]) as between:
            yield between


def _echo(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        while data := connection.recv(65536):
            connection.sendall(data)


def exchange(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    received = b""
    while len(received) < len(data) and (more := connection.recv(65536)):
        received += more
    return received


def test_it_relays_and_splits(wire: FaultyWire) -> None:
    with socket.create_connection(("127.0.0.1", wire.port), 5) as connection:
        assert exchange(connection, b"x" * 100_000) == b"x" * 100_000
        wire.split()
        assert exchange(connection, bytes(range(256))) == bytes(range(256))
        assert wire.connections == 1


def test_it_stalls_and_goes_on(wire: FaultyWire) -> None:
    with socket.create_connection(("127.0.0.1", wire.port), 5) as connection:
        assert exchange(connection, b"a") == b"a"
        wire.stall()
        connection.sendall(b"b")
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        wire.behave()
        connection.settimeout(5)
        assert connection.recv(1) == b"b"


def test_it_cuts_in_the_middle(wire: FaultyWire) -> None:
    with socket.create_connection(("127.0.0.1", wire.port), 5) as connection:
        assert exchange(connection, b"a") == b"a"
        wire.cut(after=3)
        assert exchange(connection, b"abcdefgh") == b"abc"


def test_it_resets_and_refuses(wire: FaultyWire) -> None:
    with socket.create_connection(("127.0.0.1", wire.port), 5) as connection:
        assert exchange(connection, b"a") == b"a"
        wire.refuse()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", wire.port), 5) as connection:
        connection.sendall(b"a")
        if connection.recv(1) == b"":
            raise ConnectionResetError
