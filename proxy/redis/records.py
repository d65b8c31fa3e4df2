"""Decision records of what is done with keys: which pattern's, never which key's.

The relay passes what leaves a record to the uvloop side (`Ability.ASKED`). A record is written before the command is
carried out, as most replies pass by without being looked at: it holds neither rows nor bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ops.audit.decided import Asker, Use, keys_decision
from ops.audit.record import Decision
from proxy.redis.client import RedisClient
from proxy.redis.guard import PUBLISHES, channels_of
from router.errors import Refusal
from router.policy.model import Action
from router.redis import errors, hashes
from router.redis.keys import BadKeys, key_places
from router.redis.plan import Refused
from router.redis.table import Ability, Class, Command
from router.redis.verdicts import Judge
from router.redis.where import Nowhere

if TYPE_CHECKING:
    from proxy.redis.guard import Guard
    from proxy.redis.service import RedisService

LISTING = frozenset({"keys", "scan", "randomkey", "dbsize"})
"""They tell of keys that they do not name."""


class Records:
    """One worker's."""

    def __init__(self, service: RedisService) -> None:
        self._service = service

    @property
    def _guard(self) -> Guard | None:
        return self._service.guard if self._service.worker.auditor.is_on else None

    def due(self, client: RedisClient, command: Command, arguments: list[bytes]) -> Decision | None:
        """What has to be written before this command is carried out, which the policy allows."""
        guard = self._guard
        if guard is None or client.subject is None:
            return None
        uses = self._uses(guard, client, command, arguments)
        return self._decision(client, command, [one for one in uses if not one.verdict.free])

    def refused(self, client: RedisClient, arguments: list[bytes], text: str) -> None:
        """The policy has answered from here."""
        guard = self._guard
        if guard is None or client.subject is None or not errors.is_verdict(text):
            return
        command = self._service.table.find(arguments)
        if command is None:
            return
        uses = self._uses(guard, client, command, arguments, local=False)
        decision = self._decision(client, command, uses, refused=True)
        if decision is not None:
            self._service.worker.auditor.keep_refusal(decision)

    async def keep(self, decision: Decision) -> None:
        """Write it; with `audit: strict`, what crosses a border waits until it is on the disk. Raises Refused."""
        crosses = any(home != decision.to for home in decision.homes)
        try:
            await self._service.worker.auditor.written(decision, crosses=crosses)
        except Refusal as refusal:
            raise Refused(errors.unrecorded(str(refusal))) from None

    # --- what a command uses ----------------------------------------------------------------------------------

    def _uses(
        self, guard: Guard, client: RedisClient, command: Command, arguments: list[bytes], *, local: bool = True
    ) -> list[Use]:
        """`local`: only of keys of this region; the others' region writes for itself."""
        found = []
        shards = self._service.places.shards
        assert client.subject is not None
        for pattern, shard in self._touched(guard, command, arguments):
            domain = guard.verdicts.of_shard[shard]
            if local and not shards[shard].is_local:
                continue
            ability = guard.verdicts.ability(client.subject, pattern, domain)
            if local and command.name in LISTING and not ability & Ability.EXISTS:
                continue  # it is left out
            judge = Judge.of(guard.verdicts, client.subject, pattern, domain)
            name = guard.verdicts.names[pattern] if pattern < len(guard.verdicts.names) else ""
            named = _fields(command, arguments)
            for cls, verdict in judge.uses(_whole(command) or command.needs, named):
                holding = judge.holding
                table = f"{holding.keyspace}.{holding.table}" if holding.table else ""
                found.append(Use(name, table, cls, judge.homes, shards[shard].name, verdict))
        return found

    def _touched(self, guard: Guard, command: Command, arguments: list[bytes]) -> Iterable[tuple[int, int]]:
        """(pattern, shard) of each key or channel, once each."""
        places = self._service.places
        if command.name in LISTING or command.needs & Ability.EVERYTHING:
            every = range(len(guard.verdicts.holdings))
            return [(pattern, shard) for pattern in every for shard in places.spread[:1]]
        if command.group is Class.PUBSUB:
            return dict.fromkeys(guard.place(one) for one in channels_of(command.name, arguments))
        try:
            return dict.fromkeys(places.find(arguments[place]) for place in key_places(command, arguments))
        except (BadKeys, Nowhere):
            return ()

    def _decision(
        self, client: RedisClient, command: Command, uses: list[Use], *, refused: bool = False
    ) -> Decision | None:
        if not uses:
            return None
        service = self._service
        generation, policy = service.generation, service.generation.policy
        assert policy is not None and client.subject is not None
        asker = Asker(generation.settings.region, generation.number, client.user or "", client.subject)
        action = Action.REFUSE if refused else max(one.verdict.action for one in uses)
        words = service.worker.auditor.words()
        return keys_decision(words, policy, asker, command.name, action, uses)


def _fields(command: Command, arguments: list[bytes]) -> list[bytes] | None:
    """Of a command that looks at a hash field by field: those that it names; empty for all."""
    if not command.fieldwise:
        return None
    if command.name in hashes.NAMED:
        return hashes.named(command.name, arguments)
    writes = hashes.WRITES.get(command.name)
    return writes(arguments) if writes is not None else []


def _whole(command: Command) -> Ability:
    """What commands without keys do with those that they reach."""
    if command.name in LISTING:
        return Ability.EXISTS
    if command.needs & Ability.EVERYTHING:
        return Ability.READ | Ability.WRITE
    if command.group is Class.PUBSUB:
        return Ability.WRITE if command.name in PUBLISHES else Ability.READ
    return Ability.NONE
