"""The words that a configuration may choose from, one enumeration each."""

from __future__ import annotations

from enum import StrEnum


class Flavour(StrEnum):
    """What kind of server a shard is; decides GTID syntax, lexing of version comments, read-only probes."""

    MARIADB = "mariadb"
    MYSQL = "mysql"


class SocketAccess(StrEnum):
    """Who may connect to a Unix socket."""

    OWNER = "owner"
    GROUP = "group"
    EVERYONE = "everyone"


class TlsMode(StrEnum):
    """How a connection to a server is protected, in the words of MySQL's `--ssl-mode`."""

    DISABLED = "disabled"
    PREFERRED = "preferred"
    REQUIRED = "required"
    VERIFY = "verify"


class TlsVersion(StrEnum):
    """The lowest TLS version that is spoken."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


class Consistency(StrEnum):
    """Where reads outside transactions may go."""

    PRIMARY = "primary"
    SESSION = "session"
    EVENTUAL = "eventual"


class SessionScope(StrEnum):
    """Whose writes `consistency: session` promises to read back."""

    CONNECTION = "connection"
    USER = "user"


class MultiShardWrites(StrEnum):
    """What happens to a statement, or a transaction, that writes to several shards."""

    ATOMIC = "atomic"
    BEST_EFFORT = "best_effort"
    REFUSE = "refuse"


class KeyChanges(StrEnum):
    """What happens to an UPDATE that gives a row the shard key of another shard."""

    MOVE = "move"
    REFUSE = "refuse"


class ExplicitIds(StrEnum):
    """What happens to a value for a column whose ids Fairlead gives."""

    REFUSE = "refuse"
    ALLOW = "allow"


class LookupState(StrEnum):
    """How far a lookup is."""

    BUILDING = "building"
    READY = "ready"


class Scatter(StrEnum):
    """What happens to a read that has to ask several shards."""

    ALLOW = "allow"
    WARN = "warn"
    REFUSE = "refuse"


class AuthPlugin(StrEnum):
    """The authentication methods of MySQL clients that Fairlead speaks."""

    CACHING_SHA2 = "caching_sha2_password"
    NATIVE = "mysql_native_password"


class AdminRole(StrEnum):
    """What an account of the admin console may do."""

    VIEWER = "viewer"
    ADMIN = "admin"


class Hint(StrEnum):
    """The keys of hint comments, `/* fairlead: key=value */`."""

    SHARD = "shard"
    CONSISTENCY = "consistency"
    MAX_LAG = "max_lag"
    SCATTER = "scatter"


class Failover(StrEnum):
    """Where rows of a class may be taken over when their region is lost."""

    WITHIN_DOMAIN = "within_domain"
    REFUSE = "refuse"


class Operation(StrEnum):
    """What a subject does with data."""

    READ = "read"
    WRITE = "write"


class Mask(StrEnum):
    """How a value is replaced; docs/compliance.md says what each still reveals, and of which types."""

    NULL = "null"
    CONSTANT = "constant"
    ZERO = "zero"
    EMAIL = "email"
    FIRST1 = "first1"
    LAST4 = "last4"
    YEAR = "year"
    MONTH = "month"


class StoreKind(StrEnum):
    """What a place is that keeps data besides the shards' servers."""

    BACKUP = "backup"
    LOG = "log"
    AUDIT = "audit"
class RedisAccess(StrEnum):
    """What a user may do through a Redis listener."""

    NONE = "none"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class KeyAction(StrEnum):
    """What happens to the keys of a pattern."""

    ALLOW = "allow"
    REFUSE = "refuse"


class UnmatchedKeys(StrEnum):
    """What happens to keys that no pattern knows."""

    REFUSE = "refuse"
    LOCAL = "local"


class OtherRegions(StrEnum):
    """What happens to Redis keys whose home is another region."""

    SPLIT = "split"
    SINGLE = "single"
    REFUSE = "refuse"


class AuditMode(StrEnum):
    """What a statement waits for that leaves a decision record."""

    OFF = "off"
    ON = "on"
    STRICT = "strict"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class Verb(StrEnum):
    """What a grant allows; MySQL's privilege names with `_` for the space.

    `all` is every verb but `admin`, which is server administration (SET GLOBAL, KILL of others, FLUSH,
    SHUTDOWN, CREATE USER …) and counts only in a grant on `*.*`.
    """

    ALL = "all"
    SELECT = "select"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    CREATE = "create"
    ALTER = "alter"
    DROP = "drop"
    INDEX = "index"
    REFERENCES = "references"
    TRIGGER = "trigger"
    EVENT = "event"
    EXECUTE = "execute"
    LOCK_TABLES = "lock_tables"
    SHOW_VIEW = "show_view"
    CREATE_VIEW = "create_view"
    CREATE_ROUTINE = "create_routine"
    ALTER_ROUTINE = "alter_routine"
    CREATE_TEMPORARY_TABLES = "create_temporary_tables"
    ADMIN = "admin"
