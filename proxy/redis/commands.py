"""Every command that the relay does not carry out by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from ops.audit.record import Decision
from proxy.mysql.auth.accounts import Accounts
from proxy.redis import fanout, local, pubsub, scan, transactions
from proxy.redis.client import RedisClient
from proxy.redis.clusters import ASKING
from proxy.redis.guard import Part
from router.redis import errors, plan
from router.redis.plan import Refused
from router.redis.resp import OK, Error, Simple, encode
from router.redis.table import BEFORE_LOGIN, Class, Command, Family, Level
from router.redis.where import slot_of

if TYPE_CHECKING:
    from proxy.redis.service import RedisService

Answer = bytes | Awaitable[bytes | None] | None
"""A reply; one that comes later; None: the frame was forwarded, or the client is closed."""
Handler = Callable[["RedisService", RedisClient, Command, list[bytes]], Answer]


class Commands:
    """Decides about a request, and carries out what needs no server."""

    def __init__(self, service: RedisService) -> None:
        self._service = service
        self._users: Counter[str] = Counter()
        self._handlers: dict[Class, Handler] = {
            Class.LOCAL: local.run,
            Class.FANOUT: fanout.run,
            Class.SCAN: scan.run,
            Class.PUBSUB: pubsub.run,
            Class.TRANSACTION: transactions.run,
        }

    def run(self, client: RedisClient, arguments: list[bytes], frame: bytes) -> Answer:
        """Forwarding takes place only where nothing was answered before it, as only collecting clients gather."""
        try:
            return self._run(client, arguments, frame)
        except Refused as refused:
            self._service.block.error(errors.class_of(refused.text))
            self._service.records.refused(client, arguments, refused.text)
            return encode(Error(refused.text), client.protocol)

    def count(self, arguments: list[bytes]) -> None:
        """A request that the relay has not seen by itself."""
        command = self._service.table.find(arguments) if arguments else None
        self._service.block.family(command.family if command is not None else Family.UNKNOWN)

    def _run(self, client: RedisClient, arguments: list[bytes], frame: bytes) -> Answer:
        name = arguments[0].lower().decode("latin-1")
        if name in BEFORE_LOGIN:
            return self._connection(client, name, arguments)
        if client.level is Level.NONE:
            raise Refused(errors.NO_AUTH)
        if client.transaction is not None:
            return transactions.collect(self._service, client, arguments, frame)
        command = self.known(arguments)
        if client.collects and command.group is not Class.PUBSUB and name != "ping":
            raise Refused(pubsub.only(command.name))
        if command.level > client.level:
            raise Refused(errors.denied(command.name))
        guard = self._service.guard
        part = guard.check(client, command, arguments) if guard is not None else None
        due = self._service.records.due(client, command, arguments) if guard is not None else None
        if due is not None:
            return self._recorded(client, command, arguments, frame, part, due)
        return self._allowed(client, command, arguments, frame, part)

    def _allowed(
        self, client: RedisClient, command: Command, arguments: list[bytes], frame: bytes, part: Part | None
    ) -> Answer:
        if part is not None and self._service.guard is not None:
            return self._service.guard.read_part(client, command, arguments, part)
        return self._carry_out(client, command, arguments, frame)

    async def _recorded(
        self, client: RedisClient, command: Command, arguments: list[bytes], frame: bytes, part: Part | None,
        due: Decision,
    ) -> bytes | None:  # fmt: skip
        """With its decision record before it."""
        await self._service.records.keep(due)
        answer = self._allowed(client, command, arguments, frame, part)
        return await answer if isinstance(answer, Awaitable) else answer

    def known(self, arguments: list[bytes]) -> Command:
        """Raises Refused for what Redis does not know, or would not take."""
        table = self._service.table
        command = table.find(arguments)
        if command is None:
            raise Refused(errors.unknown(arguments, table.containers))
        if not command.takes(len(arguments)):
            raise Refused(errors.arity(command.name))
        if command.group is Class.REFUSED:
            raise Refused(errors.refused(command))
        return command

    def _carry_out(self, client: RedisClient, command: Command, arguments: list[bytes], frame: bytes) -> Answer:
        service = self._service
        handler = self._handlers.get(command.group)
        if handler is not None:
            return handler(service, client, command, arguments)
        if command.group is Class.ANY:
            service.relay.forward(client.handle, service.servers.any(client), False)
            return None
        if command.group is Class.SPLIT:
            return self._split(client, command, arguments, frame)
        shard = plan.shard_of(command, arguments, service.places)
        if shard is None:
            raise Refused(errors.SYNTAX)
        slot = plan.slot_of(command, arguments)
        if plan.blocks(command, arguments):
            client.interruptible = True
            return self._block(client, shard, slot or 0, frame)
        if not service.places.shards[shard].is_local:
            return self._forward_away(client, shard, command.level >= Level.WRITE)
        service.servers.forward(client, shard, slot, command.level >= Level.WRITE)
        return None

    async def _forward_away(self, client: RedisClient, shard: int, writes: bool) -> None:
        """From the next time on the relay knows the way."""
        self._service.relay.forward(client.handle, await self._service.servers.way(client, shard), writes)

    def _split(self, client: RedisClient, command: Command, arguments: list[bytes], frame: bytes) -> Answer:
        """Keys that only Python can place (regular expressions), and ways into other regions that are still to make."""
        places = self._service.places
        shards = plan.key_shards(command, arguments, places)
        step = command.keys[0]["find"]["keystep"]
        if (len(arguments) - 1) % step:
            raise Refused(errors.arity(command.name))
        if len({places.shards[one].region for one in shards}) > 1 and not self._service.splits_over_regions:
            raise Refused(errors.REGIONS)
        homes = [self._service.servers.home(shard, key) for shard, key in zip(shards, arguments[1::step], strict=True)]
        if len(set(homes)) > 1:
            return fanout.split(self._service, client, command, arguments, homes)
        if not places.shards[shards[0]].is_local:
            return self._forward_away(client, shards[0], command.level >= Level.WRITE)
        self._service.servers.forward(client, shards[0], slot_of(arguments[1]), command.level >= Level.WRITE)
        return None

    async def _block(self, client: RedisClient, shard: int, slot: int, frame: bytes) -> bytes:
        """On a connection of the client's own; when the client goes, so does the connection, and nothing is popped."""
        links = self._service.links

        async def ask(place: int, asking: bool) -> list[bytes]:
            wire = await self._service.servers.borrow(client, place)
            replies = await wire.ask(ASKING + frame if asking else frame, 1 + asking)
            links.give_back(place, client.protocol, wire)
            return replies[-1:]

        return (await self._service.clusters.settled(shard, slot, ask))[0]

    # --- the connection itself --------------------------------------------------------------------------------

    def _connection(self, client: RedisClient, name: str, arguments: list[bytes]) -> Answer:
        service = self._service
        if not service.table.commands[name].takes(len(arguments)) and name != "auth":
            raise Refused(errors.arity(name))
        if name == "quit":
            service.relay.close(client.handle, encode(OK, client.protocol))
            return None
        if name == "reset":
            return self._reset(client)
        if client.transaction is not None:
            client.transaction.broken = True
            raise Refused(errors.in_transaction(name))
        if name == "hello":
            return self._hello(client, arguments)
        if not 2 <= len(arguments) <= 3:
            raise Refused(errors.arity(name))
        user = arguments[1] if len(arguments) == 3 else b"default"
        self._log_in(client, user, arguments[-1])
        return encode(OK, client.protocol)

    def _reset(self, client: RedisClient) -> bytes:
        service = self._service
        self.let_go(client)
        listener = service.generation.settings.listeners.get(client.listener)
        user = getattr(listener, "anonymous", None)
        client.user, client.name, client.protocol = user, b"", 2
        client.level = service.level_of(user) if user is not None else Level.NONE
        service.identify(client)
        service.relay.set_client(client.handle, protocol=2, collect=False)
        service.tell(client)
        return encode(Simple("RESET"), 2)

    def _hello(self, client: RedisClient, arguments: list[bytes]) -> bytes:
        protocol, login, name = _hello_words(client, arguments)
        if login is not None:
            self._log_in(client, *login)
        if client.level is Level.NONE:
            raise Refused(local.HELLO_NO_AUTH)
        bound = client.subscriptions is not None or client.watch is not None
        if bound and protocol != client.protocol:
            raise Refused(errors.in_transaction("hello"))
        if name is not None:
            client.name = name
        client.protocol = protocol
        self._service.relay.set_client(client.handle, protocol=protocol)
        return encode(local.hello(self._service, client), protocol)

    def _log_in(self, client: RedisClient, user: bytes, password: bytes) -> None:
        """Raises Refused, with one text for all reasons."""
        generation = self._service.generation
        name = user.decode("utf-8", "surrogateescape")
        accounts = Accounts(generation.accounts, secret=self._service.worker.start.secret)
        right = accounts.find(name).verifier.matches(password)
        level = self._service.level_of(name)
        if not right or level is Level.NONE or not self.may_come(client, name):
            self._service.worker.loop_block.add("auth_failures")
            raise Refused(errors.WRONG_PASS)
        client.user, client.level = name, level
        self._service.identify(client)
        self._service.tell(client)

    def may_come(self, client: RedisClient, name: str) -> bool:
        """From where the client comes, and how, is the user let in?"""
        user = self._service.generation.user(name)
        if user is None or (user.require_tls and not client.tls):
            return False
        networks = [ip_network(one, strict=False) for one in user.networks]
        return not networks or any(ip_address(client.peer.split("%")[0]) in one for one in networks)

    # --- ends ---------------------------------------------------------------------------------------------------

    def let_go(self, client: RedisClient) -> None:
        """Transaction, watch and subscriptions end."""
        client.transaction = None
        if client.watch is not None:
            client.watch.wire.close()
            client.watch = None
        if client.subscriptions is not None:
            client.subscriptions.close()
            client.subscriptions = None

    def left(self, client: RedisClient) -> None:
        self.let_go(client)


def _hello_words(client: RedisClient, arguments: list[bytes]) -> tuple[int, tuple[bytes, bytes] | None, bytes | None]:
    """-> (protocol, (user, password), name)."""
    if len(arguments) == 1:
        return client.protocol, None, None
    if arguments[1] not in (b"2", b"3"):
        raise Refused("NOPROTO unsupported protocol version" if arguments[1].isdigit() else local.HELLO_NO_NUMBER)
    login, name, place = None, None, 2
    while place < len(arguments):
        word = arguments[place].upper()
        if word == b"AUTH" and place + 2 < len(arguments):
            login, place = (arguments[place + 1], arguments[place + 2]), place + 3
        elif word == b"SETNAME" and place + 1 < len(arguments):
            name, place = local.right_name(arguments[place + 1]), place + 2
        else:
            raise Refused(f"ERR Syntax error in HELLO option '{arguments[place].decode('latin-1')}'")
    return int(arguments[1]), login, name
