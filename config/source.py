"""YAML text -> a tree of texts with line numbers.

Only YAML's syntax is used, none of its guessing: every scalar stays the text that was written, and the type
of the setting decides what it means. So `region: no` is a region called "no" and `on:` is a key called "on".
Duplicate keys are refused, merge keys (`<<: *defaults`) are resolved, top-level keys that begin with `x-` are
left for anchors. A folder is read as one file: sections may be spread over files, a name may be given once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from config.errors import Place
from config.findings import Findings, KeyPath, unreadable

MAX_FILE = 16 * 1024 * 1024
MAX_FILES = 1000
MAX_DEPTH = 32
SUFFIXES = (".yaml", ".yml")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_QUOTES = ("'", '"', "|", ">")
_PLAIN_TAG = "tag:yaml.org,2002:"
_MERGE_TAG = "tag:yaml.org,2002:merge"


@dataclass(slots=True)
class Scalar:
    """A text. `quoted` texts are never null."""

    place: Place
    text: str
    quoted: bool

    @property
    def is_null(self) -> bool:
        return not self.quoted and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(slots=True)
class Listing:
    place: Place
    items: list[Node]


@dataclass(slots=True)
class Table:
    """A mapping; each key with the line it stands on."""

    place: Place
    entries: dict[str, tuple[Place, Node]] = field(default_factory=dict)


Node = Scalar | Listing | Table


def read(path: Path, findings: Findings) -> tuple[Table, tuple[Path, ...]]:
    """A file, or a folder of them, as one tree, and the files read.

    Raises ConfigError when a file cannot be read or is not YAML; other mistakes are added to `findings`.
    """
    files = _files(path)
    trees = [_parse(file, findings) for file in files]
    if None in trees:
        findings.raise_if_any()
    whole = Table(Place(files[0], 1))
    findings.saw((), whole.place)
    for tree in trees:
        _merge(whole, tree or whole, findings)
    return whole, files


def _files(path: Path) -> tuple[Path, ...]:
    if not path.is_dir():
        return (path,)
    files = sorted(one for one in path.iterdir() if one.suffix in SUFFIXES and not one.name.startswith("."))
    if not files:
        raise unreadable(path, "the folder holds no .yaml file")
    if len(files) > MAX_FILES:
        raise unreadable(path, f"the folder holds more than {MAX_FILES} files")
    return tuple(files)


def _parse(file: Path, findings: Findings) -> Table | None:
    text = _text(file)
    try:
        root = yaml.compose(text, Loader=_Loader)
        tree = _Converter(file, findings).convert(root, ()) if root is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        findings.add_at(Place(file, line), (), f"not valid YAML: {error.problem or error.context}")
        return None
    except yaml.YAMLError as error:
        findings.add_at(Place(file, 1), (), f"not valid YAML: {' '.join(str(error).split())}")
        return None
    except RecursionError:
        findings.add_at(Place(file, 1), (), "nested too deeply")
        return None
    if not isinstance(tree, Table):
        findings.add_at(
            Place(file, 1), (), "the file must hold `key: value` lines" if tree else "the file is empty"
        )
        return None
    return tree


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise unreadable(file, error.strerror or str(error)) from None
    if len(data) > MAX_FILE:
        raise unreadable(file, "the file is larger than 16 MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise unreadable(file, f"line {line} is not UTF-8 text") from None


class _Converter:
    """PyYAML's nodes -> ours, each aliased node once."""

    def __init__(self, file: Path, findings: Findings) -> None:
        self._file = file
        self._findings = findings
        self._done: dict[int, Node] = {}
        self._open: set[int] = set()

    def convert(self, node: yaml.Node, path: KeyPath) -> Node:
        place = self._place(node)
        if id(node) in self._done:
            return self._done[id(node)]
        if id(node) in self._open or len(path) > MAX_DEPTH:
            self._findings.add_at(place, path, "an alias that contains itself, or nesting that is too deep")
            return Scalar(place, "", quoted=False)
        if not str(node.tag).startswith(_PLAIN_TAG):
            self._findings.add_at(
                place, path, f"the YAML tag {node.tag} is not supported", "Write plain values"
            )
        self._open.add(id(node))
        self._done[id(node)] = result = self._build(node, place, path)
        self._open.discard(id(node))
        return result

    def _build(self, node: yaml.Node, place: Place, path: KeyPath) -> Node:
        if isinstance(node, yaml.MappingNode):
            return self._table(node, place, path)
        if isinstance(node, yaml.SequenceNode):
            return Listing(place, [self.convert(one, (*path, f"[{i}]")) for i, one in enumerate(node.value)])
        return Scalar(place, str(node.value), quoted=getattr(node, "style", None) in _QUOTES)

    def _table(self, node: yaml.MappingNode, place: Place, path: KeyPath) -> Table:
        table = Table(place)
        inherited: list[Node] = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._findings.add_at(self._place(key), path, "a key must be a plain word")
            elif key.tag == _MERGE_TAG:
                inherited.append(self.convert(value, path))
            else:
                self._enter(table, key, value, path)
        for one in inherited:
            self._inherit(table, one, path)
        return table

    def _enter(self, table: Table, key: yaml.ScalarNode, value: yaml.Node, path: KeyPath) -> None:
        name, place = str(key.value), self._place(key)
        if name in table.entries:
            first = table.entries[name][0]
            self._findings.add_at(place, (*path, name), f"given twice, first on line {first.line}")
            return
        table.entries[name] = (place, self.convert(value, (*path, name)))

    def _inherit(self, table: Table, node: Node, path: KeyPath) -> None:
        """YAML's merge key: earlier ones win, and what is written out wins over all."""
        for one in node.items if isinstance(node, Listing) else [node]:
            if not isinstance(one, Table):
                self._findings.add_at(one.place, path, "`<<` takes a mapping, or a list of mappings")
                continue
            for name, entry in one.entries.items():
                table.entries.setdefault(name, entry)

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._file, node.start_mark.line + 1)


def _merge(whole: Table, part: Table, findings: Findings) -> None:
    """Adds a file to the ones before it: its sections, and within sections its names."""
    for name, (place, node) in part.entries.items():
        if name.startswith("x-"):
            continue
        if name not in whole.entries:
            whole.entries[name] = (place, _copied(node))
            continue
        first, known = whole.entries[name]
        if not isinstance(node, Table) or not isinstance(known, Table):
            findings.add_at(place, (name,), f"given twice, first in {first}")
            continue
        _merge_section(name, known, node, findings)


def _merge_section(section: str, known: Table, part: Table, findings: Findings) -> None:
    for name, (place, node) in part.entries.items():
        if name in known.entries:
            first = known.entries[name][0]
            findings.add_at(place, (section, name), f"given twice, first in {first}")
        else:
            known.entries[name] = (place, node)


def _copied(node: Node) -> Node:
    """A table of its own, so that merging into it does not change an aliased one."""
    return Table(node.place, dict(node.entries)) if isinstance(node, Table) else node
