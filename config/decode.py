"""A tree of texts -> settings objects, by the types and options that `config.settings` declares.

Nothing here names a setting: a class is read field by field, a mapping entry by entry, a scalar by the type
it is declared as. Mistakes are collected and reading goes on, so that one run shows them all; a part that
cannot be read becomes its default, or leaves its parent out when there is none.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, Final, Literal, get_args, get_origin

from config import parse
from config.findings import Findings, KeyPath, item, listed, near_or_known, nearest
from config.option import DURATION, NETWORK, PATH, SIZE, Field, Option, fields_of, short_of
from config.policy import RuleVerdict
from config.secrets import Password, Secret, SecretSource
from config.settings import (
    DEFAULT_MYSQL_PORT,
    DEFAULT_REDIS_PORT,
    Address,
    Buckets,
    ColumnType,
    GrantTarget,
    RedisAddress,
)
from config.source import Listing, Node, Scalar, Table

INVALID: Final = object()
"""The result of a value that could not be read; its mistake was added."""

DURATION_WORDS = ("off", "none")
"""What stands for "not at all" where a duration may be left out."""

class Decoder:
    """Reads one tree. `findings` receives the mistakes and the line of every key.

    `base`: the folder that paths are relative to, instead of their file's.
    """

    def __init__(self, findings: Findings, base: Path | None = None) -> None:
        self._findings = findings
        self._base = base

    # --- classes and unions of classes ---

    def settings(
        self, cls: type, node: Node, path: KeyPath, instead: Mapping[str, Any] = MappingProxyType({})
    ) -> Any:
        """An object of a settings class, or INVALID when a required field could not be read.

        `instead`: stand-ins for such fields, so that what was read can still be checked.
        """
        table = self._table(cls, node, path)
        if table is None:
            return INVALID
        self._note_places(table, path)
        values = dict(instead)
        missing: list[str] = []
        for field in fields_of(cls):
            value = self._field(field, table, path, missing)
            if value is not INVALID:
                values[field.name] = value
        self._refuse_unknown(cls, table, path, missing)
        if missing:
            self._findings.add(path, _missing(cls, missing))
        return cls(**values) if all(field.name in values for field in fields_of(cls)) else INVALID

    def _table(self, cls: type, node: Node, path: KeyPath) -> Table | None:
        if isinstance(node, Table):
            return node
        if isinstance(node, Scalar) and node.is_null:
            return Table(node.place)
        if isinstance(node, Scalar | Listing) and (short := short_of(cls)):
            return Table(node.place, {short: (node.place, node)})
        names = [field.name for field in fields_of(cls)]
        self._findings.add_at(node.place, path, f"expected `key: value` lines with {listed(names)}")
        return None

    def _note_places(self, table: Table, path: KeyPath) -> None:
        for name, (place, _) in table.entries.items():
            self._findings.saw((*path, name), place)

    def _field(self, field: Field, table: Table, path: KeyPath, missing: list[str]) -> Any:
        if field.name not in table.entries:
            if field.required:
                missing.append(field.name)
            return INVALID if field.required else field.default
        value = self.value(field.type, field.option, table.entries[field.name][1], (*path, field.name))
        return field.default if value is INVALID and not field.required else value

    def _refuse_unknown(self, cls: type, table: Table, path: KeyPath, missing: list[str]) -> None:
        """Unknown keys; one that is a missing key misspelt is not reported as missing too."""
        known = [field.name for field in fields_of(cls)]
        for name in table.entries:
            if name in known:
                continue
            hint = _where_known(cls, name) or near_or_known(name, known, "Known keys")
            self._findings.add((*path, name), "unknown key", hint)
            missing[:] = [one for one in missing if hint != f"Did you mean {one}?"]

    def _one_of(self, classes: tuple[type, ...], node: Node, path: KeyPath) -> Any:
        """A union of classes, told apart by the field whose type is a literal (`kind`, `function`)."""
        if not isinstance(node, Table):
            self._findings.add_at(node.place, path, "expected `key: value` lines")
            return INVALID
        tag, choices = _tagged(classes)
        self._note_places(node, path)
        if tag in node.entries:
            given = node.entries[tag][1]
            word = given.text if isinstance(given, Scalar) else ""
            where: KeyPath = (*path, tag)
        else:
            word, where = path[-1], path
            if word not in choices:
                self._findings.add(path, f"{tag} is missing", f"Choices: {listed(choices)}")
                return INVALID
        if word in choices:
            return self.settings(choices[word], node, path)
        self._findings.add(where, f"{word!r} is no {tag}", near_or_known(word, choices, "Choices"))
        return INVALID

    # --- values ---

    def value(self, kind: Any, option: Option, node: Node, path: KeyPath) -> Any:
        """A value of any declared type, or INVALID."""
        origin = get_origin(kind)
        if origin in (typing.Union, UnionType):
            return self._union(get_args(kind), option, node, path)
        if origin is tuple:
            return self._tuple(get_args(kind)[0], option, node, path)
        if origin is Mapping:
            return self._mapping(get_args(kind)[1], option, node, path)
        if origin is Literal:
            return get_args(kind)[0]
        if kind in _SPECIAL:
            return self._attempt(lambda: _SPECIAL[kind](self, node, path), node, path)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self.settings(kind, node, path)
        return self._scalar(kind, option, node, path)

    def _union(self, kinds: tuple[Any, ...], option: Option, node: Node, path: KeyPath) -> Any:
        some = tuple(kind for kind in kinds if kind is not type(None))
        if len(some) == len(kinds):
            return self._one_of(some, node, path)
        if (
            isinstance(node, Scalar)
            and not node.quoted
            and (node.is_null or (option.unit == DURATION and node.text in DURATION_WORDS))
        ):
            return None
        return self.value(some[0] if len(some) == 1 else typing.Union[some], option, node, path)  # noqa: UP007

    def _tuple(self, kind: Any, option: Option, node: Node, path: KeyPath) -> Any:
        """A list; one plain value counts as a list of one."""
        if isinstance(node, Table) or (isinstance(node, Scalar) and node.is_null):
            self._findings.add_at(node.place, path, "expected a list, [one, two]")
            return INVALID
        nodes = node.items if isinstance(node, Listing) else [node]
        values = []
        for index, one in enumerate(nodes):
            where = (*path, item(index)) if isinstance(node, Listing) else path
            self._findings.saw(where, one.place)
            values.append(self.value(kind, option, one, where))
        return tuple(value for value in values if value is not INVALID)

    def _mapping(self, kind: Any, option: Option, node: Node, path: KeyPath) -> Any:
        """Names -> values. Where values are optional (column types), a plain list gives the names."""
        if isinstance(node, Scalar | Listing) and type(None) in get_args(kind):
            return self._names(node, path)
        if isinstance(node, Scalar) and node.is_null:
            return MappingProxyType({})
        if not isinstance(node, Table):
            self._findings.add_at(node.place, path, "expected `name: …` lines")
            return INVALID
        self._note_places(node, path)
        values = {
            name: self.value(kind, option, one, (*path, name)) for name, (_, one) in node.entries.items()
        }
        return MappingProxyType({name: value for name, value in values.items() if value is not INVALID})

    def _names(self, node: Scalar | Listing, path: KeyPath) -> Any:
        names = self._tuple(str, Option(""), node, path)
        if names is INVALID:
            return INVALID
        for index, name in enumerate(names):
            if name in names[:index]:
                self._findings.add((*path, item(index)), f"{name} is named twice")
        return MappingProxyType(dict.fromkeys(names))

    def _scalar(self, kind: Any, option: Option, node: Node, path: KeyPath) -> Any:
        def read() -> Any:
            text = self.text(node)
            if isinstance(kind, type) and issubclass(kind, StrEnum):
                return self._choice(kind, text, path)
            value = _reader(kind, option, self._folder(node))(text)
            _check_bounds(value, option)
            return value

        return self._attempt(read, node, path)

    def _attempt(self, read: Callable[[], Any], node: Node, path: KeyPath) -> Any:
        """Runs a reader; its ValueError becomes a mistake at this line."""
        self._findings.saw(path, node.place)
        try:
            return read()
        except ValueError as error:
            self._findings.add(path, str(error))
            return INVALID

    def _choice(self, kind: type[StrEnum], text: str, path: KeyPath) -> Any:
        words = [word.value for word in kind]
        if text in words:
            return kind(text)
        self._findings.add(path, f"{text!r} is not one of {listed(words)}", nearest(text, words))
        return INVALID

    def text(self, node: Node) -> str:
        """The text of a scalar. Raises ValueError for anything else, and for nothing at all."""
        if not isinstance(node, Scalar):
            raise ValueError("expected one value, not a list or `key: value` lines")
        if node.is_null:
            raise ValueError("has no value")
        return node.text

    # --- secrets ---

    def secret(self, node: Node, path: KeyPath) -> Any:
        """{env: NAME} | {file: PATH} | {value: TEXT} -> Secret, not read yet."""
        if not isinstance(node, Table):
            raise ValueError("a secret is given by reference: {env: NAME}, {file: PATH} or {value: TEXT}")
        self._note_places(node, path)
        if len(node.entries) != 1:
            raise ValueError("give exactly one of env, file, value")
        ((name, (_, given)),) = node.entries.items()
        if name not in tuple(SecretSource):
            self._findings.add((*path, name), "unknown key", near_or_known(name, SecretSource, "Known keys"))
            return INVALID
        if name == SecretSource.VALUE and isinstance(given, Scalar):
            return Secret(SecretSource.VALUE, "", given.text)
        text = self.text(given)
        return Secret(SecretSource(name), str(_path(text, self._folder(given))) if name == "file" else text)

    def _folder(self, node: Node) -> Path:
        """What paths are relative to."""
        return self._base or node.place.file.parent

    def password(self, node: Node, path: KeyPath) -> Any:
        """A secret, or {sha256: …}, {native: …}, each a text or a secret."""
        if not isinstance(node, Table) or not {"sha256", "native"} & set(node.entries):
            clear = self.secret(node, path)
            return clear if clear is INVALID else Password(clear=clear)
        self._note_places(node, path)
        forms: dict[str, Any] = {}
        for name, (_, given) in node.entries.items():
            where = (*path, name)
            if name not in ("sha256", "native"):
                self._findings.add(where, "has no place beside a hash", "Give the password, or its hashes")
            elif isinstance(given, Scalar):
                forms[name] = Secret(SecretSource.VALUE, "", self.text(given))
            else:
                forms[name] = self.secret(given, where)
        return INVALID if INVALID in forms.values() else Password(**forms)

    def buckets(self, node: Node, path: KeyPath) -> Buckets:
        return parse.buckets(
            [self.text(one) for one in (node.items if isinstance(node, Listing) else [node])]
        )

    def address(self, node: Node, path: KeyPath) -> Address:
        return parse.server(self.text(node), DEFAULT_MYSQL_PORT)

    def redis_address(self, node: Node, path: KeyPath) -> RedisAddress:
        found = parse.address(self.text(node), DEFAULT_REDIS_PORT)
        return RedisAddress(found.host, found.port)

    def column_type(self, node: Node, path: KeyPath) -> ColumnType:
        return parse.column_type(self.text(node))

    def rule_verdict(self, node: Node, path: KeyPath) -> RuleVerdict:
        return parse.rule_verdict(self.text(node))

    def grant_target(self, node: Node, path: KeyPath) -> GrantTarget:
        return parse.grant_target(self.text(node))


_SPECIAL: dict[Any, Callable[[Decoder, Node, KeyPath], Any]] = {
    Secret: Decoder.secret,
    Password: Decoder.password,
    Buckets: Decoder.buckets,
    Address: Decoder.address,
    RedisAddress: Decoder.redis_address,
    ColumnType: Decoder.column_type,
    GrantTarget: Decoder.grant_target,
    RuleVerdict: Decoder.rule_verdict,
}
"""Types with a notation of their own."""


def _reader(kind: Any, option: Option, folder: Path) -> Callable[[str], Any]:
    match option.unit:
        case unit if unit == DURATION:
            return parse.duration
        case unit if unit == SIZE:
            return parse.size
        case unit if unit == NETWORK:
            return parse.network
        case unit if unit == PATH:
            return lambda text: _path(text, folder)
    return {bool: parse.boolean, int: parse.integer, str: _some_text}[kind]


def _some_text(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _path(text: str, folder: Path) -> Path:
    return (folder / _some_text(text)).resolve()


def _check_bounds(value: Any, option: Option) -> None:
    unit = "s" if option.unit == DURATION else " bytes" if option.unit == SIZE else ""
    if option.low is not None and value < option.low:
        raise ValueError(f"must be at least {option.low:,}{unit}".replace(",", "" if not unit else ","))
    if option.high is not None and value > option.high:
        raise ValueError(f"must be at most {option.high:,}{unit}".replace(",", "" if not unit else ","))


def _tagged(classes: tuple[type, ...]) -> tuple[str, dict[str, type]]:
    """The name of the field that tells the classes apart, and word -> class."""
    choices: dict[str, type] = {}
    name = ""
    for cls in classes:
        for field in fields_of(cls):
            if get_origin(field.type) is Literal:
                name = field.name
                choices[get_args(field.type)[0]] = cls
    return name, choices


def _missing(cls: type, names: list[str]) -> str:
    if len(names) > 1:
        return f"{listed(names)} are missing"
    meaning = next(field.option.meaning for field in fields_of(cls) if field.name == names[0])
    return f"{names[0]} is missing ({meaning[0].lower()}{meaning[1:].rstrip('.')})"


def _where_known(cls: type, name: str) -> str | None:
    """'It belongs under limits' when the key is right and its place is wrong."""
    for field in fields_of(cls):
        inner = next(
            (one for one in (field.type, *get_args(field.type)) if dataclasses.is_dataclass(one)), None
        )
        if isinstance(inner, type) and any(one.name == name for one in fields_of(inner)):
            return f"It belongs under {field.name}"
    return None
