"""What must hold of a configuration before it is put in force."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from _speedups.stats import StatsPage
from config.errors import ConfigError
from config.load import load
from proxy.supervision import candidate
from proxy.supervision.control import digest_of

BASE: dict[str, Any] = {
    "region": "eu",
    "regions": {"eu": {}, "us": {}},
    "shards": {
        "eu-0": {
            "region": "eu",
            "flavour": "mariadb",
            "primary": "127.0.0.1:3306",
            "replicas": ["127.0.0.1:3307"],
            "account": {"user": "fairlead", "password": {"value": "secret"}},
            "limits": {"connections": 7, "idle": 0},
        }
    },
    "keyspaces": {"shop": {"shards": ["eu-0"]}},
    "users": {"demo": {"password": {"value": "demo"}}},
    "listeners": {"mysql": {"port": 7306}},
}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def run(**sections: Any) -> Path:
        path = tmp_path / "fairlead.yaml"
        path.write_text(yaml.safe_dump({**BASE, **sections}))
        return path

    return run


# --- reading ------------------------------------------------------------------------------------------------


def test_the_digest_is_of_the_bytes_that_were_read(write: Write) -> None:
    path = write()
    found = candidate.read(path, None, 5)
    assert found.digest == digest_of([path])
    assert found.generation.number == 5
    assert found.settings == load(path)


def test_a_file_that_changes_while_it_is_read_is_read_again(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(users={"early": {"password": {"value": "x"}}})
    late = iter([True, False])

    def slow(*given: Any, **options: Any) -> Any:
        settings = load(*given, **options)
        if next(late):
            write()
        return settings

    monkeypatch.setattr(candidate, "load", slow)
    found = candidate.read(path, None, 1)
    assert list(found.settings.users) == ["demo"]
    assert found.digest == digest_of([path])


def test_a_file_that_never_stands_still_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write()
    names = iter(range(1000))

    def slow(*given: Any, **options: Any) -> Any:
        settings = load(*given, **options)
        write(users={f"user{next(names)}": {"password": {"value": "x"}}})
        return settings

    monkeypatch.setattr(candidate, "load", slow)
    with pytest.raises(ConfigError, match="change while they are read"):
        candidate.read(path, None, 1)


def test_a_folder_is_read_as_one(tmp_path: Path) -> None:
    for name, value in BASE.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({name: value}))
    found = candidate.read(tmp_path, None, 1)
    assert len(found.settings.files) == len(BASE)
    assert candidate.same_bytes(tmp_path, found)
    (tmp_path / "more.yaml").write_text("limits: {drain: 1s}\n")
    assert not candidate.same_bytes(tmp_path, found)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        candidate.read(tmp_path / "absent.yaml", None, 1)
    assert candidate.signature(tmp_path / "absent.yaml") == ()


def test_the_signature_sees_every_way_to_write(write: Write, tmp_path: Path) -> None:
    path = write()
    first = candidate.signature(path)
    assert candidate.signature(path) == first
    os.utime(path, ns=(1, 1))
    touched = candidate.signature(path)
    assert touched != first
    assert candidate.same_bytes(path, candidate.read(path, None, 1))
    fresh = tmp_path / "fresh"
    fresh.write_bytes(path.read_bytes())
    os.utime(fresh, ns=(1, 1))
    fresh.rename(path)
    assert candidate.signature(path) != touched


# --- the page -----------------------------------------------------------------------------------------------


def test_the_page_has_room_to_grow(write: Write) -> None:
    found = candidate.read(write(), None, 1)
    shape = candidate.page_for(found, 3).shape
    assert (shape.workers, shape.shards, shape.backends, shape.users) == (3, 18, 20, 18)
    assert shape.digests == found.settings.telemetry.digests


def test_names_and_limits_are_declared(write: Write) -> None:
    found = candidate.read(write(), None, 1)
    page = candidate.page_for(found, 1)
    candidate.declare(page, found)
    assert [name.text for name in page.names("user")] == ["demo"]
    assert [name.text for name in page.names("shard")] == ["eu-0"]
    assert [(name.text, name.limit) for name in page.names("backend")] == [
        ("eu-0/127.0.0.1:3306", 7),
        ("eu-0/127.0.0.1:3307", 7),
    ]


def everything(page: StatsPage) -> list[Any]:
    return [page.names(kind) for kind in ("shard", "backend", "user", "keyspace", "region")]


def test_names_without_room_leave_the_page_as_it_was(write: Write) -> None:
    first = candidate.read(write(), None, 1)
    page = candidate.page_for(first, 1)
    candidate.declare(page, first)
    before = everything(page)
    keyspaces = {f"shop{number}": {"shards": ["eu-0"]} for number in range(18)}
    users = {"other": {"password": {"value": "x"}}}
    with pytest.raises(ConfigError, match="19 keyspace names, room for 18"):
        candidate.check_room(page, candidate.read(write(keyspaces=keyspaces, users=users), None, 2))
    assert everything(page) == before
    candidate.check_room(page, candidate.read(write(users=users), None, 2))
    assert everything(page) == before


def test_a_name_longer_than_the_page_keeps_is_refused(write: Write) -> None:
    found = candidate.read(write(users={"é" * 80: {"password": {"value": "x"}}}), None, 1)
    with pytest.raises(ConfigError, match="is not 1 to 112 bytes long"):
        candidate.check_room(candidate.page_for(found, 1), found)


def test_a_page_that_cannot_be_made_is_a_mistake(write: Write) -> None:
    with pytest.raises(ConfigError, match="digests"):
        candidate.read(write(telemetry={"digests": "65537"}), None, 1)
