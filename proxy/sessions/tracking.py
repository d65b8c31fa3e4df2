"""Session tracking: of which changes the OK packets of one client tell, when it has CLIENT_SESSION_TRACK.

Servers report all of them to Fairlead; the relay leaves in an answer what the client has chosen by session_track_…
(`_speedups/relay_changes.pxi`). These variables are therefore the session's alone, and no backend is told of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Self

from proxy.mysql.constants.status import SessionTrack
from proxy.mysql.packets.replies import StateChange
from proxy.pool.varstate import DEFAULT, Value
from router.errors import refusal

VARIABLE, SCHEMA, STATE, GTIDS, TRANSACTION, ANY_VARIABLE = 1, 2, 4, 8, 32, 64
"""The relay's enum Change."""
EVERYTHING = VARIABLE | SCHEMA | STATE | GTIDS | TRANSACTION | ANY_VARIABLE
NAMES_MAX = 4096
"""Characters of session_track_system_variables."""
_NAMES = re.compile(r"(\*|[A-Za-z0-9_.]{0,64}|[ ,])*")
DEFAULT_NAMES = "time_zone,autocommit,character_set_client,character_set_results,character_set_connection"
"""Of both flavours, in MySQL's order; MariaDB 11 has redirect_url besides, which is set only globally."""
SWITCHES = {"1": True, "on": True, "true": True, "0": False, "off": False, "false": False}
TRACKERS = frozenset(
    f"session_track_{name}"
    for name in ("gtids", "schema", "state_change", "system_variables", "transaction_info")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tracking:
    """What one client is told. `names`: session_track_system_variables."""

    names: str = DEFAULT_NAMES
    schema: bool = True
    state: bool = False
    gtids: bool = False

    def tell(self) -> list[Any]:
        """As JSON has it, for another process."""
        return [self.names, self.schema, self.state, self.gtids]

    @classmethod
    def told(cls, fields: list[Any]) -> Self:
        return cls(*fields)

    def set(self, name: str, value: Value) -> Tracking:
        """After one assignment of a name in TRACKERS, which a server takes. Raises Refusal."""
        match name.removeprefix("session_track_"):
            case "schema":
                return replace(self, schema=value is DEFAULT or _switch(name, value))
            case "state_change":
                return replace(self, state=value is not DEFAULT and _switch(name, value))
            case "gtids":
                return replace(self, gtids=_word(name, value, {"off": False, "0": False, "own_gtid": True, "1": True}))
            case "transaction_info":
                return replace(self, gtids=self.gtids | _word(name, value, {"off": False, "0": False}))
        return replace(self, names=DEFAULT_NAMES if value is DEFAULT else _names(name, value))

    def literals(self) -> dict[str, str]:
        """As servers are told them."""
        return {
            "session_track_system_variables": f"'{self.names}'",
            "session_track_schema": str(int(self.schema)),
            "session_track_state_change": str(int(self.state)),
            "session_track_transaction_info": "OFF",
            "session_track_gtids": "OWN_GTID" if self.gtids else "OFF",
        }

    def setting(self, mariadb: bool) -> bytes:
        """SET for a server that the client's next SET is tried on; MariaDB knows no session_track_gtids."""
        told = [f"{name}={text}" for name, text in self.literals().items() if not (mariadb and name.endswith("gtids"))]
        return f"SET SESSION {','.join(told)}".encode("ascii")

    def kinds(self, mariadb: bool) -> int:
        """As the relay has it. MySQL tells of explicit transactions without being asked."""
        kinds = VARIABLE if self.names else 0
        kinds |= ANY_VARIABLE if "*" in self.listed else 0
        kinds |= (SCHEMA if self.schema else 0) | (STATE if self.state else 0) | (GTIDS if self.gtids else 0)
        return kinds if mariadb else kinds | TRANSACTION

    @property
    def listed(self) -> list[str]:
        return [name.strip().lower() for name in self.names.split(",")]

    def packed(self) -> bytes:
        """The names as the relay has them."""
        return b"".join(bytes((len(name),)) + name.encode() for name in self.listed if name)


UNTOLD = Tracking()
"""As servers begin."""


def schema_changed(database: str) -> bytes:
    """What USE tells: the database, and that the session has changed."""
    changes = StateChange(SessionTrack.SCHEMA, (database.encode(),)), StateChange(SessionTrack.STATE_CHANGE, (b"1",))
    return b"".join(change.build() for change in changes)


def _switch(name: str, value: Value) -> bool:
    return _word(name, value, SWITCHES)


def _word(name: str, value: Value, known: dict[str, bool]) -> bool:
    word = "off" if value is DEFAULT else str(value).lower()
    if word not in known:
        raise refusal("VARIABLE_REFUSED", name, f"its values are {', '.join(sorted(known)).upper()} here")
    return known[word]


def _names(name: str, value: Value) -> str:
    text = "" if value is None else str(value)
    if len(text) > NAMES_MAX or _NAMES.fullmatch(text) is None:
        raise refusal("VARIABLE_VALUE", name, "it is not a list of names")
    return text
