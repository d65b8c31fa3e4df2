"""The log that a worker writes its decision records to, as the settings say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from config.audit import AuditSettings
from config.settings import MetastoreSettings
from metastore.open import open_store
from ops.audit.anchor import Anchor
from ops.audit.log import AuditLog, LogOptions
from ops.audit.stream import StreamOptions
from proxy.audit.anchors import AnchorPublisher
from proxy.generation import Generation


def open_log(generation: Generation, stream: int, on_change: Callable[[], None]) -> AuditLog:
    """Of a worker. `on_change` is called in the log's thread."""
    settings, policy, metastore = generation.settings.audit, generation.policy, generation.settings.metastore
    assert settings is not None and policy is not None
    return AuditLog(
        StreamOptions(
            directory=settings.folder,
            domain=policy.domain,
            proxy=generation.settings.region,
            worker=stream,
            segment_bytes=settings.segment,
            segment_age=settings.segment_age,
            segments=settings.segments,
        ),
        _key_of(settings),
        LogOptions(buffer=settings.buffer, anchor_every=settings.anchor),
        _Publisher(metastore) if metastore is not None else None,
        patient=True,
        on_change=on_change,
    )


class _Publisher:
    """Anchors into the metastore, which is opened by the thread that uses it."""

    def __init__(self, settings: MetastoreSettings) -> None:
        self._settings = settings
        self._publisher: AnchorPublisher | None = None

    def __call__(self, anchor: Anchor) -> None:
        if self._publisher is None:
            self._publisher = AnchorPublisher(open_store(self._settings))
        self._publisher(anchor)


def _key_of(settings: AuditSettings) -> Ed25519PrivateKey:
    key = load_pem_private_key(settings.key.reveal().encode(), None)
    assert isinstance(key, Ed25519PrivateKey)  # as `config.checks.audit` has seen
    return key


def files_of(generation: Generation) -> tuple[Any, ...]:
    """What the writer is made of."""
    audit, policy = generation.settings.audit, generation.policy
    assert audit is not None and policy is not None
    same = (audit.folder, audit.key, audit.buffer, audit.segment, audit.segment_age, audit.segments, audit.anchor)
    return (*same, policy.domain, generation.settings.region, generation.settings.metastore)
