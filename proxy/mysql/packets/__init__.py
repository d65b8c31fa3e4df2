"""The packets this package builds and parses: payloads only, framing is in `proxy.mysql.wire`."""

from proxy.mysql.packets.handshake import (
    AuthMoreData,
    AuthSwitchRequest,
    HandshakeResponse41,
    HandshakeV10,
    SSLRequest,
)
from proxy.mysql.packets.prepared import StmtPrepareOk, prepare_response
from proxy.mysql.packets.replies import EofPacket, ErrPacket, OkPacket, StateChange
from proxy.mysql.packets.resultset import (
    ColumnDefinition41,
    Value,
    binary_resultset,
    binary_row,
    parse_text_row,
    text_resultset,
    text_row,
)

__all__ = [
    "AuthMoreData",
    "AuthSwitchRequest",
    "ColumnDefinition41",
    "EofPacket",
    "ErrPacket",
    "HandshakeResponse41",
    "HandshakeV10",
    "OkPacket",
    "SSLRequest",
    "StateChange",
    "StmtPrepareOk",
    "Value",
    "binary_resultset",
    "binary_row",
    "parse_text_row",
    "prepare_response",
    "text_resultset",
    "text_row",
]
