"""What a client is told whose logins have failed too often."""

from __future__ import annotations

from router.errors import refusal


def paused(user: str, address: str, seconds: int) -> tuple[int, str, str | None]:
    """errno, text, SQLSTATE"""
    error = refusal("LOGINS_PAUSED", user, address, str(seconds))
    return error.errno, error.message, error.sqlstate
