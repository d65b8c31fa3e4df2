"""Recorded statement shapes: what `/digests` of a running Fairlead answers, from a file or straight from there."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import click

from router.simulation import Shape

MAX_CORPUS = 256 << 20
HTTP_TIMEOUT = 10.0
QUERY = "/digests?limit=1000&format=json"


class CorpusError(click.UsageError):
    """The corpus cannot be read."""


def read_corpus(source: str) -> list[Shape]:
    """From a file, or from the address of an HTTP listener (`http://127.0.0.1:7380`). Raises CorpusError."""
    try:
        data = _fetch(source) if source.startswith(("http://", "https://")) else _read(source)
        plain = json.loads(data)
        return list(_shapes(plain["rows"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"the corpus {source} cannot be read: {error}") from None


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return _bounded(file.read(MAX_CORPUS + 1))


def _fetch(address: str) -> bytes:
    address = address if "/digests" in address else address.rstrip("/") + QUERY
    with urllib.request.urlopen(address, timeout=HTTP_TIMEOUT) as response:
        return _bounded(response.read(MAX_CORPUS + 1))


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_CORPUS:
        raise ValueError("it is larger than 256 MiB")
    return data


def _shapes(rows: list[dict[str, Any]]) -> Iterator[Shape]:
    for row in rows:
        if row["statement"] and row.get("user"):
            yield Shape(
                norm=str(row["statement"]),
                user=str(row["user"]),
                keyspace=row.get("keyspace"),
                count=int(row.get("count", 1)),
                whole=not row.get("truncated", False),
            )
