"""Helper columns: what shards are asked besides, so that their rows can be compared here."""

from __future__ import annotations

from dataclasses import dataclass, field

from router.engine.collations import UnknownCollation, space_weight
from router.engine.recipe import Key, Operand, Piece
from router.errors import refusal
from router.schema import LiveColumn

_BY_VALUE = frozenset(
    {"tinyint", "smallint", "mediumint", "int", "integer", "bigint", "decimal", "numeric", "double", "real", "year"}
    | {"date", "datetime", "time", "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}
)
_TEXTS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})


@dataclass(slots=True)
class Helpers:
    """The helper columns in the making. `known` False: a policy may put other values in place of a column's, so what
    the schema says of it does not count."""

    known: bool = True
    columns: list[tuple[Piece, ...]] = field(default_factory=list)

    def add(self, *pieces: Piece) -> int:
        """The number of a helper with this text; the same text is asked for once."""
        if pieces not in self.columns:
            self.columns.append(pieces)
        return self.columns.index(pieces)

    def key(
        self, pieces: tuple[Piece, ...], live: LiveColumn | None, *, descending: bool = False, wrap: str = "",
        as_text: bool = False,
    ) -> Key:  # fmt: skip
        """The key for values of this text. `live`: the column that it is, when it is one; `wrap`: an aggregate to put
        around what is asked, where that must not depend on single rows; `as_text`: ENUM by its text. Raises Refusal."""

        def ask(*asked: Piece) -> int:
            return self.add(*((f"{wrap}(", *asked, ")") if wrap else asked))

        kind = live.data_type.lower() if live is not None and self.known else None
        if kind is None or live is None:
            return self._unknown(pieces, wrap, descending=descending)
        if kind in _TEXTS or (as_text and kind in ("enum", "set")):
            check_collation(live.collation)
            return Key("weights", ask("WEIGHT_STRING(", *pieces, ")"), descending, live.collation)
        if kind in ("enum", "set", "float", "bit"):
            return Key("value", ask(*pieces, "+ 0"), descending)
        if kind == "timestamp":
            return Key("value", ask("UNIX_TIMESTAMP(", *pieces, ")"), descending)
        if kind in _BY_VALUE:
            return Key("value", ask(*pieces), descending)
        raise refusal("MERGE_TYPE", live.name)

    def operand(self, pieces: tuple[Piece, ...], live: LiveColumn | None) -> Operand:
        """The value of this text, which is the same in all rows of a group, for an expression over groups."""
        if live is None or not self.known:
            key = self._unknown(pieces, "", descending=False)
            return Operand(key.helper, key)
        helper = self.add(*pieces)
        text = live.data_type.lower() in _TEXTS
        return Operand(helper, Key("weights", helper, collation=live.collation) if text else None)

    def _unknown(self, pieces: tuple[Piece, ...], wrap: str, *, descending: bool) -> Key:
        texts: list[tuple[Piece, ...]] = [pieces, ("WEIGHT_STRING(", *pieces, ")"), ("COLLATION(", *pieces, ")")]
        if wrap:
            texts = [(f"{wrap}(", *text, ")") for text in texts]
        for at in range(len(self.columns)):
            if self.columns[at : at + 3] == texts:
                return Key("auto", at, descending)
        self.columns += texts
        return Key("auto", len(self.columns) - 3, descending)


def check_collation(collation: str | None) -> None:
    """Raises Refusal for a collation whose weights cannot be compared outside of a server."""
    try:
        space_weight(collation or "binary")
    except UnknownCollation:
        raise refusal("MERGE_COLLATION", collation or "") from None
