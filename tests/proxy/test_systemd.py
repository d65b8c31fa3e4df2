"""Notifications to a service manager, by path and by abstract name; without one nothing happens."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from proxy.supervision import systemd


@pytest.mark.parametrize("abstract", [False, True])
def test_ready(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"fairlead-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
        systemd.ready("two\nlines")
        assert manager.recv(4096) == b"READY=1\nSTATUS=two lines"


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all", "@" + "x" * 200])
def test_nobody_there(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.stopping()
    systemd.reloading()
