"""COM_STMT_PREPARE's answer (MySQL "COM_STMT_PREPARE Response")."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.constants.status import Status
from proxy.mysql.errors import MalformedPacket
from proxy.mysql.packets.replies import EofPacket
from proxy.mysql.packets.resultset import ColumnDefinition41
from proxy.mysql.wire import Reader, frame_all


@dataclass(frozen=True, slots=True)
class StmtPrepareOk:
    """The head of the answer; `params` and `columns` are how many definitions follow."""

    statement_id: int
    columns: int
    params: int
    warnings: int = 0

    def build(self) -> bytes:
        """12 bytes."""
        return (
            b"\0"
            + self.statement_id.to_bytes(4, "little")
            + self.columns.to_bytes(2, "little")
            + self.params.to_bytes(2, "little")
            + b"\0"
            + self.warnings.to_bytes(2, "little")
        )

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """The head of a server's answer; the metadata-follows byte of newer servers may trail it."""
        reader = Reader(payload)
        if reader.uint(1) != 0:
            raise MalformedPacket("not a COM_STMT_PREPARE_OK packet")
        statement_id, columns, params = reader.uint(4), reader.uint(2), reader.uint(2)
        reader.skip(1)
        warnings = reader.uint(2) if reader.remaining else 0
        return cls(statement_id, columns, params, warnings)

    def packets_to_follow(self, capabilities: Capability) -> int:
        """How many packets belong to the answer after this one."""
        marks = 0 if capabilities & Capability.DEPRECATE_EOF else bool(self.params) + bool(self.columns)
        return self.params + self.columns + marks


def prepare_response(
    statement_id: int,
    params: Sequence[ColumnDefinition41],
    columns: Sequence[ColumnDefinition41],
    capabilities: Capability,
    status: Status,
    *,
    warnings: int = 0,
    sequence: int = 1,
) -> bytes:
    """The whole framed answer to a COM_STMT_PREPARE."""
    payloads = [StmtPrepareOk(statement_id, len(columns), len(params), warnings).build()]
    for definitions in (params, columns):
        payloads.extend(definition.build() for definition in definitions)
        if definitions and not capabilities & Capability.DEPRECATE_EOF:
            payloads.append(EofPacket(warnings, status).build())
    return frame_all(payloads, sequence)
