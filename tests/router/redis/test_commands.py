"""The table is what the installed Redis says, every command is classified, and keys are where Redis sees them."""

from __future__ import annotations

import json
import shlex
import socket
from pathlib import Path

import pytest
import yaml

from loadtest.world.redis import Redis
from router.redis import manual
from router.redis import table as tables
from router.redis.keys import BadKeys, key_places, reads_elsewhere
from router.redis.table import Class, Level, build, table
from tools.redis_commands import FILE, ask, derive

LINES = Path(__file__).parents[2] / "cases" / "redis_commands.txt"
CORPUS = [line for line in LINES.read_text().splitlines() if line and not line.startswith("#")]


def words(line: str) -> list[bytes]:
    return [word.encode() for word in shlex.split(line)]


def test_the_file_is_what_the_installed_server_says(redis_server: Redis):
    shipped, found = json.loads(FILE.read_text()), derive(redis_server.port)
    if found["version"] != shipped["version"]:
        pytest.skip(f"the installed server is {found['version']}; the table is of {shipped['version']}")
    assert found == shipped, f"run: python tools/redis_commands.py {redis_server.port}"


def test_keys_are_those_that_redis_sees(redis_server: Redis):
    """Redis names a key as often as the specifications do, in their order."""
    with socket.create_connection(("127.0.0.1", redis_server.port), 5) as connection:
        for line in CORPUS:
            arguments = words(line)
            command = table().find(arguments)
            assert command is not None, line
            reply = ask(connection, "COMMAND", "GETKEYSANDFLAGS", *shlex.split(line))
            assert isinstance(reply, list), (line, reply)
            expected = [entry[0] for entry in reply]
            assert [arguments[place] for place in key_places(command, arguments)] == expected, line


def test_the_corpus_has_every_command_with_keys():
    named = {(table().find(words(line)) or table().commands["get"]).name for line in CORPUS}
    grouped = {one.group for name, one in table().commands.items() if name in named}
    assert {Class.ONE, Class.SAME, Class.SPLIT, Class.BLOCKING} <= grouped
    many = {name for name, one in table().commands.items() if one.group in (Class.SAME, Class.SPLIT, Class.BLOCKING)}
    assert many <= named


@pytest.mark.parametrize(
    "line",
    ["EVAL body 3 a b", "ZUNION 0x2 a b", "LMPOP 02 a b LEFT", "SINTERCARD -1 a", "EVAL body x", "ZUNION 9999999999 a"],
)
def test_keys_that_are_not_there(line: str):
    command = table().find(words(line))
    assert command is not None
    with pytest.raises(BadKeys):
        key_places(command, words(line))


def test_sort_with_patterns_reads_elsewhere():
    command = table().commands["sort"]
    for line, expected in (
        ("SORT a", False), ("SORT a BY nosort GET #", False), ("SORT a BY w_*", True), ("SORT a GET o_* STORE b", True),
        ("SORT a LIMIT BY w_* ASC", False),
    ):  # fmt: skip
        assert reads_elsewhere(command, words(line)) is expected, line


def test_names_in_any_case_and_unknown_ones():
    assert table().find([b"GeT", b"a"]) is table().commands["get"]
    assert table().find([b"CONFIG", b"Get", b"x"]) is table().commands["config|get"]
    assert table().find([b"config|get", b"x"]) is None
    assert table().find([b"\xff\xfe"]) is None
    assert table().find([b"client", b"nonsense"]) is None


def test_levels():
    levels = {name: table().commands[name].level for name in ("get", "set", "eval", "eval_ro", "flushall", "auth")}
    assert levels == {
        "get": Level.READ, "set": Level.WRITE, "eval": Level.WRITE, "eval_ro": Level.READ, "flushall": Level.ADMIN,
        "auth": Level.NONE,
    }  # fmt: skip


def test_what_nothing_classifies_is_a_mistake():
    data = {"version": "0", "commands": {"new": {"arity": 1, "flags": [], "acl": []}}}
    overlay = yaml.safe_load(Path(tables.__file__).with_name("overlay.yaml").read_text())
    with pytest.raises(ValueError, match="new has no keys"):
        build(data, overlay)
    overlay["local"].append("ghost")
    with pytest.raises(ValueError, match="does not know"):
        build(json.loads(FILE.read_text()), overlay)


def test_refusals_have_a_text():
    assert all(one.text for one in table().commands.values() if one.group is Class.REFUSED)


def test_the_page_is_current():
    assert manual.FILE.read_text() == manual.text(), "run: python -m router.redis.manual"
