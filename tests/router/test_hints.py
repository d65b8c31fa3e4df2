"""Hint comments."""

from __future__ import annotations

import pytest

from router.errors import Refusal
from router.hints import NO_HINTS, Hints, parse_hints


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", NO_HINTS),
        (" , ", NO_HINTS),
        ("shard=eu-0", Hints(shard="eu-0")),
        ("SHARD = eu-0", Hints(shard="eu-0")),
        ("consistency=Session", Hints(consistency="session")),
        ("scatter=ok", Hints(scatter=True)),
        ("scatter=refuse", Hints(scatter=False)),
        ("max_lag=500ms", Hints(max_lag=500)),
        ("max_lag=2s", Hints(max_lag=2000)),
        ("max_lag=3", Hints(max_lag=3000)),
        ("max_lag=1m", Hints(max_lag=60_000)),
        ("shard=a,consistency=eventual , max_lag=0s", Hints(shard="a", consistency="eventual", max_lag=0)),
    ],
)
def test_hints(text: str, expected: Hints) -> None:
    assert parse_hints(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "shard",
        "shard=",
        "=x",
        "shards=a",
        "consistency=strong",
        "scatter=yes",
        "max_lag=-1s",
        "max_lag=1h",
        "shard=a,shard=b",
    ],
)
def test_an_unread_hint_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        parse_hints(text)
