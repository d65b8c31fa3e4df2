"""Capability flags, exchanged in the handshake (MySQL "Capabilities Flags" page).

A flag changes how later packets are laid out, so both sides work with the intersection of what the
server announced and what the client asked for.
"""

from enum import IntFlag


class Capability(IntFlag):
    """`CLIENT_*` of the manual, without the prefix. Width: 32 bits."""

    LONG_PASSWORD = 1 << 0  # MariaDB calls this bit CLIENT_MYSQL: unset means "I speak MariaDB's extensions"
    FOUND_ROWS = 1 << 1  # affected rows counts matched rows, not changed ones
    LONG_FLAG = 1 << 2
    CONNECT_WITH_DB = 1 << 3
    NO_SCHEMA = 1 << 4
    COMPRESS = 1 << 5
    ODBC = 1 << 6
    LOCAL_FILES = 1 << 7
    IGNORE_SPACE = 1 << 8
    PROTOCOL_41 = 1 << 9
    INTERACTIVE = 1 << 10
    SSL = 1 << 11
    IGNORE_SIGPIPE = 1 << 12
    TRANSACTIONS = 1 << 13
    RESERVED = 1 << 14
    SECURE_CONNECTION = 1 << 15  # CLIENT_RESERVED2 in recent headers
    MULTI_STATEMENTS = 1 << 16
    MULTI_RESULTS = 1 << 17
    PS_MULTI_RESULTS = 1 << 18
    PLUGIN_AUTH = 1 << 19
    CONNECT_ATTRS = 1 << 20
    PLUGIN_AUTH_LENENC = 1 << 21
    CAN_HANDLE_EXPIRED_PASSWORDS = 1 << 22
    SESSION_TRACK = 1 << 23
    DEPRECATE_EOF = 1 << 24
    OPTIONAL_RESULTSET_METADATA = 1 << 25
    ZSTD_COMPRESSION = 1 << 26
    QUERY_ATTRIBUTES = 1 << 27
    MULTI_FACTOR_AUTHENTICATION = 1 << 28
    CAPABILITY_EXTENSION = 1 << 29
    SSL_VERIFY_SERVER_CERT = 1 << 30
    REMEMBER_OPTIONS = 1 << 31


COMPRESSION = Capability.COMPRESS | Capability.ZSTD_COMPRESSION

# What a listener announces. SESSION_TRACK: clients are told what one server would tell them, and peers all; without it
# some drivers (mysql2) misread an OK packet's text. SSL is added when the listener has a certificate, COMPRESSION where
# it is not switched off, QUERY_ATTRIBUTES when all servers know them.
SERVER_CAPABILITIES = (
    Capability.LONG_PASSWORD
    | Capability.FOUND_ROWS
    | Capability.LONG_FLAG
    | Capability.CONNECT_WITH_DB
    | Capability.LOCAL_FILES
    | Capability.PROTOCOL_41
    | Capability.TRANSACTIONS
    | Capability.SECURE_CONNECTION
    | Capability.PLUGIN_AUTH
    | Capability.PLUGIN_AUTH_LENENC
    | Capability.CONNECT_ATTRS
    | Capability.MULTI_STATEMENTS
    | Capability.MULTI_RESULTS
    | Capability.PS_MULTI_RESULTS
    | Capability.SESSION_TRACK
    | Capability.DEPRECATE_EOF
)

PEER_SERVER_CAPABILITIES = SERVER_CAPABILITIES & ~Capability.MULTI_STATEMENTS

# What a connection towards a backend asks for, before what its pool's class adds.
BACKEND_CAPABILITIES = (
    Capability.LONG_PASSWORD
    | Capability.LONG_FLAG
    | Capability.LOCAL_FILES
    | Capability.PROTOCOL_41
    | Capability.TRANSACTIONS
    | Capability.SECURE_CONNECTION
    | Capability.PLUGIN_AUTH
    | Capability.PLUGIN_AUTH_LENENC
    | Capability.CONNECT_ATTRS
    | Capability.MULTI_RESULTS
    | Capability.PS_MULTI_RESULTS
    | Capability.SESSION_TRACK
)
