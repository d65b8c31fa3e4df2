"""Packets against bytes that real servers and drivers sent, and against the manual's layouts."""

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql.constants import FIELD_TYPE

from proxy.mysql import packets
from proxy.mysql.constants.capabilities import SERVER_CAPABILITIES, Capability
from proxy.mysql.constants.field_types import ColumnFlag, FieldType
from proxy.mysql.constants.status import SessionTrack, Status
from proxy.mysql.errors import MalformedPacket
from proxy.mysql.packets import (
    AuthMoreData,
    AuthSwitchRequest,
    ColumnDefinition41,
    EofPacket,
    ErrPacket,
    HandshakeResponse41,
    HandshakeV10,
    OkPacket,
    SSLRequest,
    StateChange,
    StmtPrepareOk,
    Value,
    binary_resultset,
    binary_row,
    parse_text_row,
    prepare_response,
    text_resultset,
    text_row,
)
from tests.proxy.mysql.test_wire import split

CASES = json.loads((Path(__file__).parents[2] / "cases" / "mysql" / "packets.json").read_text())
TRACKED = SERVER_CAPABILITIES | Capability.SESSION_TRACK
CLASSIC = SERVER_CAPABILITIES & ~(Capability.DEPRECATE_EOF | Capability.SESSION_TRACK)


def parse(kind: str, payload: bytes) -> Any:
    cls = getattr(packets, kind)
    return cls.parse(payload, TRACKED) if cls is OkPacket else cls.parse(payload)


def build(packet: Any) -> bytes:
    payload = packet.build(TRACKED) if isinstance(packet, OkPacket) else packet.build()
    assert isinstance(payload, bytes)
    return payload


def plain(value: Any) -> Any:
    """As JSON holds it: names as text, proofs as hexadecimal."""
    if isinstance(value, StateChange):
        return [value.kind, [part.decode() for part in value.values]]
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_recorded_packets(case: dict[str, Any]) -> None:
    payload = bytes.fromhex(case["hex"])
    packet = parse(case["packet"], payload)
    for name, expected in case["fields"].items():
        found = getattr(packet, name)
        if isinstance(found, bytes):
            found = found.hex() if name in ("auth", "nonce") else found.decode()
        assert plain(found) == expected, name
    assert (build(packet) == payload) is case["rebuilds"]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_no_cut_packet_reads_as_another_error(case: dict[str, Any]) -> None:
    """Every prefix either parses (trailing fields may be missing) or is malformed."""
    payload = bytes.fromhex(case["hex"])
    for size in range(len(payload)):
        try:
            parse(case["packet"], payload[:size])
        except MalformedPacket:
            continue


HEADS = [
    HandshakeV10("8.0.34-x", 2**32 - 1, b"n" * 20, TRACKED | Capability.SSL, 45, Status.AUTOCOMMIT, "p"),
    SSLRequest(TRACKED | Capability.SSL, 2**32 - 1, 255),
    AuthSwitchRequest("mysql_native_password", b"s" * 20),
    AuthMoreData(b"\x04"),
    ErrPacket(1045, "28000", "Access denied für dich"),
    EofPacket(3, Status.IN_TRANS),
    StmtPrepareOk(7, 2, 65535, 1),
    ColumnDefinition41("näme", FieldType.JSON, 63, 2**32 - 1, ColumnFlag.BINARY, 31, "o", "t", "ot", "s"),
    HandshakeResponse41(
        SERVER_CAPABILITIES, 1, 45, b"u", b"\0" * 32, b"db", "caching_sha2_password", {"k": "v" * 300, "": ""}
    ),
    HandshakeResponse41(Capability.PROTOCOL_41, 1, 45, b"u", b"proof"),
    HandshakeResponse41(Capability.PROTOCOL_41 | Capability.SECURE_CONNECTION, 1, 45, b"u", b"p" * 20),
]


@pytest.mark.parametrize("packet", HEADS, ids=[type(packet).__name__ for packet in HEADS])
def test_what_is_built_parses_to_itself(packet: Any) -> None:
    assert type(packet).parse(packet.build()) == packet


def test_a_full_response_is_no_ssl_request() -> None:
    response = HandshakeResponse41(SERVER_CAPABILITIES | Capability.SSL, 1, 45, b"u", b"", plugin="p")
    assert SSLRequest.parse(response.build()) is None
    assert SSLRequest.parse(bytes(32)) is None


