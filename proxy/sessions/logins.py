"""Who comes in: what each listener announces, who is admitted, and the session that a login becomes."""

from __future__ import annotations

import socket
from array import array
from collections import Counter
from collections.abc import Collection
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from config.settings import MysqlListener, PeerListener, UserSettings
from config.words import Flavour, RedisAccess
from proxy.generation import Generation
from proxy.mysql.auth.accounts import Account, Accounts, ProvenPasswords, Verifier
from proxy.mysql.auth.backoff import Backoff
from proxy.mysql.auth.rsa import RsaKeyPair
from proxy.mysql.auth.scramble import CACHING_SHA2
from proxy.mysql.certificates import ServerFiles, TlsContexts, TlsProblem
from proxy.mysql.constants import collations
from proxy.mysql.constants.capabilities import (
    COMPRESSION,
    PEER_SERVER_CAPABILITIES,
    SERVER_CAPABILITIES,
    Capability,
)
from proxy.mysql.constants.collations import UTF8MB4_GENERAL_CI
from proxy.mysql.constants.status import Status
from proxy.mysql.errors import HandshakeRefused
from proxy.mysql.server_handshake import ClientIdentity, ServerHandshakeConfig
from proxy.mysql.shuttle import Shuttle
from proxy.pauses import paused
from proxy.pool.varstate import SessionState
from proxy.sessions.session import (
    CERTIFICATE_ATTRIBUTE,
    LISTENER_ATTRIBUTE,
    PEER_LOGIN,
    REDIS_ATTRIBUTE,
    SHARD_ATTRIBUTE,
    USER_ATTRIBUTE,
    Identity,
    Session,
)
from proxy.sessions.tracking import Tracking
from proxy.versions import REPLICATION_PREFIX, greeting_version, is_mariadb, version_number
from router.errors import Refusal, refusal

if TYPE_CHECKING:
    from _speedups.relay import Outcome
    from proxy.worker import Worker

FALLBACK_VERSION = {Flavour.MARIADB: "10.11.0-MariaDB-fairlead", Flavour.MYSQL: "8.4.0-fairlead"}
"""What is announced until a server has been seen."""

QUERY_ATTRIBUTES_SINCE = 80023
"""MySQL's version; MariaDB has none."""



