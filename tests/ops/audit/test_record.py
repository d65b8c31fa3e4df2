"""Records hold names, numbers and fixed words, and one text stands for one record."""

from __future__ import annotations

import json
import pickle

import pytest

from ops.audit.hlc import HybridClock, iso, seconds_of, stamp_of
from ops.audit.record import MAX_NAMES, UNKNOWN, Name, Result, Verdict, Vocabulary, encode
from router.policy.model import Action
from tests.ops.audit.logs import WORDS, decision


@pytest.mark.parametrize(
    "field", ["proxy", "subject", "to", "purpose", "counterparty", "version", "fingerprint", "rows", "verdict"]
)
def test_no_field_takes_text(field: str) -> None:
    with pytest.raises(TypeError, match=field):
        decision(**{field: "o'brien@example.org"})


@pytest.mark.parametrize("field", ["tables", "classes", "homes", "rules", "obligations", "shards"])
def test_no_list_takes_text(field: str) -> None:
    with pytest.raises(TypeError, match=field):
        decision(**{field: ("o'brien@example.org",)})


@pytest.mark.parametrize("value", [-1, 2**64, True, 1.5])
def test_numbers_are_whole_and_bounded(value: object) -> None:
    with pytest.raises(TypeError):
        decision(rows=value)


def test_a_name_comes_from_a_vocabulary_only() -> None:
    with pytest.raises(TypeError):
        Name("4111 1111 1111 1111")
    with pytest.raises(TypeError):
        pickle.loads(pickle.dumps(WORDS.name("eu")))
    assert WORDS.name("passport_of_someone") is UNKNOWN
    assert Vocabulary(["a\nb", "", "x" * 300]).names(["a\nb", "", "x" * 300]) == (UNKNOWN,)


def test_a_list_is_bounded() -> None:
    words = Vocabulary(str(one) for one in range(MAX_NAMES + 1))
    found = words.names(str(one) for one in range(MAX_NAMES + 1))
    assert len(found) == MAX_NAMES and found[-1] is UNKNOWN and decision(tables=found)
    with pytest.raises(ValueError, match="more than"):
        decision(tables=(*found, UNKNOWN))


def test_the_text_is_canonical() -> None:
    text = encode(decision(), 7)
    plain = json.loads(text)
    assert list(plain) == sorted(plain) and b" " not in text and text.isascii()
    assert plain["kind"] == "decision" and plain["fingerprint"] == "000000000000abcd"
    assert plain["verdict"] == "mask" and "purpose" not in plain
    assert encode(decision(), 7) == text
    assert json.loads(encode(Result(of=7, rows=0, bytes_out=0, latency_us=1), 8))["of"] == 7


def test_verdicts_are_those_of_the_policy() -> None:
    assert [str(one) for one in Verdict] == [one.name.lower() for one in Action]


def test_the_clock_never_goes_back() -> None:
    wall = iter([100.0, 100.0, 50.0, 200.0, 10.0])
    clock = HybridClock(lambda: next(wall))
    stamps = [clock.now() for _ in range(4)]
    assert stamps == sorted(set(stamps)) and seconds_of(stamps[3]) == 200.0
    clock.seen(stamp_of(300.0))
    assert clock.now() == stamp_of(300.0) + 1
    assert iso(stamp_of(0.5)) == "1970-01-01T00:00:00.500+00:00"