def test_trailing_fields_may_be_missing() -> None:
    full = HandshakeResponse41(SERVER_CAPABILITIES, 1, 45, b"u", b"", b"db", "p", {"a": "b"}).build()
    without_attributes = full[: -len(b"\x04\x01a\x01b")]
    parsed = HandshakeResponse41.parse(without_attributes)
    assert (parsed.database, parsed.plugin, parsed.attributes) == (b"db", "p", {})
    assert HandshakeResponse41.parse(without_attributes[:-1]).plugin == "p"
    assert HandshakeResponse41.parse(without_attributes[:-2]).plugin == ""


def test_attributes_are_bounded() -> None:
    many = {str(number): "" for number in range(1025)}
    with pytest.raises(MalformedPacket, match="attributes"):
        HandshakeResponse41.parse(HandshakeResponse41(SERVER_CAPABILITIES, 1, 45, b"u", b"", None, "p", many).build())


# --- OK ----------------------------------------------------------------------------------------------------


def test_ok_as_the_manual_shows_it() -> None:
    assert OkPacket(status=Status.AUTOCOMMIT).build(CLASSIC).hex() == "00000002000000"
    packet = OkPacket(3, 300, Status.IN_TRANS, 2, b"Rows matched: 3")
    assert packet.build(CLASSIC) == b"\0\x03\xfc\x2c\x01\x01\0\x02\0\x0fRows matched: 3"
    assert OkPacket.parse(packet.build(CLASSIC), CLASSIC) == packet
    # The manual's own layout, without the length before the text.
    assert OkPacket.parse(b"\0\0\0\x02\0\0\0Rows matched: 3", CLASSIC).info == b"Rows matched: 3"


def test_session_state_in_ok() -> None:
    changes = (
        StateChange(SessionTrack.SYSTEM_VARIABLES, (b"autocommit", b"OFF")),
        StateChange(SessionTrack.SCHEMA, (b"shop",)),
        StateChange(SessionTrack.STATE_CHANGE, (b"1",)),
        StateChange(SessionTrack.GTIDS, (b"0b5e1d-1:1-9",)),
        StateChange(SessionTrack.TRANSACTION_CHARACTERISTICS, (b"START TRANSACTION READ ONLY;",)),
        StateChange(SessionTrack.TRANSACTION_STATE, (b"T_______",)),
        StateChange(99, (b"\x03of a later version",)),
    )
    packet = OkPacket(status=Status.AUTOCOMMIT | Status.SESSION_STATE_CHANGED, info=b"i", changes=changes)
    assert OkPacket.parse(packet.build(TRACKED), TRACKED) == packet
    untracked = OkPacket.parse(packet.build(CLASSIC), CLASSIC)
    assert untracked == OkPacket(status=Status.AUTOCOMMIT, info=b"i")
    # SET autocommit = 0: flags 0x4000, no text, one change of 17 bytes.
    recorded = bytes.fromhex("000000 0040 0000 00 11 00 0f 0a6175746f636f6d6d6974 034f4646")
    assert OkPacket.parse(recorded, TRACKED).changes == (changes[0],)


def test_err_without_sqlstate() -> None:
    """Before the handshake servers leave it out; a client without PROTOCOL_41 is not sent one."""
    packet = ErrPacket(1040, "HY000", "Too many connections")
    assert ErrPacket.parse(b"\xff\x10\x04Too many connections") == packet
    assert packet.build(Capability(0)) == b"\xff\x10\x04Too many connections"


# --- result sets, read back by PyMySQL's and Connector/Python's own parsers ---------------------------------

COLUMNS = [
    ColumnDefinition41.string("s"),
    ColumnDefinition41.integer("i"),
    ColumnDefinition41.integer("u", unsigned=True),
    ColumnDefinition41.double("d"),
]
ROWS: list[list[Value]] = [
    ["text", -5, 2**64 - 1, 0.5],
    [None, None, None, None],
    [b"\xff\0", 0, 0, 1e300],
    ["x" * 300, 1, 1, -0.0],
]


