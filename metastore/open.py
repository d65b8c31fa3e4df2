"""The store that the settings name."""

from __future__ import annotations

from config.settings import MetastoreSettings
from metastore.sqlite import SqliteStore
from metastore.store import Store


def open_store(settings: MetastoreSettings, *, create: bool = False) -> Store:
    """`create`: make it when there is none. Raises Unavailable."""
    return SqliteStore(settings.sqlite, create=create, busy=settings.timeout)
