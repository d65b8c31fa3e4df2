"""The decision records: there is a policy whose decisions they are, a key, and a place in the data's own domain."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from config.checks.names import check_known
from config.findings import Findings, KeyPath
from config.policy import PolicySettings
from config.secrets import Secret
from config.settings import Settings
from config.words import StoreKind

KEY = ("audit", "key")


def check_audit(settings: Settings, findings: Findings) -> None:
    audit = settings.audit
    if audit is None:
        return
    if settings.policy is None:
        findings.add(("audit",), "there are no decisions to record without a policy", "Add the section policy")
    elif audit.store is not None:
        _store_fits(settings, settings.policy, findings, audit.store)


def _store_fits(settings: Settings, policy: PolicySettings, findings: Findings, name: str) -> None:
    """Whether the store may hold what it carries is `router.policy.placement`'s; here it is this region's."""
    path: KeyPath = ("audit", "store")
    if not check_known(findings, path, name, findings.declared("policy", "stores"), "store"):
        return
    store = policy.stores.get(name)
    if store is None:
        return
    if store.kind is not StoreKind.AUDIT:
        findings.add(path, f"{name} is a store of kind {store.kind}, not audit")
    elif settings.region not in store.of:
        findings.add(path, f"{name} is not filled from region {settings.region}", f"Name it in policy.stores.{name}.of")
    elif (own := _domain(policy, settings.region)) != (theirs := _domain(policy, store.region)):
        hint = f"Records about rows of {own} are kept there"
        findings.add(path, f"{name} stands in {store.region}, which is in domain {theirs}, not {own}", hint)


def _domain(policy: PolicySettings, region: str) -> str | None:
    return next((name for name, domain in policy.domains.items() if region in domain.regions), None)


def check_signing_key(findings: Findings, key: Secret) -> None:
    """Called once the secrets are read."""
    if key.value is None:
        return
    try:
        found = load_pem_private_key(key.value.encode(), None)
    except (ValueError, TypeError):
        findings.add(KEY, "is no private key in PEM without a passphrase", "openssl genpkey -algorithm ed25519")
        return
    if not isinstance(found, Ed25519PrivateKey):
        findings.add(KEY, "is a key that is not Ed25519", "openssl genpkey -algorithm ed25519")