@pytest.mark.parametrize("capabilities", [CLASSIC, SERVER_CAPABILITIES], ids=["eof", "deprecate-eof"])
def test_the_packets_of_a_text_result(capabilities: Capability) -> None:
    data = text_resultset(COLUMNS, ROWS, capabilities, Status.AUTOCOMMIT, warnings=2)
    frames = split(data)
    assert [sequence for sequence, _ in frames] == list(range(1, len(frames) + 1))
    payloads = [payload for _, payload in frames]
    assert payloads[0] == b"\x04"
    assert [ColumnDefinition41.parse(payload) for payload in payloads[1:5]] == COLUMNS
    if capabilities is CLASSIC:
        assert EofPacket.parse(payloads.pop(5)) == EofPacket(2, Status.AUTOCOMMIT)
        assert EofPacket.parse(payloads[-1]) == EofPacket(2, Status.AUTOCOMMIT)
    else:
        end = OkPacket.parse(payloads[-1], capabilities)
        assert (end.head, end.warnings, end.status) == (0xFE, 2, Status.AUTOCOMMIT)
    assert [parse_text_row(payload) for payload in payloads[5:-1]] == [
        [b"text", b"-5", b"18446744073709551615", b"0.5"],
        [None] * 4,
        [b"\xff\0", b"0", b"0", b"1e300"],
        [b"x" * 300, b"1", b"1", b"-0"],
    ]


def test_an_empty_result_has_columns_and_no_rows() -> None:
    assert len(split(text_resultset(COLUMNS, [], CLASSIC, Status.AUTOCOMMIT))) == 1 + 4 + 2
    assert len(split(binary_resultset(COLUMNS, [], SERVER_CAPABILITIES, Status.AUTOCOMMIT))) == 1 + 4 + 1


def typed(kind: FieldType, *, unsigned: bool = False) -> ColumnDefinition41:
    flags = ColumnFlag.BINARY | (ColumnFlag.UNSIGNED if unsigned else ColumnFlag.NONE)
    return ColumnDefinition41("c", kind, 63, flags=flags)


TIME = datetime.timedelta
BINARY_VALUES: list[tuple[FieldType, Value, str]] = [
    # The manual's examples, "Binary Protocol Value".
    (FieldType.LONGLONG, 1, "0100000000000000"),
    (FieldType.LONG, 1, "01000000"),
    (FieldType.SHORT, 1, "0100"),
    (FieldType.TINY, 1, "01"),
    (FieldType.DOUBLE, 10.2, "6666666666662440"),
    (FieldType.FLOAT, 10.2, "33332341"),
    (FieldType.VAR_STRING, "foo", "03666f6f"),
    (FieldType.DATETIME, datetime.datetime(2010, 10, 17, 19, 27, 30, 1), "0bda070a11131b1e01000000"),
    (FieldType.DATETIME, datetime.datetime(2010, 10, 17, 19, 27, 30), "07da070a11131b1e"),
    (FieldType.DATE, datetime.date(2010, 10, 17), "04da070a11"),
    (FieldType.TIME, -TIME(days=120, hours=19, minutes=27, seconds=30, microseconds=1), "0c0178000000131b1e01000000"),
    (FieldType.TIME, -TIME(days=120, hours=19, minutes=27, seconds=30), "080178000000131b1e"),
    (FieldType.TIME, TIME(0), "00"),
    (FieldType.DATETIME, datetime.datetime(2010, 10, 17), "04da070a11"),
    (FieldType.TINY, -1, "ff"),
    (FieldType.TINY, 255, "ff"),
    (FieldType.YEAR, 2155, "6b08"),
    (FieldType.NEWDECIMAL, Decimal("-1.50"), "052d312e3530"),
    (FieldType.BLOB, b"\0\xff", "0200ff"),
    (FieldType.JSON, "{}", "027b7d"),
]


@pytest.mark.parametrize(("kind", "value", "encoded"), BINARY_VALUES)
def test_binary_values(kind: FieldType, value: Value, encoded: str) -> None:
    assert binary_row([typed(kind)], [value]).hex() == "0000" + encoded


def test_binary_values_that_do_not_fit_are_refused() -> None:
    for kind, value, error in (
        (FieldType.TINY, 256, OverflowError),
        (FieldType.TINY, -129, OverflowError),
        (FieldType.LONG, "1", TypeError),
        (FieldType.DOUBLE, "1", TypeError),
        (FieldType.DATE, "2010-10-17", TypeError),
        (FieldType.TIME, 5, TypeError),
    ):
        with pytest.raises(error):
            binary_row([typed(kind)], [value])
    with pytest.raises(ValueError, match="zip"):
        binary_row([typed(FieldType.TINY)], [1, 2])


