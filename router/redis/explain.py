"""Where a Redis command's keys live and what the policy says of them, without a server: `fairlead explain --redis`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from config.settings import Settings
from config.words import OtherRegions
from router.policy.model import Action, Subject
from router.redis import errors, hashes
from router.redis.keys import BadKeys, key_places
from router.redis.plan import Refused, shard_of
from router.redis.table import Ability, Class, Command, Level, Table
from router.redis.verdicts import Judge, Verdicts, needs
from router.redis.where import Nowhere, Places, slot_of
from router.topology import Shard

_GOES_TO = {
    Class.PUBSUB: "the region's shards, by channel",
    Class.SCAN: "the region's servers, one behind the other",
    Class.FANOUT: "all servers of the region",
    Class.ANY: "any server of the region",
    Class.LOCAL: "nowhere: answered by Fairlead",
    Class.TRANSACTION: "the shard of the commands inside",
}


@dataclass(frozen=True, slots=True)
class Placed:
    """One key. `entity`: the table and the values in the key that find its row."""

    key: str
    pattern: str
    entity: str
    shard: str
    region: str
    node: str
    verdict: str

    def rows(self) -> Iterator[tuple[str, str]]:
        for step in self.__slots__:
            if getattr(self, step):
                yield step, getattr(self, step)


@dataclass(frozen=True, slots=True)
class Explanation:
    """`goes_to`: of a command without keys. `error`: what a client is answered when it is refused."""

    command: str
    keys: tuple[Placed, ...] = ()
    goes_to: str = ""
    error: str | None = None

    def as_rows(self) -> list[tuple[str, str]]:
        rows = [("command", self.command)]
        if self.goes_to:
            rows.append(("goes to", self.goes_to))
        for one in self.keys:
            rows += one.rows()
        return [*rows, ("answer", self.error or "the server's")]

    def as_dict(self) -> dict[str, Any]:
        """The same for `--format json`."""
        keys = [dict(one.rows()) for one in self.keys]
        return {"command": self.command, "goes_to": self.goes_to or None, "keys": keys, "error": self.error}


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks. `verdicts` and `subject`: where there is a policy."""

    level: Level
    verdicts: Verdicts | None = None
    subject: Subject | None = None


