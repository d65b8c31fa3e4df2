"""The splitter of LOAD DATA's files beside the plain reading, in pieces of any size."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from _speedups.splitter import Splitter, Unsplittable
from router.files import FileFormat
from router.keys import KeyColumn, KeyType, Unpinnable, canonical_stored
from router.vindexes.hash import Hash
from router.vindexes.vindex import bucket_of, even_buckets
from tests.oracle.load_oracle import rows

BUCKETS = even_buckets([0, 1, 2])
TEXT = KeyColumn(KeyType.BYTES_PAD, 0, 60)
NUMBER = KeyColumn(KeyType.INT_SIGNED, -(2**63), 2**63 - 1)
FORMATS = [
    FileFormat(),
    FileFormat(b",", b"\n", b"", b'"', b"\\"),
    FileFormat(b",", b"\r\n", b"", b'"', b'"', 1),
    FileFormat(b";;", b";\n", b"", b"'", b""),
    FileFormat(b"ab", b"aa", b"xy", b"", b"a", 2),
    FileFormat(b"\t", b"\n", b">>>", b"", b"\\"),
]


def splitter(form: FileFormat, column: KeyColumn, fields: int, key: int, **more: Any) -> Splitter:
    tables = Hash("h", BUCKETS).tables([column])
    arguments = {
        "kind": 1, "key_types": list(tables.key_types), "region_kind": 0, "shift": 0, "mask": 0, "regions": [],
        "maps": list(tables.maps), "bounds": [], "bound_shards": [], "items": [], "limits": list(tables.limits),
    }  # fmt: skip
    return Splitter(
        arguments, [0, 1, 2], fields, [key], field_term=form.field_term, line_term=form.line_term,
        line_start=form.line_start, enclosed=form.enclosed, escaped=form.escaped, skip=form.ignored,
        **{"utf8": 4, **more},
    )  # fmt: skip


def expected(data: bytes, form: FileFormat, fields: int, key: int) -> tuple[list[bytes], int | None]:
    """What each shard gets, and the row that has no place."""
    out = [b"", b"", b""]
    for number, row in enumerate(rows(data, form, fields), 1):
        try:
            value = row.fields[key]
            text = value.decode() if value is not None else None
            if text is None or len(value or b"") > TEXT.high:
                return out, number
            out[BUCKETS[bucket_of(canonical_stored(text, TEXT))]] += row.raw
        except (IndexError, Unpinnable, UnicodeDecodeError):
            return out, number
    return out, None


@st.composite
def files(draw: st.DrawFn) -> tuple[FileFormat, bytes]:
    form = draw(st.sampled_from(FORMATS))
    terms = [form.field_term, form.line_term, form.line_start, form.enclosed, form.escaped]
    pieces = [*terms, *(one[:1] for one in terms), b"a", b"bc", b"N", b"NULL", b" ", b"\xc3\xa9", form.enclosed * 2]
    chosen = st.lists(st.sampled_from([*pieces, form.field_term, form.line_term]), max_size=40)
    return form, b"".join(draw(chosen))


@settings(max_examples=400, deadline=None)
@given(files(), st.integers(1, 4), st.data())
def test_as_the_plain_reading(given: tuple[FileFormat, bytes], fields: int, more: st.DataObject) -> None:
    form, data = given
    key, size = more.draw(st.integers(0, fields - 1)), more.draw(st.integers(1, 9))
    parted, bad = splitter(form, TEXT, fields, key), None
    out = [b"", b"", b""]
    try:
        for at in range(0, len(data), size):
            parted.feed(data[at : at + size])
            out = [have + parted.take(shard) for shard, have in enumerate(out)]
        parted.finish()
    except Unsplittable as reason:
        assume("UTF-8" not in reason.why)  # what is passed over has an escape within a character
        bad = reason.row
    out = [have + parted.take(shard) for shard, have in enumerate(out)]
    assert (out, bad) == expected(data, form, fields, key)


@pytest.mark.parametrize(
    ("field", "same"),
    [(b"7", 7), (b"007", 7), (b"-0", 0), (b"-5", -5), (b"9223372036854775807", 2**63 - 1)]
    + [(odd, None) for odd in (b"", b"+7", b" 7", b"7 ", b"7.0", b"1e3", b"9223372036854775808", b"\\N", b"x", b"-")],
)  # fmt: skip
def test_numbers(field: bytes, same: int | None) -> None:
    parted = splitter(FileFormat(), NUMBER, 2, 0)
    if same is None:
        with pytest.raises(Unsplittable):
            parted.feed(field + b"\tx\n")
        return
    parted.feed(field + b"\tx\n")
    home = BUCKETS[bucket_of(same.to_bytes(8, "little", signed=True))]
    assert parted.take(home) == field + b"\tx\n"


def test_what_else_has_no_place() -> None:
    for data, more in [
        (b"\xff\tx\n", {}),
        (b"\xf0\x9f\x99\x82\tx\n", {"utf8": 3}),
        (b"\xe9\tx\n", {"utf8": 0}),
        (b"a" * 61 + b"\tx\n", {}),
        (b"a\tx\ty\xff\n", {}),
        (b"a" * 200, {"most": 100}),
        (b"a\t0\n", {"id_field": 1}),
        (b"a\t\\N\n", {"id_field": 1}),
    ]:
        parted = splitter(FileFormat(), TEXT, 2, 0, **more)
        with pytest.raises(Unsplittable):
            parted.feed(data)
            parted.finish()


def test_a_long_row_goes_on_before_its_end() -> None:
    """Only what comes before the key is held."""
    parted = splitter(FileFormat(), TEXT, 2, 0, most=100)
    parted.feed(b"k\t")
    for _ in range(50):
        parted.feed(b"x" * 1000)
    assert sum(len(parted.take(shard)) for shard in range(3)) == 50_002
