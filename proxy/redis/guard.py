"""The policy for what the relay leaves to Python: keys that only Python can place, commands over all keys, channels,
and hashes of which a part is open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.redis.client import RedisClient
from router.policy.model import Action, Policy, Subject, Verdict
from router.redis import errors, hashes
from router.redis.keys import BadKeys, key_places
from router.redis.plan import Refused
from router.redis.resp import decode, request
from router.redis.table import Ability, Class, Command
from router.redis.verdicts import Judge, Verdicts, needs
from router.redis.where import Nowhere, slot_of
from router.schema import LiveColumn

if TYPE_CHECKING:
    from proxy.redis.service import RedisService


PUBLISHES = frozenset({"publish", "spublish"})


@dataclass(frozen=True, slots=True)
class Part:
    """A key of a declared hash of which not everything is open to the client."""

    shard: int
    pattern: int
    judge: Judge


class Guard:
    """Asks one policy. Raises Refused for what it does not allow."""

    def __init__(self, service: RedisService, verdicts: Verdicts) -> None:
        self._service = service
        self.verdicts = verdicts

    @property
    def policy(self) -> Policy:
        return self.verdicts.policy

    def check(self, client: RedisClient, command: Command, arguments: list[bytes]) -> Part | None:
        """None: it may be carried out as it is. A Part: only field by field."""
        subject = _subject(client)
        if command.needs & Ability.EVERYTHING and not self.reaches_all(subject):
            raise Refused(errors.POLICY_ALL)
        if command.group is Class.PUBSUB:
            self._check_channels(subject, command, arguments)
            return None
        return self._check_keys(subject, command, arguments) if command.keys else None

    def reaches_all(self, subject: Subject) -> bool:
        """Is everything that this region's servers hold open to the subject?"""
        return self.verdicts.reaches_all(subject, self._service.places)

    def check_counting(self, client: RedisClient) -> None:
        """DBSIZE and RANDOMKEY look at all keys, so all must be such as the client may know of. Raises Refused."""
        domains = {self.verdicts.of_shard[shard] for shard in self._service.places.spread}
        for pattern in range(len(self.verdicts.holdings)):
            for domain in domains:
                if not self.verdicts.ability(_subject(client), pattern, domain) & Ability.EXISTS:
                    raise Refused(errors.POLICY_ALL)

    def shows(self, client: RedisClient, key: bytes) -> bool:
        """May the client know of this key (or channel)?"""
        return bool(self._ability(_subject(client), key)[1] & Ability.EXISTS)

    # --- keys -------------------------------------------------------------------------------------------------

    def _check_keys(self, subject: Subject, command: Command, arguments: list[bytes]) -> Part | None:
        try:
            keys = [arguments[place] for place in key_places(command, arguments)]
        except BadKeys:
            raise Refused(errors.SYNTAX) from None
        try:
            found = [self._service.places.find(key) for key in keys]
        except Nowhere as reason:
            raise Refused(f"ERR {reason}") from None
        wanted = needs(command, arguments)
        for pattern, shard in found:
            ability = self.verdicts.ability(subject, pattern, self.verdicts.of_shard[shard])
            if wanted & ~ability:
                if command.fieldwise and ability & Ability.PARTS:
                    part = self._part(subject, command, arguments, pattern, shard)
                    return part if self._service.places.shards[shard].is_local else None  # else looked at there
                raise Refused(errors.policy(self._name(pattern)))
        if command.moves:
            self._check_flow(command, arguments)
        return None

    def _check_flow(self, command: Command, arguments: list[bytes]) -> None:
        """Whoever asks, a value does not get into a key of a lower class."""
        if not self.verdicts.may_move(command, arguments, self._service.places):
            raise Refused(errors.POLICY_FLOW)

    def _name(self, pattern: int) -> str | None:
        return self.verdicts.names[pattern] if pattern < len(self.verdicts.names) else None

    def place(self, key: bytes) -> tuple[int, int]:
        """(pattern, shard) of a name that need not be a key: what no pattern places is at home here."""
        places = self._service.places
        try:
            return places.find(key)
        except Nowhere:
            return len(places.patterns), places.spread[0]

    def _ability(self, subject: Subject, key: bytes) -> tuple[int, Ability]:
        pattern, shard = self.place(key)
        return pattern, self.verdicts.ability(subject, pattern, self.verdicts.of_shard[shard])

    # --- channels ---------------------------------------------------------------------------------------------

    def _check_channels(self, subject: Subject, command: Command, arguments: list[bytes]) -> None:
        """A channel is what a key of its name would be; patterns and the servers' own channels may tell of all."""
        name = command.name
        if name in ("psubscribe", "pubsub|numpat") and not self.reaches_all(subject):
            raise Refused(errors.POLICY_ALL)
        wanted = Ability.WRITE | Ability.TOLD if name in PUBLISHES else Ability.READ
        for channel in channels_of(name, arguments):
            if channel.startswith((b"__keyspace@", b"__keyevent@")) and not self.reaches_all(subject):
                raise Refused(errors.POLICY_ALL)
            pattern, ability = self._ability(subject, channel)
            if wanted & ~ability:
                raise Refused(errors.policy(self._name(pattern)))

    # --- fields -----------------------------------------------------------------------------------------------

    def _part(
        self, subject: Subject, command: Command, arguments: list[bytes], pattern: int, shard: int
    ) -> Part | None:
        """Raises Refused for a field that is named and not open. None: nothing of what it names is restricted."""
        judge = Judge.of(self.verdicts, subject, pattern, self.verdicts.of_shard[shard])
        part = Part(shard, pattern, judge)
        fields_of = hashes.WRITES.get(command.name)
        if fields_of is not None:
            for one in fields_of(arguments):
                shows = command.name in hashes.SHOWS_VALUE
                clear = not shows or _is_clear(judge.reading(one))
                if not judge.may_write(one) or not clear:
                    raise Refused(errors.policy(self._name(pattern), one))
            return None
        if command.name in hashes.NAMED:
            verdicts = [self._reading(part, one) for one in hashes.named(command.name, arguments)]
            return None if all(map(_is_clear, verdicts)) else part
        if command.name not in hashes.ALL or not self._open_fields(part):
            raise Refused(errors.policy(self._name(pattern)))
        return part

    def _reading(self, part: Part, name: bytes) -> Verdict:
        verdict = part.judge.reading(name)
        if verdict is None or (not _is_clear(verdict) and self._column(part, name) is None):
            raise Refused(errors.policy(self._name(part.pattern), name))
        return verdict

    def _open_fields(self, part: Part) -> dict[bytes, Verdict]:
        """The declared fields that may be shown, in clear or masked."""
        found = {name: part.judge.reading(name) for name in part.judge.holding.columns}
        return {
            name: verdict
            for name, verdict in found.items()
            if verdict is not None and (_is_clear(verdict) or self._column(part, name) is not None)
        }

    def _column(self, part: Part, name: bytes) -> LiveColumn | None:
        """What a mask has to know of the field's column; without it nothing can be masked."""
        holding = part.judge.holding
        snapshot = self._service.worker.schemas.snapshots.get(holding.keyspace)
        table = snapshot.table(holding.table) if snapshot is not None else None
        column = holding.columns.get(name)
        return table.column(column) if table is not None and column is not None else None

    async def read_part(self, client: RedisClient, command: Command, arguments: list[bytes], part: Part) -> bytes:
        """The reply of a reading command over what is open. Raises Refused."""
        asked = hashes.named(command.name, arguments) if command.name in hashes.NAMED else None
        verdicts = self._open_fields(part) if asked is None else {one: self._reading(part, one) for one in asked}
        frame = request("HMGET", arguments[1], *verdicts)
        reply = (await self._service.servers.call_slot(client, part.shard, slot_of(arguments[1]), frame))[0]
        if reply[:1] == b"-":
            return reply
        found = self._masked(part, verdicts, decode(reply))
        return hashes.answer(command.name, arguments, found, client.protocol)

    def _masked(
        self, part: Part, verdicts: Mapping[bytes, Verdict], values: Iterable[bytes | None]
    ) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for (name, verdict), value in zip(verdicts.items(), values, strict=True):
            shown = value
            if value is not None and not _is_clear(verdict):
                column = self._column(part, name)
                assert verdict.mask is not None
                shown = self.policy.mask_value(verdict.mask, value, column) if column is not None else None
            if shown is not None:
                found[name] = shown
        return found


def channels_of(name: str, arguments: list[bytes]) -> list[bytes]:
    """The channels that a command listens at, publishes in or asks for by their names."""
    if "unsubscribe" in name or name in ("psubscribe", "pubsub|numpat") or name.endswith("channels"):
        return []
    if name in PUBLISHES:
        return arguments[1:2]
    return arguments[2:] if name.startswith("pubsub|") else arguments[1:]


def _subject(client: RedisClient) -> Subject:
    assert client.subject is not None  # since its login
    return client.subject


def _is_clear(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.action is Action.ALLOW
