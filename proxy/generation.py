"""One configuration in force: settings, topology, accounts and grants, built beside the old one and swapped whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from config.secrets import Password
from config.settings import MysqlListener, RedisListener, Settings, UserSettings
from config.words import AuthPlugin, Consistency
from proxy.mysql.auth.accounts import Account, Verifier
from proxy.mysql.auth.scramble import native_digest, sha256_digest
from router.policy.compiled import CompiledPolicy, build
from router.privileges import Grants
from router.schema import SchemaSnapshot
from router.topology import Topology

LEVELS = {Consistency.PRIMARY: 0, Consistency.SESSION: 1, Consistency.EVENTUAL: 2}
"""Consistency as the relay numbers it."""


@dataclass(frozen=True)
class Generation:
    """`number` grows with every configuration that is put in force; it is the policy's epoch, too."""

    number: int
    settings: Settings
    topology: Topology
    accounts: tuple[Account, ...]
    grants: Mapping[str, Grants]
    policy: CompiledPolicy | None = None

    @classmethod
    def build(cls, number: int, settings: Settings) -> Generation:
        """From settings that `config.load` accepted. Raises OSError or ValueError for unreadable secrets."""
        topology = Topology.build(settings)
        return cls(
            number=number,
            settings=settings,
            topology=topology,
            accounts=tuple(account_of(name, user) for name, user in settings.users.items()),
            grants=MappingProxyType({name: Grants(name, user.grants) for name, user in settings.users.items()}),
            policy=build(settings, topology, number),
        )

    def seeing(self, schemas: Mapping[str, SchemaSnapshot]) -> tuple[Generation, tuple[str, ...]]:
        """-> (the same for these live tables, labels for columns that they do not have)"""
        if self.policy is None:
            return self, ()
        policy, astray = self.policy.seeing(schemas)
        return (replace(self, policy=policy) if astray else self), astray

    def user(self, name: str) -> UserSettings | None:
        return self.settings.users.get(name)

    def consistency_of(self, user: UserSettings, listener: MysqlListener | RedisListener | None) -> tuple[int, int]:
        """-> (level as the relay numbers it, most lag in milliseconds): the user's, else the listener's."""
        level = user.consistency or (listener.consistency if listener else Consistency.PRIMARY)
        lag = user.max_lag if user.max_lag is not None else (listener.max_lag if listener else 0.0)
        return LEVELS[level], int(lag * 1000)


def account_of(name: str, user: UserSettings) -> Account:
    """A user as the handshake sees it."""
    return Account(
        name,
        verifier_of(user.password),
        plugins=tuple(str(AuthPlugin(plugin).value) for plugin in user.plugins),
        require_tls=user.require_tls,
    )


def verifier_of(password: Password) -> Verifier:
    """What is kept of a password, from whichever form the settings give."""
    sha256, native = password.sha256_digest(), password.native_digest()
    return Verifier(sha256, native, empty=sha256 == sha256_digest(b"") or native == native_digest(b""))