class Logins:
    """One worker's logins. Counts are this worker's; limits are divided over the workers, rounded up."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._rsa = RsaKeyPair()
        self._proven = ProvenPasswords()
        self._backoff = Backoff(told=paused)
        self._configs: dict[str, ServerHandshakeConfig] = {}
        self._contexts: TlsContexts | None = None
        self._users: Counter[str] = Counter()
        self._listeners: Counter[str] = Counter()
        self._seen: tuple[str, ...] = ()
        self.mariadb = True
        """Whether clients are told of a MariaDB: as soon as one shard is one. MySQL knows the collations that clients
        choose for MariaDB, not the other way round."""

    # --- configuration --------------------------------------------------------------------------------------

    def configure(self, generation: Generation) -> None:
        """Raises TlsFilesError when a certificate cannot be used; then nothing has changed."""
        settings = generation.settings
        files = _certificate_files(generation)
        if self._contexts is None:
            self._contexts = TlsContexts(files)
        else:
            self._contexts.reload(files)
        self._backoff.longest = settings.limits.login_pause
        flavours = [shard.flavour for shard in generation.topology.shards]
        self.mariadb = Flavour.MARIADB in flavours or not flavours
        self._accounts = Accounts(generation.accounts, secret=self._worker.start.secret, proven=self._proven)
        self._peer_accounts = _peer_accounts(generation)
        for name, listener in settings.listeners.items():
            if isinstance(listener, MysqlListener | PeerListener):
                self._configs[name] = self._config(generation, name, listener)

    def _config(
        self, generation: Generation, name: str, listener: MysqlListener | PeerListener
    ) -> ServerHandshakeConfig:
        peer = isinstance(listener, PeerListener)
        flavour = Flavour.MARIADB if self.mariadb else Flavour.MYSQL
        version = self._version()
        collation = UTF8MB4_GENERAL_CI
        if isinstance(listener, MysqlListener):
            version = listener.version or version
            found = collations.by_name(listener.collation, flavour.value)
            collation = found.id if found is not None else UTF8MB4_GENERAL_CI
        assert self._contexts is not None
        has_tls = peer or (isinstance(listener, MysqlListener) and listener.tls is not None)
        required = peer or (isinstance(listener, MysqlListener) and listener.tls is not None and listener.tls.required)
        capabilities = PEER_SERVER_CAPABILITIES if peer else SERVER_CAPABILITIES
        if not self.mariadb and version_number(self._version()) >= QUERY_ATTRIBUTES_SINCE:
            capabilities |= Capability.QUERY_ATTRIBUTES
        if isinstance(listener, MysqlListener) and listener.compression:
            capabilities |= COMPRESSION
        return ServerHandshakeConfig(
            accounts=self._peer_accounts if peer else self._accounts,
            server_version=greeting_version(version),
            flavour=flavour.value,
            default_collation=collation,
            default_plugin=CACHING_SHA2,
            tls=self._contexts.server(name) if has_tls else None,
            tls_required=required,
            timeout=generation.settings.limits.handshake,
            rsa=self._rsa,
            admit=lambda identity: self._admit(identity, name),
            backoff=Backoff(longest=0) if peer else self._backoff,
            capabilities=capabilities,
            proxied_from=[ip_network(network, strict=False) for network in getattr(listener, "proxied_from", ())],
        )

    def announce(self, versions: Collection[str]) -> None:
        """What the servers are: clients are told the lowest version where the configuration names none."""
        before, self._seen = self._version(), tuple(versions)
        if self._version() != before:
            self._reconfigure()

    def _version(self) -> str:
        """The lowest of the servers of the announced flavour."""
        fitting = [version for version in self._seen if is_mariadb(version) is self.mariadb]
        fallback = FALLBACK_VERSION[Flavour.MARIADB if self.mariadb else Flavour.MYSQL]
        return min(fitting, key=version_number, default=fallback)

    def _reconfigure(self) -> None:
        generation = self._worker.generation
        for name, listener in generation.settings.listeners.items():
            if isinstance(listener, MysqlListener | PeerListener):
                self._configs[name] = self._config(generation, name, listener)

    def version_of(self, name: str) -> str:
        """The version that a listener announces, as VERSION() says it."""
        return self._configs[name].server_version.removeprefix(REPLICATION_PREFIX)

    def handshake(self, name: str) -> ServerHandshakeConfig:
        """What a listener's next connection is shown."""
        return self._configs[name]

    def reload_certificates(self) -> list[TlsProblem]:
        """Read the certificate files again if one is another; a bad one keeps the context in use and is reported."""
        assert self._contexts is not None
        if not self._contexts.changed():
            return []
        problems = self._contexts.reload()
        self._reconfigure()
        return problems

    # --- admission ------------------------------------------------------------------------------------------

    def _admit(self, identity: ClientIdentity, listener: str) -> Status:
        try:
            self._check(identity, listener)
        except Refusal as error:
            self._worker.loop_block.add("clients_rejected")
            raise HandshakeRefused(error.errno, error.message) from None
        return Status.AUTOCOMMIT

    def _check(self, identity: ClientIdentity, listener: str) -> None:
        worker = self._worker
        name = self._user_of(identity, listener)
        user = worker.generation.user(name)
        if user is None:
            raise refusal("ACCESS_DENIED", name, "NO")
        _check_network(name, user, identity)
        if REDIS_ATTRIBUTE in identity.attributes and (worker.redis is None or user.redis is RedisAccess.NONE):
            raise refusal("ACCESS_DENIED", name, "NO")
        workers = worker.start.workers
        if len(worker.sessions) >= worker.clients_max:
            raise refusal("TOO_MANY_CLIENTS")
        settings = worker.generation.settings.listeners[listener]
        limit = getattr(getattr(settings, "limits", None), "connections", None)
        if limit is not None and self._listeners[listener] >= -(-limit // workers):
            raise refusal("TOO_MANY_CLIENTS")
        if user.limits.connections is not None and self._users[name] >= -(-user.limits.connections // workers):
            raise refusal("USER_CONNECTIONS", name, str(user.limits.connections))
        if identity.database is not None:
            self._check_database(name, identity.database)

    def _check_database(self, user: str, database: str) -> None:
        generation = self._worker.generation
        if generation.topology.keyspace(database) is None:
            raise refusal("UNKNOWN_DATABASE", database)
        if not generation.grants[user].sees(database):
            raise refusal("DENIED_DATABASE", user, database)

    def _user_of(self, identity: ClientIdentity, listener: str) -> str:
        """Whose statements the connection carries: a peer says it in an attribute, its certificate vouches for it."""
        settings = self._worker.generation.settings.listeners[listener]
        if not isinstance(settings, PeerListener):
            return identity.user
        names = tuple(identity.tls.names) if identity.tls is not None else ()
        if self._worker.generation.topology.region_of_certificate(names) is None:
            raise refusal("PEER_UNKNOWN")
        return identity.attributes.get(USER_ATTRIBUTE, "")

    def _identity_of(self, identity: ClientIdentity, listener: str) -> Identity:
        """A peer attests how it authenticated its client; that it stands where it says, its certificate vouches."""
        settings = self._worker.generation.settings.listeners[listener]
        if not isinstance(settings, PeerListener):
            return Identity(listener, identity.tls.common_name if identity.tls is not None else None)
        names = tuple(identity.tls.names) if identity.tls is not None else ()
        region = self._worker.generation.topology.region_of_certificate(names)
        attested = identity.attributes
        return Identity(
            attested.get(LISTENER_ATTRIBUTE, ""),
            attested.get(CERTIFICATE_ATTRIBUTE) or None,
            region.name if region is not None else "",
        )

    # --- sessions -------------------------------------------------------------------------------------------

    def adopt(self, identity: ClientIdentity, number: int, listener: str) -> None:
        """Hand the socket to the relay. Raises RelayFull, Refusal."""
        worker = self._worker
        name = self._user_of(identity, listener)
        user = worker.generation.user(name)
        assert user is not None  # admitted a moment ago
        peer = isinstance(worker.generation.settings.listeners[listener], PeerListener)
        if peer and worker.redis is not None and REDIS_ATTRIBUTE in identity.attributes:
            protocol = 3 if identity.attributes[REDIS_ATTRIBUTE] == "3" else 2
            known = self._identity_of(identity, listener)
            worker.redis.adopt_peer(identity.sock, number, listener, identity.peer, name, known, protocol)
            return
        # The relay alone reads and words what is told of session state; other answers are made without it.
        capabilities = identity.capabilities if peer else identity.capabilities & ~Capability.SESSION_TRACK
        session = Session(
            handle=0, connection_id=number, user=name, peer=identity.peer, capabilities=capabilities,
            collation=identity.collation, listener=listener, hop=peer, mariadb=self.mariadb,
            bound=identity.attributes.get(SHARD_ATTRIBUTE) if peer else None,
        )  # fmt: skip
        session.identity, session.login = self._identity_of(identity, listener), identity
        worker.identify(session)
        worker.variables.begin(session)
        database = identity.database if identity.database is not None else user.default_database
        session.state = session.state.use(database)
        self._enter(session, identity.sock)

    def _enter(
        self,
        session: Session,
        sock: socket.socket,
        outcome: Outcome | None = None,
        positions: array[int] | None = None,
        statements: bytes = b"",
    ) -> None:
        """The session begins; `outcome`, `positions`, `statements`: of one that comes from another process."""
        worker = self._worker
        level, lag = worker.level_of(session)
        changes, changing = session.told()
        session.handle = worker.relay.adopt(
            sock.fileno(),
            caps=int(session.capabilities | (Capability.SESSION_TRACK if session.is_told else Capability(0))),
            ctx=worker.contexts.number(session.context()),
            state=worker.variables.number(session.state),
            lexmode=session.mode,
            user=worker.attested(session).number,
            consistency=level,
            max_lag_ms=lag,
            hop=session.hop,
            outcome=outcome,
            positions=positions,
            statements=statements,
            changes=changes,
            changing=changing,
        )
        sock.detach()
        worker.sessions[session.handle] = session
        self._users[session.user] += 1
        self._listeners[session.listener] += 1
        worker.moves.on_entered(session)

    def take(self, told: dict[str, Any], sock: socket.socket, shuttle: Shuttle | None, statements: bytes) -> None:
        """A client of the process before, which does not notice. Raises RelayFull, Refusal, ValueError, KeyError for
        what cannot be so here."""
        worker, login = self._worker, told["login"]
        settings = worker.generation.settings.listeners.get(told["listener"])
        collation = collations.by_id(told["collation"], "mariadb" if self.mariadb else "mysql")
        if not isinstance(settings, MysqlListener) or collation is None or told["mariadb"] is not self.mariadb:
            raise ValueError("the listener or the servers are others")
        identity = ClientIdentity(
            sock=sock, user=told["user"], account=self._accounts.find(told["user"]), database=told["state"]["database"],
            capabilities=Capability(login["capabilities"]), collation=collation, attributes=login["attributes"],
            max_packet=login["max_packet"], plugin=login["plugin"], peer=told["peer"], tls=None, local=login["local"],
            nonce=bytes.fromhex(login["nonce"]), shuttle=shuttle,
        )  # fmt: skip
        self._check(identity, told["listener"])
        session = Session(
            handle=0, connection_id=told["id"], user=told["user"], peer=told["peer"],
            capabilities=Capability(told["capabilities"]), collation=collation, listener=told["listener"],
            mariadb=self.mariadb, state=SessionState.told(told["state"]), initial=SessionState.told(told["initial"]),
            tracking=Tracking.told(told["tracking"]),
        )  # fmt: skip
        session.identity, session.login = self._identity_of(identity, told["listener"]), identity
        session.carried_in = frozenset({session.origin} if statements else ())
        worker.identify(session)
        outcome = (*told["outcome"][:-1], bytes.fromhex(told["outcome"][-1]))
        found = worker.shard_numbers()
        positions = array("Q", bytes(8 * (max(found.values(), default=-1) + 1)))
        for shard, position in told["positions"].items():
            if shard in found:
                positions[found[shard]] = position
        worker.doors.ids.taken.add(session.connection_id)
        self._enter(session, sock, outcome, positions, statements)

    def left(self, session: Session) -> None:
        self._worker.doors.ids.taken.discard(session.connection_id)
        self._users[session.user] -= 1
        self._listeners[session.listener] -= 1


def _check_network(name: str, user: UserSettings, identity: ClientIdentity) -> None:
    if not user.networks or identity.peer == "localhost":
        return
    address = ip_address(identity.peer.split("%")[0])
    if not any(address in ip_network(network, strict=False) for network in user.networks):
        raise refusal("ACCESS_DENIED", name, "YES")


def _certificate_files(generation: Generation) -> dict[str, ServerFiles]:
    files: dict[str, ServerFiles] = {}
    settings = generation.settings
    for name, listener in settings.listeners.items():
        if isinstance(listener, PeerListener) and settings.peer_tls is not None:
            tls = settings.peer_tls
            files[name] = ServerFiles(tls.cert, tls.key, tls.ca, "required")
        elif isinstance(listener, MysqlListener) and listener.tls is not None:
            own = listener.tls
            files[name] = ServerFiles(own.cert, own.key, own.ca, "required" if own.ca else "none")
    return files


def _peer_accounts(generation: Generation) -> Accounts:
    """The one login of peers: without a password, by a certificate of another region."""
    names = frozenset(name for region in generation.topology.peers for name in region.certificate_names)
    account = Account(PEER_LOGIN, Verifier.of_password(""), require_tls=True, certificate_names=names)
    return Accounts([account])
