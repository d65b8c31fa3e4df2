"""Unix sockets: towards clients, and towards servers."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.sqlserver import SERVICE_USER, Passwords
from loadtest.world.world import World
from proxy.supervision.ports import Ports
from tests.proxy.clients import client, together, until, value
from tests.servers import BOTH_SERVERS

FAR = {"password": {"value": "far"}, "grants": [{"on": "*.*", "verbs": ["all"]}], "require_tls": True}


@pytest.fixture
def path(world: World) -> Path:
    return world.directory / "local.sock"


@pytest.fixture
def member(world: World, path: Path) -> Fairlead:
    """Two workers share the socket; on its port the listener would demand TLS."""
    files = world.server_certificate
    tls = {"cert": str(files.certificate), "key": str(files.key), "required": True}
    local = {"kind": "mysql", "socket": str(path), "socket_access": "owner", "tls": tls}
    found = world.kept({"users": {"far": FAR}, "listeners": {"local": local}}, workers=2)
    until(path.exists, "the socket", found)
    return found


def connect(path: Path, user: str = "demo", **options: Any) -> Any:
    return pymysql.connect(
        unix_socket=str(path), user=user, password=user, database="shop", ssl_disabled=True, autocommit=True, **options
    )


def test_a_driver(member: Fairlead, path: Path) -> None:
    with contextlib.closing(connect(path)) as connection:
        assert value(connection, "SELECT USER()") == "demo@localhost"
        assert value(connection, "SELECT COUNT(*) FROM customers") > 0
        assert value(connection, "SELECT 1") == 1


@pytest.mark.parametrize("program", ["mariadb", "mysql"])
def test_the_command_line(member: Fairlead, path: Path, program: str) -> None:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"no {program}")
    argv = [found, "--no-defaults", f"--socket={path}", "-udemo", "-pdemo", "-N", "-e", "SELECT CURRENT_USER()", "shop"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "demo@localhost"


def test_who_may_connect(member: Fairlead, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(pymysql.err.OperationalError) as error:
        connect(path, "far")
    assert error.value.args[0] == 1045, "an account's own demand for TLS means TLS"
    with pytest.raises(pymysql.err.OperationalError) as error:
        pymysql.connect(unix_socket=str(path), user="demo", password="wrong")
    assert "'demo'@'localhost'" in error.value.args[1]


def test_many_at_once(member: Fairlead, path: Path) -> None:
    def job() -> None:
        for _ in range(5):
            with contextlib.closing(connect(path)) as connection:
                assert value(connection, "SELECT 1") == 1

    together([job] * 20)


def test_it_comes_and_goes_with_the_configuration(world: World) -> None:
    member = world.fleet({"limits": {"drain": "1s"}})["eu"]
    path, other = world.directory / "first.sock", world.directory / "second.sock"
    written = dict(member.configuration)

    def listens(**listener: Any) -> None:
        member.write({**written, "listeners": {**written["listeners"], "local": {"kind": "mysql", **listener}}})
        member.reload()

    listens(socket=str(path), socket_access="everyone")
    until(lambda: comes_in(path), "the socket is served", member)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    with contextlib.closing(connect(path)) as connection:
        listens(socket=str(other))
        until(lambda: comes_in(other) and not path.exists(), "the socket moves", member)
        assert value(connection, "SELECT 1") == 1, "who is in stays in"
    with client(member) as connection:
        assert value(connection, "SELECT 1") == 1
    member.stop()
    assert not other.exists()


def comes_in(path: Path) -> bool:
    with contextlib.suppress(OSError, pymysql.err.OperationalError):
        connect(path).close()
        return True
    return False


def test_what_a_killed_fairlead_left_is_taken_away(world: World) -> None:
    path = world.directory / "stale.sock"
    fleet = world.fleet({"listeners": {"local": {"kind": "mysql", "socket": str(path)}}})
    os.kill(fleet["eu"].pid, signal.SIGKILL)
    until(lambda: not fleet._members["eu"].alive, "its end")
    assert path.exists()
    assert comes_in_after_start(fleet["eu"], path)


def comes_in_after_start(member: Fairlead, path: Path) -> bool:
    return bool(until(lambda: comes_in(path), "the socket is served again", member))


@pytest.fixture
def folder(world: World) -> Iterator[Path]:
    yield world.directory


@pytest.mark.parametrize("what", ["a server", "a file"])
def test_what_is_not_ours_stays(tmp_path: Path, folder: Path, what: str) -> None:
    from config.errors import ConfigError
    from config.load import load

    path = folder / "other.sock"
    file = tmp_path / "fairlead.yaml"
    file.write_text(f"""
region: eu
regions: {{eu: {{}}}}
shards: {{one: {{region: eu, flavour: mariadb, primary: /run/a.sock, account: {{user: f, password: {{value: x}}}}}}}}
keyspaces: {{first: {{shards: [one]}}}}
users: {{demo: {{password: {{value: x}}}}}}
listeners: {{mysql: {{socket: {path}}}}}
""")
    settings = load(file)
    with contextlib.ExitStack() as stack:
        stack.callback(path.unlink)
        if what == "a file":
            path.write_text("mine")
        else:
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.bind(str(path))
            sock.listen(1)
        expected = "is taken" if what == "a server" else "there is a file that is no socket"
        with pytest.raises(ConfigError, match=f": listeners.mysql.socket: {re.escape(str(path))}.*{expected}"):
            Ports(1).prepare(settings)
        assert path.exists()


@BOTH_SERVERS
def test_servers_by_their_socket(world: World) -> None:
    shards = {name: {"primary": str(shard.primary.socket)} for name, shard in world.shards.items()}
    account = f"'{SERVICE_USER}'@'localhost'"
    for shard in world.shards.values():
        shard.primary.run(
            f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{Passwords().service}'",
            f"GRANT ALL ON *.* TO {account}",
        )
    member = world.fleet({"shards": shards})["eu"]
    with client(member) as connection:
        assert value(connection, "SELECT COUNT(*) FROM customers") > 0
        assert value(connection, "SELECT COUNT(*) FROM customers WHERE id = 1") in (0, 1)
    assert f'backend="eu-0/{world.shards["eu-0"].primary.socket}"' in member.http("/metrics")