class Explainer:
    """Over one configuration."""

    def __init__(self, settings: Settings, places: Places, table: Table, asker: Asker) -> None:
        self._settings = settings
        self._places = places
        self._table = table
        self._asker = asker

    def explain(self, arguments: list[bytes]) -> Explanation:
        """Of one command; at least one argument."""
        name = arguments[0].upper().decode("latin-1")
        command = self._table.find(arguments)
        if command is None:
            return Explanation(name, error=errors.unknown(arguments, self._table.containers))
        title = command.name.replace("|", " ").upper()
        try:
            self._may_be_sent(command, arguments)
            return Explanation(title, self._placed(command, arguments), _GOES_TO.get(command.group, ""))
        except Refused as refused:
            return Explanation(title, tuple(self._known(command, arguments)), error=refused.text)

    # --- may it be carried out? -------------------------------------------------------------------------------

    def _may_be_sent(self, command: Command, arguments: list[bytes]) -> None:
        """All but the policy. Raises Refused."""
        if command.group is Class.REFUSED:
            raise Refused(errors.refused(command))
        if not command.takes(len(arguments)):
            raise Refused(errors.arity(command.name))
        if command.level > self._asker.level:
            raise Refused(errors.denied(command.name))
        if command.group is not Class.SPLIT and command.keys:
            shard_of(command, arguments, self._places)
        homes = self._homes(command, arguments)
        if len({(shard.name, slot) for shard, slot in homes}) > 1 and command.group is not Class.SPLIT:
            raise Refused(errors.CROSS)
        one_region = self._settings.redis.other_regions is not OtherRegions.SPLIT
        if one_region and len({shard.region.name for shard, _ in homes}) > 1:
            raise Refused(errors.REGIONS)
        for shard, _ in homes:
            self._is_reached(shard)

    def _homes(self, command: Command, arguments: list[bytes]) -> list[tuple[Shard, int]]:
        """(shard, slot of a Redis Cluster or 0) of each key. Raises Refused."""
        found = [arguments[place] for place in _keys(command, arguments)]
        try:
            shards = [self._places.shards[self._places.shard_of(key)] for key in found]
        except Nowhere as reason:
            raise Refused(f"ERR {reason}") from None
        return [(shard, slot_of(key) if _is_cluster(shard) else 0) for shard, key in zip(shards, found, strict=True)]

    def _is_reached(self, shard: Shard) -> None:
        """Raises Refused."""
        server = shard.settings.redis is not None
        passed_on = self._settings.redis.other_regions is not OtherRegions.REFUSE
        if (shard.is_local and not server) or (not shard.is_local and not passed_on):
            raise Refused(errors.away(shard.name, region=shard.region.name, local=shard.is_local, server=server))

    # --- each key ---------------------------------------------------------------------------------------------

    def _placed(self, command: Command, arguments: list[bytes]) -> tuple[Placed, ...]:
        """Raises Refused: by the policy."""
        verdicts, subject = self._asker.verdicts, self._asker.subject
        if verdicts is not None and subject is not None:
            if command.needs & Ability.EVERYTHING and not verdicts.reaches_all(subject, self._places):
                raise Refused(errors.POLICY_ALL)
            if command.moves and not verdicts.may_move(command, arguments, self._places):
                raise Refused(errors.POLICY_FLOW)
        found = tuple(self._known(command, arguments))
        refused = next((one.verdict for one in found if one.verdict.startswith("NOPERM")), None)
        if refused is not None:
            raise Refused(refused)
        return found

    def _known(self, command: Command, arguments: list[bytes]) -> Iterator[Placed]:
        """What can be said of the keys of a command that may be refused."""
        try:
            keys = [arguments[place] for place in _keys(command, arguments)]
        except Refused:
            return
        for key in keys:
            try:
                number, index = self._places.find(key)
            except Nowhere as reason:
                yield Placed(_shown(key), self._places.pattern_of(key) or "none", "", "", "", "", str(reason))
                continue
            shard = self._places.shards[index]
            verdict = self._verdict(command, arguments, number, index)
            pattern = self._places.pattern_of(key) or "none"
            entity = self._entity(number, key)
            yield Placed(_shown(key), pattern, entity, shard.name, shard.region.name, _node(shard, key), verdict)

    def _entity(self, number: int, key: bytes) -> str:
        if number == len(self._places.patterns):
            return ""
        pattern = self._places.patterns[number]
        given = self._settings.redis.patterns[pattern.name]
        values = ", ".join(map(_shown, pattern.values(key) or ()))
        return f"{given.table}, {values}" if given.table is not None and values else given.table or ""

    # --- the policy -------------------------------------------------------------------------------------------

    def _verdict(self, command: Command, arguments: list[bytes], pattern: int, shard: int) -> str:
        verdicts, subject = self._asker.verdicts, self._asker.subject
        if verdicts is None or subject is None:
            return ""
        domain = verdicts.of_shard[shard]
        ability = verdicts.ability(subject, pattern, domain)
        if not needs(command, arguments) & ~ability:
            return "open"
        name = verdicts.names[pattern] if pattern < len(verdicts.names) else None
        if not (command.fieldwise and ability & Ability.PARTS):
            return errors.policy(name)
        return self._fields(command, arguments, Judge.of(verdicts, subject, pattern, domain), name)

    def _fields(self, command: Command, arguments: list[bytes], judge: Judge, name: str | None) -> str:
        """Of a hash of which a part is open."""
        writes = hashes.WRITES.get(command.name)
        if writes is not None:
            closed = next((one for one in writes(arguments) if not judge.may_write(one)), None)
            return "open, the fields it names" if closed is None else errors.policy(name, closed)
        asked = hashes.named(command.name, arguments) if command.name in hashes.NAMED else list(judge.holding.columns)
        found = {one: judge.reading(one) for one in asked}
        closed = next((one for one, verdict in found.items() if verdict is None), None)
        if closed is not None and command.name in hashes.NAMED:
            return errors.policy(name, closed)
        shown = [
            _shown(one) + (f" (masked: {verdict.mask})" if verdict.action is not Action.ALLOW else "")
            for one, verdict in found.items()
            if verdict is not None
        ]
        return "of its fields " + ", ".join(shown) if shown else errors.policy(name)


def _keys(command: Command, arguments: list[bytes]) -> list[int]:
    """Raises Refused."""
    try:
        return key_places(command, arguments)
    except BadKeys:
        raise Refused(errors.SYNTAX) from None


def _is_cluster(shard: Shard) -> bool:
    return bool(shard.settings.redis is not None and shard.settings.redis.cluster)


def _node(shard: Shard, key: bytes) -> str:
    """As the configuration names it."""
    server = shard.settings.redis
    if not shard.is_local:
        return f"by the Fairlead of region {shard.region.name}"
    if server is None:
        return "none"
    if server.sentinel is not None:
        return f"the primary that sentinels call {server.sentinel.master}"
    if server.cluster:
        return f"who has slot {slot_of(key)} of the cluster at {', '.join(map(str, server.cluster))}"
    return str(server.primary)


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")
