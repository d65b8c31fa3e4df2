"""One worker: a relay thread for the data path, and this process's event loop for everything else.

Start: tables from the configuration, listeners, monitor; then events of the relay are answered until the
supervisor says drain. A reload builds the new generation beside the old one and swaps it in one step; what did not
change keeps its connections and statistics.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from _speedups.relay import Relay
from _speedups.stats import PIN_REASONS, WorkerBlock
from config.errors import ConfigError
from config.load import load
from config.settings import MysqlListener, PeerListener, RedisListener
from config.words import SessionScope
from metastore.versions import SHADOW, Trial
from proxy import logs
from proxy.answers import Dispatcher
from proxy.audit.exposure import Exposures
from proxy.audit.recorder import Auditor
from proxy.compile import BEGINS, BY_SAVEPOINT, OP_PARK, Compiled, Compiler, begin_text
from proxy.doors import Doors
from proxy.failover import Failover
from proxy.generation import Generation
from proxy.inquiries import Inquiries
from proxy.lookups.writes import Lookups
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.wire import frame
from proxy.numbering import Numbering
from proxy.numbers import Numbers
from proxy.one_shard import OneShard
from proxy.placing import Placing
from proxy.planning import Planning
from proxy.pool.backends import Backends
from proxy.pool.pools import class_of
from proxy.pool.schemas import Schemas
from proxy.pool.varstate import SessionState, StateUnreachable
from proxy.redis.service import RedisService
from proxy.reducing import Reducing
from proxy.relay_errors import fill_errors
from proxy.scatter.executor import Executor
from proxy.scatter.leases import Lease, Leases
from proxy.scatter.loading import Loading
from proxy.scatter.pulling import Pulling
from proxy.scatter.scratch import Scratch
from proxy.scatter.steps import Stepping
from proxy.scatter.surveying import Surveying
from proxy.scatter.telling import Telling
from proxy.sequences import Sequences
from proxy.sessions.attested import Attested, Identities
from proxy.sessions.kills import Kills
from proxy.sessions.local import LocalAnswers
from proxy.sessions.logins import Logins
from proxy.sessions.moves import Moves
from proxy.sessions.session import ContextTable, Session
from proxy.sessions.statements import Statements
from proxy.sessions.tracking import UNTOLD, schema_changed
from proxy.sessions.transactions import Transactions
from proxy.sessions.variables import Variables
from proxy.shadow import Shadow
from proxy.supervision import control
from proxy.supervision.control import WorkerStart, digest_of
from proxy.supervision.ports import shares_told
from proxy.supervision.trial import Beside, Canary
from proxy.verdicts import Verdicts
from proxy.xa.atomics import Atomics
from proxy.xa.recovery import Recovery
from proxy.xa.sessions import Spreads
from router.context import Context
from router.errors import refusal
from router.plan import Planned
from router.policy.enforce import plan
from router.text import Text
from router.topology import Shard

log = logging.getLogger(__name__)

GARBAGE = (50_000, 20, 20)
"""Objects made before the cyclic collector looks at them (CPython's default is 700): merging makes a few for each
group, all of which stay, and looking at them again and again took half of its time."""

SPARE_LEASES = 1024
"""Session slots beyond the clients', for the executor."""
BACKENDS_MAX = 4096
SWITCH_INTERVAL = 0.0005
LINGER = 5.0
FIRST_VERDICTS = 5.0
"""Seconds that a start waits to learn who is the primary of each shard of the region."""
HEARTBEAT = 0.5
DRAIN_POLL = 0.05

class Worker:
    """Everything one worker process holds."""

    def __init__(self, start: WorkerStart) -> None:
        self.start = start
        self.page = start.page
        self.block: WorkerBlock = start.page.worker(start.index)
        self.loop_block = start.page.worker(start.index, 1)
        limits = start.settings.limits
        clients = max(16, -(-limits.clients // start.workers))
        self.clients_max = clients
        telemetry = start.settings.telemetry
        self.relay = Relay(
            self.block,
            max_sessions=clients + SPARE_LEASES,
            max_backends=BACKENDS_MAX,
            max_packet=limits.max_packet,
            queue_wait=limits.queue_wait,
            slow_query=telemetry.slow_query if telemetry.slow_query is not None else 1e9,
            idle_timeout=limits.idle_client,
            idle_transaction=limits.idle_transaction,
            linger=LINGER,
            plan_cache=limits.plan_cache,
        )
        self.sessions: dict[int, Session] = {}
        self.contexts = ContextTable()
        self.identities = Identities(start.page.shape.users)
        self.threads = ThreadPoolExecutor(1, thread_name_prefix="planner")
        self.leases = Leases(self.relay)
        self.backends = Backends(self.relay, self.page, start.index)
        self.variables = Variables(self)
        self.local = LocalAnswers(self)
        self.verdicts = Verdicts(self.relay)
        self.statements = Statements(self)
        self.executor = Executor(self)
        self.atomics = Atomics(self)
        self.spreads = Spreads(self)
        self.recovery = Recovery(self)
        self.sequences = Sequences(self)
        self.numbering = Numbering(self)
        self.loading = Loading(self)
        self.scratch = Scratch(self)
        self.pulling = Pulling(self)
        self.stepping = Stepping(self)
        self.surveying = Surveying(self)
        self.telling = Telling(self)
        self.lookups = Lookups(self)
        self.schemas = Schemas(self._schemas_changed)
        self.auditor = Auditor(self)
        self.exposures = Exposures(self)
        self.planning = Planning(self)
        self.reducing = Reducing(self)
        self.one_shard = OneShard(self)
        self.placing = Placing(self)
        self.transactions = Transactions(self)
        self.dispatcher = Dispatcher(self)
        self.logins = Logins(self)
        self.inquiries = Inquiries(self)
        self.kills = Kills(self)
        self.moves = Moves(self)
        self.failover = Failover(self)
        self.backends.on_primary = self.failover.on_primary
        self.redis: RedisService | None = None
        self.doors = Doors(self)
        self.backends.on_versions = self.logins.announce
        self._vindex_ids: dict[Any, int] = {}
        self._one_reload = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining: asyncio.Event = asyncio.Event()
        self.generation: Generation
        self.numbers: Numbers
        self._declared: tuple[Generation, Generation | None, Beside | None]
        self._astray: tuple[str, ...] = ()
        self.canary: Canary | None = None
        self.shadow: Shadow | None = None
        self.compiler: Compiler
        self.epoch = 0

    # --- life -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for variant in range(len(BEGINS)):
            self.relay.begin_put(variant, frame(b"\x03" + begin_text(variant), 0))
        self.relay.begin_put(BY_SAVEPOINT, frame(b"\x03" + begin_text(0), 0))
        await self.put_in_force(Generation.build(self.start.number, self.start.settings), self.start.beside)
        loop.add_reader(self.relay.fileno(), self.dispatcher.on_events)
        loop.add_reader(self.start.control.fileno(), self._on_control)
        loop.add_reader(self.inquiries.fileno(), self.inquiries.on_readable)
        thread = threading.Thread(target=self.relay.run, name="relay", daemon=True)
        thread.start()
        await self.schemas.first()
        await self.backends.first_verdicts(FIRST_VERDICTS)
        self.doors.open(self.start.ports)
        self.moves.open()
        # /ready takes a worker's first heartbeat for its word that it accepts clients.
        self.block.started(os.getpid(), self.start.number)
        gc.freeze()
        gc.set_threshold(*GARBAGE)
        self._say({"verb": "ready"})
        beat = asyncio.ensure_future(self._beat())
        certificates = asyncio.ensure_future(self._watch_certificates())
        recovery = asyncio.ensure_future(self._recover())
        await self._draining.wait()
        beat.cancel()
        certificates.cancel()
        recovery.cancel()
        await self._stop(thread)

    async def _beat(self) -> None:
        while True:
            self.loop_block.heartbeat()
            self.backends.pools.share()
            await asyncio.sleep(HEARTBEAT)

    async def _recover(self) -> None:
        """One worker of each Fairlead does it."""
        if self.start.index == 0:
            await self.recovery.run()

    async def _watch_certificates(self) -> None:
        """From time to time."""
        while True:
            await asyncio.sleep(self.generation.settings.tls.reload)
            self.doors.reload_certificates()

    async def _stop(self, thread: threading.Thread) -> None:
        self.doors.stop()
        if self.redis is not None:
            await self.redis.close(self._drain_seconds)
        self.relay.drain()
        deadline = asyncio.get_running_loop().time() + self._drain_seconds
        while self.relay.clients and asyncio.get_running_loop().time() < deadline:
            self.loop_block.heartbeat()
            await asyncio.sleep(DRAIN_POLL)
        self.relay.farewell()
        await self.dispatcher.close()
        self.recovery.close()
        await self.schemas.close()
        await self.backends.close()
        await self.auditor.close()
        await self.exposures.close()
        self.relay.stop()
        thread.join(2.0)

    _drain_seconds = 0.0

    async def _leave(self, seconds: float, drain: float, heirs: list[socket.socket]) -> None:
        """Another process has the ports: clients move there (`heirs`) or stay for some time, then this one drains."""
        self.doors.leave()
        self.moves.leave_to(heirs)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (self._clients or self.moves.expects) and loop.time() < deadline:
            await asyncio.sleep(DRAIN_POLL)
        if staying := self.moves.staying():
            log.info("clients have stayed until the time is up: %s", staying)
        self._drain_seconds = drain
        self._draining.set()

    @property
    def _clients(self) -> int:
        """Connected ones, and those that are about to be."""
        return self.relay.clients + self.doors.logging_in + (len(self.redis.clients) if self.redis is not None else 0)

    # --- the supervisor's word ------------------------------------------------------------------------------

    def _on_control(self) -> None:
        messages = control.receive(self.start.control, sockets=True)
        if messages is None:
            os._exit(1)  # the supervisor is gone, and so is the reason to serve
        for message in messages:
            self._on_message(message)

    def _on_message(self, message: control.Message) -> None:
        if message["verb"] == "drain":
            self._drain_seconds = float(message["seconds"])
            self._draining.set()
        elif message["verb"] == "leave":
            self.background(self._leave(float(message["seconds"]), float(message["drain"]), message["sockets"]))
        elif message["verb"] == "reload":
            self.background(self._reload(message))
        elif message["verb"] == "kill":
            self.kills.on_asked(message)
        elif message["verb"] == "killed":
            self.kills.on_answer(message)

    def background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _say(self, message: dict[str, Any]) -> None:
        if not control.send(self.start.control, message):
            log.error("the supervisor does not listen")

    async def _reload(self, message: dict[str, Any]) -> None:
        """Everything that may fail comes first; what is put in force then stays in force."""
        number, base = int(message["number"]), message["base"]
        shares = shares_told(message["ports"], message["sockets"])
        async with self._one_reload:
            try:
                settings = load(Path(message["config"]), region=self.start.region, base=base and Path(base))
                if digest_of(settings.files) != message["digest"]:
                    raise ValueError("the files changed again meanwhile")
                beside = _beside(message["beside"], self.start.region)
                await self.put_in_force(Generation.build(number, settings), beside)
            except (ConfigError, ValueError, OSError) as error:
                self._say({"verb": "refused", "number": number, "error": str(error)[:4096]})
                return
            except Exception as error:
                log.exception("reload of configuration %d", number)
                self._say({"verb": "refused", "number": number, "error": logs.told(error)[:4096]})
                return
            try:
                self.doors.open(shares)
            except OSError as error:
                log.error("configuration %d is in force, but a listener is not: %s", number, error)
            logs.configure(settings.telemetry, f"worker {self.start.index}")
            self.block.set("config_epoch", number)
            self._say({"verb": "reloaded", "number": number})

    # --- configuration --------------------------------------------------------------------------------------

    async def put_in_force(self, generation: Generation, beside: Beside | None = None) -> None:
        """Everything from here on is decided by this generation; sessions of users that are gone are closed. `beside`:
        a version on trial, to shadow it or for some of the sessions."""
        tried = Generation.build(generation.number, beside.settings) if beside is not None else None
        numbers = Numbers(self.page, generation)
        # Files are read first: what fails here has changed nothing. From there on nothing comes in between.
        prepared = self.backends.prepare(generation, numbers)
        self.logins.configure(generation)
        self.backends.configure(prepared)
        self.generation, self.numbers = generation, numbers
        self._declared, self._astray = (generation, tried, beside), ()
        for name, user in generation.settings.users.items():
            if user.session_scope is SessionScope.USER:
                self.relay.share_positions(numbers.users[name])
        self.compiler = Compiler(self.relay, self._vindex_ids, generation.topology, numbers.shards)
        limits, telemetry = generation.settings.limits, generation.settings.telemetry
        slow = telemetry.slow_query if telemetry.slow_query is not None else 1e9
        self.relay.set_times(
            limits.queue_wait, slow, limits.idle_client, limits.idle_transaction, LINGER, limits.failover_wait
        )
        fill_errors(self.relay, generation, numbers)
        self.atomics.configure()
        self.schemas.configure(generation)
        self._see_schemas()
        self.auditor.prepare(generation)
        self.next_epoch()
        for handle, session in list(self.sessions.items()):
            if generation.user(session.user) is None:
                self.relay.close(handle)
            else:
                self.identify(session)
                level, lag = self.level_of(session)
                self.relay.set_session(
                    handle, consistency=level, max_lag_ms=lag, ctx=self.contexts.number(session.relay_context())
                )
        await self.backends.watch(prepared)
        await self.auditor.configure(generation)
        await self._configure_redis()

    def _try(self, tried: Generation | None, beside: Beside | None) -> None:
        self.canary = self.shadow = None
        self.block.digests_unmark()
        if tried is None or beside is None:
            return
        if beside.trial.kind == SHADOW:
            self.shadow = Shadow(self, tried, beside.version)
        else:
            self.canary = Canary(tried, beside.trial.share, beside.version)

    def generation_of(self, session: Session) -> Generation:
        """Whose policy and grants decide about the session."""
        return self.canary.generation if session.canary and self.canary is not None else self.generation

    def next_epoch(self) -> None:
        """Every plan and prepared statement is made anew when it is next used."""
        self.epoch += 1
        self.relay.epoch = self.epoch
        self.auditor.next_epoch()

    def _schemas_changed(self) -> None:
        """The live schema is another one."""
        self._see_schemas()
        self.next_epoch()

    def _see_schemas(self) -> None:
        """A label for a column that is not there may have been meant for one that is: its table's columns without a
        label are taken for the table's highest class, and it is told once."""
        declared, tried, beside = self._declared
        self.generation, astray = declared.seeing(self.schemas.snapshots)
        self._try(tried and tried.seeing(self.schemas.snapshots)[0], beside)
        for name in astray if astray != self._astray else ():
            log.warning("policy.labels: there is no column %s; what has no label beside it counts as its highest", name)
        self._astray = astray

    def schema_changed(self) -> None:
        """A statement that may have changed the schema has succeeded."""
        self.next_epoch()
        self.schemas.read_soon()

    async def _configure_redis(self) -> None:
        """Nothing of Redis exists before a configuration has a listener for it, or servers that peers may ask for."""
        generation = self.generation
        asked = any(shard.settings.redis for shard in generation.topology.local_shards)
        peers = asked and generation.settings.listeners_of(PeerListener)
        if self.redis is None and not peers and not generation.settings.listeners_of(RedisListener):
            return
        if self.redis is not None:
            self.redis.configure(generation)
            return
        self.redis = RedisService(self)
        self.redis.configure(generation)
        await self.redis.start()

    # --- sessions -------------------------------------------------------------------------------------------

    def forget(self, handle: int) -> None:
        self.auditor.forget(handle)
        session = self.sessions.pop(handle, None)
        if session is not None:
            if session.spread is not None:
                session.spread.drop()
            self.logins.left(session)

    def context_of(self, session: Session) -> Context:
        generation = self.generation_of(session)
        grants = generation.grants.get(session.user)
        user = generation.user(session.user)
        if grants is None or user is None:
            raise refusal("ACCESS_DENIED", session.user, "NO")
        return Context(
            topology=generation.topology,
            grants=grants,
            database=session.database,
            mode=session.mode,
            schemas=self.schemas.snapshots,
            hints=frozenset(hint.value for hint in user.hints),
            policy=generation.policy,
            subject=session.subject,
            bound=session.bound is not None,
            numbered="fresh" if session.hop else None,
            completion=session.completion,
        )

    def identify(self, session: Session) -> None:
        """Who the session is to the policy in force."""
        session.canary = self.canary is not None and self.canary.takes(session)
        policy = self.generation_of(session).policy
        session.subject = policy.subject_of(session.user, *session.identity) if policy is not None else None
        attested = self.identities.of(session, self.user_number(session.user), policy)
        if session.attested is not None and session.attested != attested:
            # It would go on to reach peers as whom it no longer is.
            self.relay.close(session.handle)
        session.attested = attested

    def attested(self, session: Session) -> Attested:
        """As whom the session reaches peers."""
        assert session.attested is not None  # since its login
        return session.attested

    def compile(self, session: Session, planned: Planned) -> Compiled:
        """The plan for the relay, with the bit that says whether its executions leave a record. Where persons have to
        be counted first, executions come here."""
        compiled = self.compiler.compile(planned)
        self.auditor.mark(session, planned, compiled)
        if planned.policy is not None and planned.policy.counts:
            compiled.opcode = OP_PARK
        return compiled

    def make_plan(self, session: Session, found: Any, sql: Text, context: Context) -> Planned:
        """For a client's statement. In shadow the version on trial decides about it, too."""
        shadow, planned = self.shadow, plan(found, sql, context)
        if shadow is not None:
            planned = replace(planned, shadowed=shadow.compare(session, found, sql, context, planned))
        return planned

    def plan_in_force(self, found: Any, sql: Text, context: Context) -> Planned:
        """For a text of ours."""
        return plan(found, sql, context)

    def tell_relay(self, session: Session) -> None:
        """The session's database, mode or variables changed."""
        self.relay.set_session(
            session.handle,
            ctx=self.contexts.number(session.relay_context()),
            state=self.variables.number(session.state),
            lexmode=session.mode,
        )

    def use(self, handle: int, session: Session, database: str) -> None:
        """USE and COM_INIT_DB."""
        context = self.context_of(session)
        if context.topology.keyspace(database) is None:
            raise refusal("UNKNOWN_DATABASE", database)
        if not context.grants.sees(database):
            raise refusal("DENIED_DATABASE", session.user, database)
        info = self.relay.info(handle)
        if info is None:
            return
        session.state = session.state.use(database)
        self.tell_relay(session)
        self.relay.reply_ok(handle, schema_changed(database))

    def reset(self, handle: int, session: Session) -> None:
        """COM_RESET_CONNECTION: as after the login, but for the database."""
        if session.spread is not None:
            session.spread.drop()
        self.relay.unpin(handle)
        self.relay.drop_pending(handle)
        self.relay.forget_statements(handle)
        self.relay.forget_outcome(handle)
        session.prepared.clear()
        session.carried_in = frozenset()
        session.state = session.initial.use(session.database)
        session.tracking = UNTOLD
        self.relay.tell(handle, *session.told())
        level, lag = self.level_of(session)
        self.relay.set_session(handle, autocommit=True, consistency=level, max_lag_ms=lag)
        self.tell_relay(session)

    def level_of(self, session: Session) -> tuple[int, int]:
        """-> (consistency as the relay numbers it, most lag in ms)"""
        user = self.generation.user(session.user)
        listener = self.generation.settings.listeners.get(session.listener)
        if user is None:
            return 0, 0
        return self.generation.consistency_of(user, listener if isinstance(listener, MysqlListener) else None)

    # --- what handlers ask for ------------------------------------------------------------------------------

    def shard_of_number(self, number: int) -> Shard:
        index = self.numbers.shards.index(number)
        return self.generation.topology.shards[index]

    def shard_numbers(self) -> dict[str, int]:
        return dict(zip((one.name for one in self.generation.topology.shards), self.numbers.shards, strict=True))

    def is_local(self, shard: str) -> bool:
        """Does this Fairlead serve the shard's rows itself?"""
        found = self.generation.topology.shard(shard)
        return found is not None and found.is_local

    def plans_by_schema(self, shard: int) -> bool:
        """Does this shard hold tables that are planned for by their columns?"""
        name = self.shard_of_number(shard).name
        whole = self.generation.policy is not None
        keyspaces = [one for one in self.generation.topology.keyspaces if whole or not one.unsharded]
        return any(name in {shard.name for shard in one.shards} for one in keyspaces)

    def user_number(self, name: str) -> int:
        return self.numbers.users[name]

    def pin_bits(self, *names: str) -> int:
        return sum(1 << PIN_REASONS.index(name) for name in names)

    def any_shard(self, session: Session, names: tuple[str, ...] = ()) -> int:
        """A shard for what every shard can answer: of the statement's, the database's, or the region's."""
        topology = self.generation.topology
        if not names:
            keyspace = topology.keyspace(session.database) if session.database is not None else None
            shards = keyspace.shards if keyspace is not None else topology.local_shards or topology.shards
            names = tuple(shard.name for shard in shards)
        return self.compiler.nearest(names)

    def ensure_way(self, session: Session, shard: int, capabilities: Capability) -> None:
        """Make the peer's pool for a lease on a shard of another region."""
        found = self.shard_of_number(shard)
        if found.is_local:
            return
        if session.hop:
            raise refusal("PEER_LOOP", session.listener, found.region.name)
        if found.region.peer is None:
            raise refusal("PEER_DOWN", found.region.name, "no peer is configured")
        self.backends.peer_pool(self.attested(session), found, class_of(capabilities))

    def lease(
        self, session: Session, shard: int, *, state: SessionState | None = None, credit: int = 256 << 10,
        told: bool = False,
    ) -> Lease:  # fmt: skip
        """A lease in the session's state (or another), with its capabilities; `told`: and all that servers say of
        changes of session state."""
        self.ensure_way(session, shard, session.capabilities)
        return self.leases.open(
            session.capabilities | (Capability.SESSION_TRACK if told else Capability(0)),
            ctx=self.contexts.number(session.context()),
            state=self.variables.number(state or session.state),
            user=self.attested(session).number,
            hop=session.hop,
            credit=credit,
            client=session.handle,
        )

    def add_way_between_states(self, handle: int) -> bool:
        """The relay holds a backend in another state than the session's: tell it the packets between the two."""
        wanted = self.relay.wanted_states(handle)
        if wanted is None:
            return False
        number, a, b = wanted
        base = self.backends.pools.bases.base(number)
        if base is None:
            raise refusal("INTERNAL", "a backend without a base")
        try:
            self.relay.diff_put(number, a, b, self.variables.way(base, a, b))
        except StateUnreachable as error:
            self.relay.unpin(handle)
            raise refusal("VARIABLE_VALUE", "of this session", str(error)) from None
        return True

    def claim_digest(self, session: Session, found: Any) -> tuple[int, int]:
        """A place among the digests: (index, generation)."""
        if found.error:
            return 0, 0
        keyspace = self.numbers.keyspaces.get(session.database or "", 0xFFFF)
        return self.block.claim(
            found.fingerprint, found.norm, user=self.numbers.users.get(session.user, 0xFFFF), keyspace=keyspace
        )

    def kill_lost(self, lost: list[tuple[int, int]]) -> None:
        """Statements that run on for nobody: their servers are asked to stop them."""
        for server, thread in lost:
            self.backends.kill_soon(server, thread)


def _beside(told: dict[str, Any] | None, region: str | None) -> Beside | None:
    """What a reload says of a version on trial. Raises ConfigError, ValueError, OSError."""
    if told is None:
        return None
    settings = load(Path(told["config"]), region=region, base=told["base"] and Path(told["base"]))
    if digest_of(settings.files) != told["digest"]:
        raise ValueError("the files of the version on trial have changed")
    return Beside(settings, int(told["version"]), Trial(told["kind"], told["share"]))


def run_worker(start: WorkerStart) -> None:
    """Serve until drained. For a process of its own."""
    sys.setswitchinterval(SWITCH_INTERVAL)

    async def main() -> None:
        await Worker(start).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


