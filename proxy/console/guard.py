"""Who may come in: the console's accounts and their roles."""

from __future__ import annotations

from collections.abc import Mapping

from config.admin import AdminAccount
from config.words import AdminRole
from proxy.generation import verifier_of
from proxy.mysql.auth.accounts import Account, Accounts, ProvenPasswords
from proxy.mysql.auth.scramble import CACHING_SHA2, NATIVE


def accounts_of(accounts: Mapping[str, AdminAccount], secret: bytes) -> Accounts:
    found = [_account(name, given) for name, given in accounts.items()]
    return Accounts(found, secret=secret, proven=ProvenPasswords())


def _account(name: str, given: AdminAccount) -> Account:
    verifier = verifier_of(given.password)
    plugins = tuple(plugin for plugin in (CACHING_SHA2, NATIVE) if verifier.supports(plugin))
    return Account(name, verifier, plugins=plugins)


def is_admin(accounts: Mapping[str, AdminAccount], user: str) -> bool:
    """By the configuration in force: a role that is taken away is gone from sessions, too."""
    account = accounts.get(user)
    return account is not None and account.role is AdminRole.ADMIN