@pytest.mark.parametrize("count", [1, 5, 6, 7, 13, 14, 15, 200])
def test_the_null_bitmap_starts_at_its_third_bit(count: int) -> None:
    columns = [typed(FieldType.TINY)] * count
    for null in {0, count // 2, count - 1}:
        row: list[Value] = [1] * count
        row[null] = None
        data = binary_row(columns, row)
        bitmap = int.from_bytes(data[1 : 1 + (count + 9) // 8], "little")
        assert bitmap == 1 << null + 2
        assert len(data) == 1 + (count + 9) // 8 + count - 1


TEXTS: list[tuple[Value, bytes]] = [
    (True, b"1"),
    (False, b"0"),
    (1.0, b"1"),
    (1e20, b"1e20"),
    (1.5e-7, b"1.5e-07"),
    (Decimal("1.50"), b"1.50"),
    (datetime.date(1, 2, 3), b"0001-02-03"),
    (datetime.datetime(2020, 1, 2, 3, 4, 5, 60), b"2020-01-02 03:04:05.000060"),
    (TIME(hours=838, minutes=59, seconds=59), b"838:59:59"),
    (-TIME(seconds=1, microseconds=5), b"-00:00:01.000005"),
    ("é", b"\xc3\xa9"),
]


@pytest.mark.parametrize(("value", "text"), TEXTS)
def test_text_values(value: Value, text: bytes) -> None:
    assert text_row([value]) == bytes((len(text),)) + text


@pytest.mark.parametrize("capabilities", [CLASSIC, SERVER_CAPABILITIES], ids=["eof", "deprecate-eof"])
@pytest.mark.parametrize(("params", "columns"), [(0, 0), (0, 2), (3, 0), (3, 2)])
def test_the_packets_of_a_prepare(params: int, columns: int, capabilities: Capability) -> None:
    column = ColumnDefinition41.integer("?")
    data = prepare_response(9, [column] * params, [column] * columns, capabilities, Status.AUTOCOMMIT)
    frames = split(data)
    head = StmtPrepareOk.parse(frames[0][1])
    assert head == StmtPrepareOk(9, columns, params)
    assert head.packets_to_follow(capabilities) == len(frames) - 1
    marks = 0 if capabilities & Capability.DEPRECATE_EOF else (params > 0) + (columns > 0)
    assert len(frames) == 1 + params + columns + marks


def test_constants_agree_with_pymysqls() -> None:
    for kind in FieldType:
        if hasattr(FIELD_TYPE, kind.name):
            assert getattr(FIELD_TYPE, kind.name) == kind


# --- fuzz --------------------------------------------------------------------------------------------------

PARSERS: list[Any] = [
    HandshakeV10.parse,
    SSLRequest.parse,
    HandshakeResponse41.parse,
    AuthSwitchRequest.parse,
    AuthMoreData.parse,
    ErrPacket.parse,
    EofPacket.parse,
    StmtPrepareOk.parse,
    ColumnDefinition41.parse,
    parse_text_row,
    lambda data: OkPacket.parse(data, CLASSIC),
    lambda data: OkPacket.parse(data, TRACKED),
]
RECORDED = [bytes.fromhex(case["hex"]) for case in CASES] + [build(packet) for packet in HEADS]


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A real packet with some bytes changed, cut or doubled."""
    data = bytearray(draw(st.sampled_from(RECORDED)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from("scdi")):
            case "s" if data:
                data[at] = draw(st.sampled_from([0, 1, 0x7F, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF]))
            case "c":
                del data[at:]
            case "d":
                data[at:at] = data[at : at + 8]
            case _:
                data[at:at] = draw(st.binary(max_size=9))
    return bytes(data)


@given(st.one_of(st.binary(max_size=200), spoiled()))
def test_any_bytes_parse_or_are_malformed(data: bytes) -> None:
    for parser in PARSERS:
        try:
            parser(data)
        except MalformedPacket:
            continue


@given(st.lists(st.one_of(st.none(), st.binary(max_size=300)), max_size=20))
def test_text_rows_round_trip(row: list[bytes | None]) -> None:
    assert parse_text_row(text_row(row)) == row
