"""What is allowed but seldom meant: remarks on a configuration that has no mistakes."""

from __future__ import annotations

from collections.abc import Iterator

from config.addresses import is_loopback
from config.errors import Mistake
from config.findings import Findings
from config.secrets import Secret, SecretSource
from config.settings import HttpListener, MysqlListener, Settings
from config.words import TlsMode


def advice(settings: Settings) -> list[Mistake]:
    """The remarks, in the order of the file."""
    findings = Findings()
    for path, place in settings.places.items():
        findings.saw(path, place)
    for remark in (_secrets, _listeners, _servers, _users):
        for where, message, hint in remark(settings):
            findings.add(where, message, hint)
    return list(findings.mistakes)


Remark = Iterator[tuple[tuple[str, ...], str, str]]


def _secrets(settings: Settings) -> Remark:
    hint = "Refer to it: {env: NAME} or {file: PATH}"
    for name, shard in settings.shards.items():
        if shard.account and _in_the_file(shard.account.password):
            yield ("shards", name, "account", "password"), "the password stands in the file", hint
    for name, user in settings.users.items():
        if user.password.clear and _in_the_file(user.password.clear):
            yield ("users", name, "password"), "the password stands in the file", hint
    for name, account in settings.admin.accounts.items():
        if account.password.clear and _in_the_file(account.password.clear):
            yield ("admin", "accounts", name, "password"), "the password stands in the file", hint


def _in_the_file(secret: Secret) -> bool:
    return secret.source is SecretSource.VALUE


def _listeners(settings: Settings) -> Remark:
    for name, listener in settings.listeners_of(MysqlListener).items():
        if listener.port is not None and listener.tls is None and not is_loopback(listener.address):
            yield (
                ("listeners", name),
                "offers no TLS and can be reached from other machines",
                "Give it tls: {cert: …, key: …}",
            )
    for name, http in settings.listeners_of(HttpListener).items():
        if not is_loopback(http.address):
            yield ("listeners", name), "shows metrics to other machines", "Bind it to 127.0.0.1, or guard it"


def _servers(settings: Settings) -> Remark:
    for name, shard in settings.shards.items():
        addresses = [shard.primary, *(replica.address for replica in shard.replicas)]
        abroad = any(one and not is_loopback(one.host) for one in addresses)
        if (
            shard.region == settings.region
            and abroad
            and shard.tls.mode
            in (
                TlsMode.DISABLED,
                TlsMode.PREFERRED,
            )
        ):
            yield (
                ("shards", name, "tls"),
                f"with mode: {shard.tls.mode}, rows may cross the network in clear",
                "Say mode: required or verify",
            )


def _users(settings: Settings) -> Remark:
    for name, user in settings.users.items():
        if not user.grants:
            yield ("users", name), "may log in and do nothing", "Give it grants"
