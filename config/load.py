"""A YAML file, or a folder of them -> Settings, or a ConfigError that lists every mistake with its line."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from config.admin import AdminAccount
from config.audit import AuditSettings
from config.certificates import check_certificates
from config.checks import check
from config.checks.audit import check_signing_key
from config.checks.policy import check_token_key
from config.checks.users import check_password_forms
from config.decode import Decoder
from config.findings import Findings, KeyPath
from config.policy import DomainSettings
from config.secrets import Password, Secret, SecretSource
from config.settings import Account, Settings, ShardSettings, UserSettings
from config.source import read

MAX_SECRET = 4096

_NOTHING: Mapping[str, Any] = MappingProxyType(
    {name: MappingProxyType({}) for name in ("regions", "shards", "keyspaces", "users", "listeners")}
    | {"region": ""}
)
"""What stands in for sections that could not be read, so that the others can still be checked."""


def load(
    path: str | Path,
    *,
    region: str | None = None,
    secrets: bool = True,
    base: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Reads and checks a configuration.

    `region` overrides the file's. `secrets=False` leaves passwords unread and certificate files unopened, for
    looking at a configuration where they are not present. Only secrets that this region needs are read. `base` is
    the folder that paths are relative to, instead of that of the file which names them.
    Raises ConfigError.
    """
    findings = Findings()
    tree, files = read(Path(path), findings)
    settings: Settings = Decoder(findings, base).settings(Settings, tree, (), _NOTHING)
    if region is not None:
        settings = dataclasses.replace(settings, region=region)
    check(settings, findings)
    if secrets:
        settings = _with_secrets(settings, findings, environment)
        check_certificates(settings, findings)
    findings.raise_if_any()
    return dataclasses.replace(settings, files=files, places=MappingProxyType(findings.places))


def _with_secrets(settings: Settings, findings: Findings, environment: Mapping[str, str]) -> Settings:
    """The settings with their secrets read: all users' passwords, the own region's shards', its domain's key."""

    def reveal(secret: Secret, at: KeyPath) -> Secret:
        try:
            value = _READERS[secret.source](secret, environment)
        except ValueError as reason:
            findings.add(at, str(reason))
            return secret
        return dataclasses.replace(secret, value=value)

    def shard(name: str, given: ShardSettings) -> ShardSettings:
        if given.region != settings.region or given.account is None:
            return given
        password = reveal(given.account.password, ("shards", name, "account", "password"))
        return dataclasses.replace(given, account=Account(user=given.account.user, password=password))

    def password(given: Password, at: KeyPath) -> Password:
        forms = {form: getattr(given, form) for form in ("clear", "sha256", "native")}
        read = Password(**{form: one and reveal(one, at) for form, one in forms.items()})
        check_password_forms(findings, read, at)
        return read

    def user(name: str, given: UserSettings) -> UserSettings:
        return dataclasses.replace(given, password=password(given.password, ("users", name, "password")))

    def account(name: str, given: AdminAccount) -> AdminAccount:
        at = ("admin", "accounts", name, "password")
        return dataclasses.replace(given, password=password(given.password, at))

    def domain(name: str, given: DomainSettings) -> DomainSettings:
        if given.token_key is None or settings.region not in given.regions:
            return given
        at = ("policy", "domains", name, "token_key")
        key = reveal(given.token_key, at)
        check_token_key(findings, key, at)
        return dataclasses.replace(given, token_key=key)

    def audit(given: AuditSettings) -> AuditSettings:
        if not given.is_on:
            return given
        key = reveal(given.key, ("audit", "key"))
        check_signing_key(findings, key)
        return dataclasses.replace(given, key=key)

    return dataclasses.replace(
        settings,
        audit=settings.audit and audit(settings.audit),
        policy=settings.policy
        and dataclasses.replace(
            settings.policy,
            domains=MappingProxyType({name: domain(name, one) for name, one in settings.policy.domains.items()}),
        ),
        shards=MappingProxyType({name: shard(name, one) for name, one in settings.shards.items()}),
        users=MappingProxyType({name: user(name, one) for name, one in settings.users.items()}),
        admin=dataclasses.replace(
            settings.admin,
            accounts=MappingProxyType({name: account(name, one) for name, one in settings.admin.accounts.items()}),
        ),
    )


def _from_value(secret: Secret, environment: Mapping[str, str]) -> str:
    return secret.value or ""


def _from_environment(secret: Secret, environment: Mapping[str, str]) -> str:
    value = environment.get(secret.reference)
    if not value:
        raise ValueError(
            f"the environment variable {secret.reference} is " + ("empty" if value == "" else "not set")
        )
    return value


def _from_file(secret: Secret, environment: Mapping[str, str]) -> str:
    """The file's text without its last line end."""
    try:
        with open(secret.reference, "rb") as stream:
            data = stream.read(MAX_SECRET + 1)
    except OSError as error:
        raise ValueError(f"{secret.reference}: {error.strerror}") from None
    if len(data) > MAX_SECRET:
        raise ValueError(f"{secret.reference} is larger than a password: {MAX_SECRET} bytes at most")
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError(f"{secret.reference} is not UTF-8 text") from None
    if not text:
        raise ValueError(f"{secret.reference} is empty")
    return text


_READERS: Mapping[SecretSource, Callable[[Secret, Mapping[str, str]], str]] = MappingProxyType(
    {
        SecretSource.VALUE: _from_value,
        SecretSource.ENV: _from_environment,
        SecretSource.FILE: _from_file,
    }
)
