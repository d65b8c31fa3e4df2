"""Tells the service manager how it goes: sd_notify(3) without a library. Outside systemd nothing happens."""

from __future__ import annotations

import contextlib
import os
import socket
import time


def ready(status: str) -> None:
    """Started, or done reloading."""
    _notify("READY=1", f"STATUS={status}")


def reloading() -> None:
    _notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def main_pid(pid: int) -> None:
    """Another process is the service from now on."""
    _notify(f"MAINPID={pid}")


def stopping() -> None:
    _notify("STOPPING=1", "STATUS=draining")


def _notify(*lines: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    path = "\0" + address[1:] if address.startswith("@") else address
    text = "\n".join(line.replace("\n", " ") for line in lines)
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto(text.encode(), path)
