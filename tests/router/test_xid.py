"""Names of transactions: what is made can be read again, and fits."""

from __future__ import annotations

import pytest

from router.xid import FORMAT_ID, Gtrid, label, prepared, xid

SHARDS = ["eu-0", "a" * 32, "a" * 33, "eu.0", "Größe", "o'clock", "a,b", ""]


@pytest.mark.parametrize("shard", SHARDS)
def test_names_come_back(shard: str) -> None:
    gtrid = Gtrid(1_795_000_000.123, 2**64 - 1, label(shard))
    text = str(gtrid)
    assert text.isascii() and len(text) <= 64 and len(label(shard)) <= 64
    found = prepared(FORMAT_ID, len(text), (text + label("eu-1")).encode())
    assert found is not None and (found.gtrid, found.label) == (gtrid, "eu-1")
    assert xid(gtrid, "eu-1").decode() == found.xid


def test_names_order_by_time() -> None:
    names = [str(Gtrid(made, nonce, "z")) for made, nonce in ((0.001, 9), (99.0, 5), (1e9, 1), (1.8e9, 0))]
    assert names == sorted(names)


def test_labels_tell_shards_apart() -> None:
    assert len({label(shard) for shard in SHARDS}) == len(SHARDS)


@pytest.mark.parametrize("row", [(1, 1, b"ab"), (FORMAT_ID, 3, b"abcdef"), (FORMAT_ID, 64, b"x" * 70)])
def test_others_are_not_ours(row: tuple[int, int, bytes]) -> None:
    assert prepared(*row) is None
