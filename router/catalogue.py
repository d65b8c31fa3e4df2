"""The entries of the error catalogue: data only. `router/errors.py` reads it.

Ids: FL1xxx routing, FL2xxx privileges (FL21xx the policy), FL3xxx sessions and transactions, FL4xxx backends, peers
and limits, FL5xxx schema, FL6xxx the admin console. An id is never given a second meaning; a retired one stays retired.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """`text` says what is refused and why in one line, `{0}`… filled at the site; `why` is the manual's
    paragraph;
    `remedy` is both the second sentence of the wire text and the manual's advice."""

    name: str
    id: str
    errno: int
    sqlstate: str
    text: str
    why: str
    remedy: str


# MySQL's errnos with their SQLSTATEs, by the server's own names (mysqld_error.txt).
NOT_SUPPORTED_YET = (1235, "42000")
SPECIFIC_ACCESS_DENIED = (1227, "42000")
TABLEACCESS_DENIED = (1142, "42000")
DBACCESS_DENIED = (1044, "42000")
ACCESS_DENIED = (1045, "28000")
NO_DB = (1046, "3D000")
BAD_DB = (1049, "42000")
NO_SUCH_TABLE = (1146, "42S02")
BAD_FIELD = (1054, "42S22")
NON_UNIQ = (1052, "23000")
PARSE_ERROR = (1064, "42000")
EMPTY_QUERY = (1065, "42000")
WRONG_VALUE_COUNT = (1136, "21S01")
UNKNOWN_SYSTEM_VARIABLE = (1193, "HY000")
BAD_NULL = (1048, "23000")
WRONG_VALUE = (1366, "HY000")
WRONG_VALUE_FOR_VAR = (1231, "42000")
UNKNOWN_COM = (1047, "08S01")
UNKNOWN_STMT_HANDLER = (1243, "HY000")
WRONG_ARGUMENTS = (1210, "HY000")
STMT_HAS_NO_OPEN_CURSOR = (1421, "HY000")
CON_COUNT = (1040, "08004")
USER_LIMIT = (1226, "42000")
SERVER_SHUTDOWN = (1053, "08S01")
PACKET_TOO_LARGE = (1153, "08S01")
PACKETS_OUT_OF_ORDER = (1156, "08S01")
MALFORMED_PACKET = (1835, "HY000")
NET_READ_INTERRUPTED = (1159, "08S01")
NET_READ_ERROR = (1158, "08S01")
SECURE_TRANSPORT_REQUIRED = (3159, "HY000")
LOCK_WAIT_TIMEOUT = (1205, "HY000")
DEADLOCK = (1213, "40001")
READ_ONLY_TRANSACTION = (1792, "25006")
SAVEPOINT_MISSING = (1305, "42000")
TRANSACTION_CHARACTERISTICS = (1568, "25001")
UNKNOWN_ERROR = (1105, "HY000")
NO_SUCH_THREAD = (1094, "HY000")
KILL_DENIED = (1095, "HY000")
LOCAL_FILES_DISABLED = (3948, "42000")
QUERY_INTERRUPTED = (1317, "70100")
TOO_BIG_SELECT = (1104, "42000")
HOST_IS_BLOCKED = (1129, "HY000")
QUERY_TIMEOUT = (3024, "HY000")
OPTION_PREVENTS = (1290, "HY000")
UNSUPPORTED_PS = (1295, "HY000")
OUT_OF_RESOURCES = (1041, "HY000")
XA_OUTCOME = (1402, "XA100")
NONUPDATEABLE = (1288, "HY000")


def _entry(name: str, number: int, code: tuple[int, str], text: str, why: str, remedy: str) -> Entry:
    return Entry(name, f"FL{number}", code[0], code[1], text, why, remedy)


# One line for what is looked up, one for each text.
# fmt: off
_STATEMENTS = (
    _entry(
        "EMPTY_STATEMENT", 1001, EMPTY_QUERY,
        "the statement is empty",
        "The text holds nothing but white space; a server says the same.",
        "Send a statement.",
    ),
    _entry(
        "NOT_UNDERSTOOD", 1002, PARSE_ERROR,
        "this statement cannot be parsed, and keyspace {0} is sharded: {1}",
        "On a sharded keyspace a statement must be understood before it can be routed. An unsharded "
        "keyspace passes "
        "any statement as it is.",
        "Check the syntax; if MySQL accepts it, rewrite it in plainer SQL.",
    ),
    _entry(
        "UNTERMINATED", 1003, PARSE_ERROR,
        "a string, a quoted name or a comment is not closed",
        "What follows an open quote cannot be told from code.",
        "Close it; if the text looks right, check sql_mode (ANSI_QUOTES, NO_BACKSLASH_ESCAPES) and the "
        "charset.",
    ),
    _entry(
        "NUL_BYTE", 1004, PARSE_ERROR,
        "the statement holds a NUL byte outside of a string",
        "Servers differ in what they do with it, so it could hide code.",
        "Remove the byte.",
    ),
    _entry(
        "TOO_LARGE_TO_PLAN", 1005, NOT_SUPPORTED_YET,
        "this statement has too many different parts for a sharded keyspace: {0}",
        "A statement is planned by its text without literals, which is bounded (64 KiB, 1,024 literals "
        "after lists and "
        "rows of the same shape are folded).",
        "Send it in smaller parts, or with rows of one shape.",
    ),
    _entry(
        "MULTI_STATEMENT", 1006, NOT_SUPPORTED_YET,
        "several statements in one text",
        "The client did not say when it connected that it sends several (CLIENT_MULTI_STATEMENTS), or the text has "
        "16 MiB or more.",
        "Send one statement at a time, or connect with allowMultiQueries, multiStatements or as your driver calls it.",
    ),
    _entry(
        "UNSAFE_CHARSET", 1007, NOT_SUPPORTED_YET,
        "client character set {0} can hide quotes in its letters",
        "In gbk, big5, sjis, cp932, gb18030 and the two- and four-byte Unicode sets a byte of a letter can "
        "look like "
        "a quote or a backslash, so the statement cannot be read safely.",
        "Use utf8mb4 (SET NAMES utf8mb4).",
    ),
    _entry(
        "VERSION_COMMENT", 1008, NOT_SUPPORTED_YET,
        "{0} is code on some servers and a comment on others",
        "A conditional comment is executed or skipped by the server's version; the route must hold for both.",
        "Write the code without the conditional comment.",
    ),
    _entry(
        "STATEMENT_KIND", 1009, NOT_SUPPORTED_YET,
        "{0} is not supported on sharded keyspace {1}",
        "This kind of statement has no route over shards yet.",
        "Run it on an unsharded keyspace, or directly on the servers.",
    ),
    _entry(
        "HINT_UNKNOWN", 1010, WRONG_ARGUMENTS,
        "hint '{0}' is not known",
        "An unread hint would silently widen the statement.",
        "Known hints are {1}.",
    ),
    _entry(
        "HINT_VALUE", 1011, WRONG_ARGUMENTS,
        "hint '{0}' has a wrong value: {1}",
        "An unread hint would silently widen the statement.",
        "Correct the hint.",
    ),
    _entry(
        "HINT_SHARD", 1012, WRONG_ARGUMENTS,
        "hint shard={0} names no shard of keyspace {1}",
        "A hint narrows a statement to one of its keyspace's shards.",
        "The shards are {2}.",
    ),
    _entry(
        "HINT_DENIED", 1014, SPECIFIC_ACCESS_DENIED,
        "hint {0} is not allowed to user '{1}'",
        "users.<name>.hints lists the hints that the user may give.",
        "Remove the hint, or allow it.",
    ),
    _entry(
        "MALFORMED", 1015, PARSE_ERROR,
        "the statement cannot be read as one clear sequence of words and literals",
        "Servers would not all read this text alike, or none would take it; a literal that is code to a "
        "server would "
        "be a hole.",
        "Check the quotes, comments and control characters in it.",
    ),
    _entry(
        "STATEMENT_FORM", 1016, NOT_SUPPORTED_YET,
        "{0} of this form is not supported: {1}",
        "Statements about the session are answered by Fairlead itself, which must know what they ask for.",
        "Use the common form of the statement.",
    ),
    _entry(
        "HINT_SHARD_WRITE", 1013, NOT_SUPPORTED_YET,
        "hint shard={0} on {1}: rows go where their keys say",
        "A hint may narrow a read, an UPDATE, a DELETE or DDL to one shard, but it may not place a row "
        "where its key "
        "does not route to.",
        "Remove the hint.",
    ),
)

_TABLES = (
    _entry(
        "NO_DATABASE", 1101, NO_DB,
        "no database selected",
        "The statement names a table without a database, and the session has none.",
        "Say USE, or name the database in the connection or the table.",
    ),
    _entry(
        "UNKNOWN_DATABASE", 1102, BAD_DB,
        "unknown database '{0}'",
        "Databases are the keyspaces of the configuration.",
        "Declare it under keyspaces:, or check the name.",
    ),
    _entry(
        "UNKNOWN_TABLE", 1103, NO_SUCH_TABLE,
        "table '{0}.{1}' is not declared",
        "On a sharded keyspace every table is declared: how its rows are spread cannot be guessed.",
        "Declare it under keyspaces.{0}.tables as sharded, reference or pinned.",
    ),
    _entry(
        "MISSING_TABLE", 1104, NO_SUCH_TABLE,
        "table '{0}.{1}' is declared but the servers do not have it",
        "The live schema of the keyspace's shards has no such table.",
        "Create it on every shard, or correct the declaration.",
    ),
    _entry(
        "VIEW", 1105, NOT_SUPPORTED_YET,
        "'{0}.{1}' is a view on a sharded keyspace",
        "A view hides the tables that decide the route.",
        "Write its query out over the base tables.",
    ),
    _entry(
        "SYSTEM_SCHEMA", 1107, NOT_SUPPORTED_YET,
        "{0} cannot be read over a sharded keyspace: {1}",
        "Views of names, types and sizes are put together from all shards; the session's own connection and what goes "
        "on in a server are not.",
        "Read schema metadata with a condition table_schema = '<keyspace>', or say shard= in a hint.",
    ),
    _entry(
        "TWO_KEYSPACES", 1108, NOT_SUPPORTED_YET,
        "the statement joins keyspaces {0} that share no shard",
        "Tables of different keyspaces meet only when they live on the same shard.",
        "Query each keyspace on its own.",
    ),
    _entry(
        "PINNED_ELSEWHERE", 1109, NOT_SUPPORTED_YET,
        "pinned tables {0} live on different shards",
        "Pinned tables of one statement must live together.",
        "Query them one by one, or pin them to one shard.",
    ),
    _entry(
        "PINNED_WITH_SHARDED", 1110, NOT_SUPPORTED_YET,
        "pinned table {0} is joined with sharded table {1}",
        "The rows of a sharded table are not all where the pinned table is.",
        "Query them one by one, or make {0} a reference table.",
    ),
    _entry(
        "SHOW_KIND", 1111, NOT_SUPPORTED_YET,
        "SHOW {0} is not supported on sharded keyspace {1}",
        "Its answer differs from shard to shard.",
        "Name one shard with a hint: /* fairlead: shard=… */.",
    ),
)

_READS = (
    _entry(
        "NOT_PINNED", 1201, NOT_SUPPORTED_YET,
        "{0} over several shards needs merging: {1}",
        "The shard key is not fixed by the WHERE clause, and putting the shards' answers together takes "
        "more than "
        "concatenating rows.",
        "Fix the shard key with = or IN, or name one shard with a hint.",
    ),
    _entry(
        "SCATTER_REFUSED", 1202, NOT_SUPPORTED_YET,
        "this read goes to several shards, which {0} refuses",
        "keyspaces.<name>.scatter is refuse, or a hint says scatter=refuse.",
        "Fix the shard key with = or IN, set scatter: allow, or say /* fairlead: scatter=ok */ where it is "
        "allowed.",
    ),
    _entry(
        "SCATTER_WARNED", 1230, NOT_SUPPORTED_YET,
        "this read went to {0} shards",
        "keyspaces.<name>.scatter is warn. The statement was answered; this is a warning in SHOW WARNINGS, no error.",
        "Fix the shard key with = or IN, or say /* fairlead: scatter=ok */ if it is meant.",
    ),
    _entry(
        "FAN_OUT", 1231, NOT_SUPPORTED_YET,
        "this statement goes to {0} shards, more than fan_out: {1} of keyspace {2}",
        "Every further shard makes a statement slower, and more likely to fail.",
        "Fix more of the shard key with = or IN, raise fan_out, or say /* fairlead: scatter=ok */ where it is allowed.",
    ),
    _entry(
        "CROSS_SHARD_JOIN", 1203, NOT_SUPPORTED_YET,
        "tables {0} and {1} are not joined on their shard keys",
        "Rows that match could live on different shards.",
        "Join on all shard-key columns of tables that share a vindex, or fix both keys to the same value.",
    ),
    _entry(
        "OUTER_REFERENCE", 1204, NOT_SUPPORTED_YET,
        "reference table {0} is the outer side of a join with sharded table {1}",
        "Every shard would give its own unmatched rows of the reference table.",
        "Fix the shard key, or turn the join round.",
    ),
    _entry(
        "CROSS_SHARD_SUBQUERY", 1205, NOT_SUPPORTED_YET,
        "a subquery over sharded table {0} is not fixed to the shard of the statement",
        "The subquery could need rows of other shards.",
        "Fix the shard key in the subquery and outside of it to the same value, or send two statements.",
    ),
    _entry(
        "CROSS_SHARD_UNION", 1206, NOT_SUPPORTED_YET,
        "the arms of this UNION are not fixed to one shard",
        "Arms of different shards would have to be merged.",
        "Fix the shard key of every arm to the same value, or send the arms one by one.",
    ),
    _entry(
        "LOCKING_SCATTER", 1207, NOT_SUPPORTED_YET,
        "a locking read over several shards of a set operation, or beside a reference table",
        "Each shard would lock its own copy of a reference table, where two sessions do not meet; and the arms of a "
        "set operation lock as each of them says.",
        "Fix the shard key with =, or lock the tables by statements of their own.",
    ),
    _entry(
        "UNSTABLE_FUNCTION", 1208, NOT_SUPPORTED_YET,
        "{0} in a statement for several shards",
        "Each shard would compute its own value.",
        "Compute the value first and send it as a literal or a parameter.",
    ),
    _entry(
        "LOCAL_FUNCTION", 1209, NOT_SUPPORTED_YET,
        "{0} inside of a larger statement",
        "The backend connection is shared: its user, connection id and row counts are not the client's.",
        "Ask for {0} in a SELECT of its own and send the value.",
    ),
    _entry(
        "USER_VARIABLE_SCATTER", 1210, NOT_SUPPORTED_YET,
        "user variables in a statement for several shards",
        "A user variable lives on one connection.",
        "Send the value as a literal or a parameter.",
    ),
    _entry(
        "SELECT_INTO", 1211, NOT_SUPPORTED_YET,
        "SELECT … INTO variables over several shards",
        "A user variable lives on one connection.",
        "Fix the shard key, or read the rows.",
    ),
    _entry(
        "KEY_TYPE", 1213, WRONG_VALUE,
        "a value for shard key {0} cannot be compared as the server would: {1}",
        "The value is converted as the server converts it before it is hashed; where the conversion is not "
        "certain "
        "(accents, fractions, mixed types), the row could be missed.",
        "Send the value in the column's own type.",
    ),
    _entry(
        "MERGE_FORM", 1219, NOT_SUPPORTED_YET,
        "this statement over several shards is not merged: {0}",
        "Its clauses cannot be told apart for certain, so what shards would have to be asked besides is not known.",
        "Write it in a plainer form, or fix the shard key.",
    ),
    _entry(
        "MERGE_TYPE", 1220, NOT_SUPPORTED_YET,
        "values of {0} cannot be compared outside of a server",
        "JSON, spatial values, vectors and values of unusual types compare by rules that only a server knows, so rows "
        "of several shards cannot be ordered, grouped or made distinct by them.",
        "Order or group by another column or by a part of it, or fix the shard key.",
    ),
    _entry(
        "MERGE_COLLATION", 1221, NOT_SUPPORTED_YET,
        "text in collation {0} cannot be compared outside of a server",
        "Shards give the weights of the text, and how weights of this collation compare is not known here.",
        "Compare in another collation (COLLATE), or fix the shard key.",
    ),
    _entry(
        "DISTINCT_ORDER", 1222, NOT_SUPPORTED_YET,
        "SELECT DISTINCT over several shards is ordered by what is not selected",
        "Of equal rows any may be the one that stays, and then the order of the others' values is arbitrary; MySQL "
        "refuses it too (ONLY_FULL_GROUP_BY).",
        "Select what it is ordered by.",
    ),
    _entry(
        "MERGE_LIMIT", 1223, WRONG_ARGUMENTS,
        "LIMIT takes whole numbers",
        "A LIMIT that is merged must be known to this Fairlead: a number without a sign, or a parameter that is one.",
        "Send the limit as a whole number.",
    ),
    _entry(
        "MERGE_ROW", 1224, NOT_SUPPORTED_YET,
        "a row of 16 MB or more cannot be merged with those of other shards",
        "Such a row comes in several packets, and merging looks at whole rows.",
        "Select less of it, or fix the shard key.",
    ),
    _entry(
        "AGGREGATE_SCATTER", 1225, NOT_SUPPORTED_YET,
        "{0} over several shards is not put together",
        "The shards' values of this aggregate do not add up to one server's.",
        "Aggregate by something that can be put together, or fix the shard key.",
    ),
    _entry(
        "AGGREGATE_EXPRESSION", 1226, NOT_SUPPORTED_YET,
        "an expression over aggregates of several shards: {0}",
        "The aggregates are known only when the shards' parts have been put together. Then a shard computes the "
        "expression from their values, but here it would not be certain to come to one server's result.",
        "Select the aggregates themselves and compute with them in the application.",
    ),
    _entry(
        "SUBQUERY_ROWS", 1241, OUT_OF_RESOURCES,
        "a subquery about other shards' rows gives more than {0}",
        "It is run first, and its values are put into the statement, within limits.subquery_rows and "
        "limits.merge_memory.",
        "Filter more in the subquery, raise the limit, or send two statements.",
    ),
    _entry(
        "SUBQUERY_VALUE", 1242, NOT_SUPPORTED_YET,
        "a subquery about other shards' rows gives values that cannot stand in the statement: {0}",
        "It is run first, and its values are put into the statement. Numbers, dates, times and binary strings mean the "
        "same there; text only where it is compared with a column of its own collation, in a session of utf8mb4.",
        "Compare it with a column of the same collation, or send two statements.",
    ),
    _entry(
        "COMPUTE_DOMAINS", 1240, NOT_SUPPORTED_YET,
        "an expression over aggregates of shards in several legal domains: {0}",
        "A shard would compute the expression, and for that it would get values of other legal domains.",
        "Select the aggregates themselves and compute with them in the application, or ask each domain.",
    ),
    _entry(
        "ROLLUP_SCATTER", 1227, NOT_SUPPORTED_YET,
        "WITH ROLLUP over several shards",
        "Super-aggregate rows of shards would have to be told apart from groups of NULL.",
        "Ask for the sums by statements of their own, or fix the shard key.",
    ),
    _entry(
        "WINDOW_SCATTER", 1228, NOT_SUPPORTED_YET,
        "a window function over rows of several shards",
        "A window is computed by the server that has all its rows.",
        "Partition by the shard key, or fix it.",
    ),
    _entry(
        "MERGE_MEMORY", 1229, OUT_OF_RESOURCES,
        "merging would keep more than {0}, the limit of {1}",
        "Groups and distinct values of several shards are kept here until the last shard has answered, within a limit "
        "for each statement (limits.merge_memory) and one for all of a worker (limits.merge_memory_worker).",
        "Group by less, filter more, or raise the limit.",
    ),
    _entry(
        "SCRATCH_FORM", 1250, NOT_SUPPORTED_YET,
        "this statement is not finished by a scratch server: {0}",
        "Rows of several shards are loaded into temporary tables that stand in the text for the tables it names; in "
        "this form that is not known to give what one server would.",
        "Write it in a plainer form, or fix the shard key.",
    ),
    _entry(
        "SCRATCH_TYPE", 1251, NOT_SUPPORTED_YET,
        "column {0} of table {1} is not loaded into a scratch server: {2}",
        "Values must arrive there bit by bit as they are on their shard, and for values of this type that is not sure.",
        "Leave the column out of the statement, or fix the shard key.",
    ),
    _entry(
        "SCRATCH_LIMIT", 1252, OUT_OF_RESOURCES,
        "more than {0} would be loaded into a scratch server, the limit of {1}",
        "Rows that a read needs of several shards are loaded into a server that finishes it, within limits for each "
        "statement (limits.scratch_bytes, limits.scratch_rows) and for all of a worker (limits.scratch_bytes_worker).",
        "Filter more, select fewer columns, or raise the limit.",
    ),
    _entry(
        "SCRATCH_FAILED", 1253, UNKNOWN_ERROR,
        "scratch server {0} did not take the rows of this statement: {1}",
        "The account needs CREATE TEMPORARY TABLES there, and the server must be up and take the tables' definitions.",
        "Mend what the server says, or fix the shard key.",
    ),
    _entry(
        "SCRATCH_BINLOG", 1254, OPTION_PREVENTS,
        "scratch server {0} would write the rows of temporary tables to its binary log",
        "With binlog_format MIXED or STATEMENT, what is loaded into temporary tables goes to replicas as well.",
        "Set binlog_format=ROW on that server.",
    ),
    _entry(
        "SCRATCH_POLICY", 1255, NOT_SUPPORTED_YET,
        "under the policy, a scratch server does not finish this statement: {0}",
        "What is loaded there is what the policy lets the user see of each shard's rows; in this form that is not "
        "known to give what it should.",
        "Leave the column out of the statement, or fix the shard key.",
    ),
    _entry(
        "SCRATCH_BUSY", 1256, OUT_OF_RESOURCES,
        "{0} statements are being finished by scratch servers",
        "limits.scratch_statements run at once in a worker, and others wait no longer than limits.queue_wait.",
        "Send it again later, or raise the limit.",
    ),
    _entry(
        "EXPLAIN_SCATTER", 1214, NOT_SUPPORTED_YET,
        "EXPLAIN of a statement for several shards: {0}",
        "Each shard tells the plan of what it is asked, and nothing is carried out that writes.",
        "Use EXPLAIN ROUTE for the route, or fix the shard key or the shard.",
    ),
    _entry(
        "NOT_SAME_SHARD", 1215, NOT_SUPPORTED_YET,
        "the shard keys of this statement lead to different shards: {0}",
        "The statement was planned for one shard; with these values it would need several.",
        "Send one statement per shard key.",
    ),
    _entry(
        "UNKNOWN_FUNCTION_SCATTER", 1216, NOT_SUPPORTED_YET,
        "stored function {0} on sharded keyspace {1}",
        "A stored function may read or write any table of its shard.",
        "Fix the shard with a hint, or compute the value in the application.",
    ),
    _entry(
        "VALUE_OUTSIDE", 1217, WRONG_VALUE,
        "a value of shard key {0} has no shard: {1}",
        "The vindex maps no range, list entry or region to this value.",
        "Extend the vindex in the configuration, or correct the value.",
    ),
)

_WRITES = (
    _entry(
        "MULTI_SHARD_WRITE", 1301, NOT_SUPPORTED_YET,
        "{0} would change rows on several shards",
        "multi_shard_writes of the keyspace is refuse.",
        "Fix the shard key to one shard, or set multi_shard_writes: atomic for the keyspace.",
    ),
    _entry(
        "MULTI_SHARD_INSERT", 1302, NOT_SUPPORTED_YET,
        "the rows of this {0} belong to several shards",
        "multi_shard_writes of the keyspace is refuse, or the values assign shard keys.",
        "Send one statement per shard, or set multi_shard_writes: atomic for the keyspace.",
    ),
    _entry(
        "ROW_SHAPES", 1327, NOT_SUPPORTED_YET,
        "the rows of this {0} have different shapes and belong to several shards",
        "Rows are split by copying their text, which takes rows of one shape: literals, parameters and NULL "
        "in the "
        "same places.",
        "Send rows of one shape, or one statement per shard.",
    ),
    _entry(
        "KEY_MISSING", 1303, BAD_NULL,
        "INSERT without shard key {0} of table {1}",
        "The row's shard is computed from this column.",
        "Give the column a value.",
    ),
    _entry(
        "KEY_AUTO_INCREMENT", 1304, NOT_SUPPORTED_YET,
        "shard key {0} of table {1} is left to AUTO_INCREMENT",
        "Each shard would count on its own, and the shard must be known before the number is.",
        "Give the table auto_increment in the configuration, or generate the id in the application and send it.",
    ),
    _entry(
        "AUTO_INCREMENT", 1326, NOT_SUPPORTED_YET,
        "AUTO_INCREMENT column {0} of sharded table {1} is left to the servers, and key {2} lacks the shard "
        "key",
        "Each shard counts on its own, so the same number would be given on several shards.",
        "Give the table auto_increment in the configuration, send ids of the application's own, or add the shard key "
        "to the unique key.",
    ),
    _entry(
        "AUTO_INCREMENT_EXPLICIT", 1330, NOT_SUPPORTED_YET,
        "a value for {0}, whose ids in table {1} Fairlead gives",
        "The id could be one that is about to be given to another row, on another shard.",
        "Leave the column out, or set auto_increment.explicit: allow and keep out of the sequence's way.",
    ),
    _entry(
        "AUTO_INCREMENT_VALUE", 1331, NOT_SUPPORTED_YET,
        "{0} of table {1}, whose ids Fairlead gives, is given {2}",
        "Only the server could say whether the value is one, or asks for an id.",
        "Leave the column out, or send NULL.",
    ),
    _entry(
        "AUTO_INCREMENT_SELECT", 1332, NOT_SUPPORTED_YET,
        "{0} … SELECT into table {1}, whose ids Fairlead gives",
        "How many ids are needed is only known once the rows have been read.",
        "Read the rows and insert them.",
    ),
    _entry(
        "AUTO_INCREMENT_UPSERT", 1333, NOT_SUPPORTED_YET,
        "IGNORE or ON DUPLICATE KEY UPDATE over several rows of table {0}, whose ids Fairlead gives",
        "The insert id is that of the first row that is new, which only the server knows.",
        "Send the rows one by one.",
    ),
    _entry(
        "AUTO_INCREMENT_ELSEWHERE", 1334, NOT_SUPPORTED_YET,
        "the ids of table {0} are not given in region {1}, but in {2}",
        "A sequence is counted on a shard that only the Fairlead of its region connects to.",
        "Insert there, or use auto_increment.kind: region with a shard for every region.",
    ),
    _entry(
        "LOOKUP_UNFIT", 1350, NOT_SUPPORTED_YET,
        "lookup {0} of table {1} cannot be kept in step: {2}",
        "A write that leaves a lookup behind would make reads miss rows. Reads do without the lookup meanwhile.",
        "Mend what is named, or take the lookup out of the configuration.",
    ),
    _entry(
        "LOOKUP_FORM", 1351, NOT_SUPPORTED_YET,
        "{0} of table {1}, which has lookups: {2}",
        "Lookups are kept in step by looking at the rows before and behind the change, which have to be known by "
        "their keys.",
        "Write the statement in a plainer form: rows with literal keys, one table, no change of its keys.",
    ),
    _entry(
        "LOOKUP_VALUE", 1352, NOT_SUPPORTED_YET,
        "this value of {0} in table {1} cannot be looked up: {2}",
        "The shard of an entry is computed from the value, and values that the column finds equal must meet there.",
        "Use a column whose collation compares by bytes (utf8mb4_bin), or keep to printable ASCII.",
    ),
    _entry(
        "LOOKUP_ROWS", 1353, OUT_OF_RESOURCES,
        "the statement changes more than {0} rows of a table with lookups",
        "The rows are held in memory until the lookups are in step (limits.lookup_rows).",
        "Change fewer rows at a time.",
    ),
    _entry(
        "LOOKUP_MOVED", 1354, LOCK_WAIT_TIMEOUT,
        "the statement did not change the rows of table {0} that it was seen to be about; it was undone",
        "Its condition gave other rows when it was carried out than a moment before, or a row was not stored as "
        "written.",
        "Send it again; write the keys and the condition as plain values.",
    ),
    _entry(
        "LOOKUP_TABLE", 1355, TABLEACCESS_DENIED,
        "table {0} belongs to a lookup",
        "Fairlead alone reads and writes it: other changes would let it and the rows disagree.",
        "Read and write the table that the lookup is of.",
    ),
    _entry(
        "KEY_NULL", 1305, BAD_NULL,
        "shard key {0} is NULL in an INSERT",
        "A row without a shard key has no shard.",
        "Give the column a value.",
    ),
    _entry(
        "KEY_EXPRESSION", 1306, NOT_SUPPORTED_YET,
        "shard key {0} of table {1} is {2} in an INSERT",
        "The row's shard is computed from the value, which must be a literal or a parameter.",
        "Compute the value first and send it as a literal or a parameter.",
    ),
    _entry(
        "KEY_UPDATE", 1307, NOT_SUPPORTED_YET,
        "{0} assigns shard key {1} of table {2}",
        "The row may have to go to another shard, which is found by the value: a literal or a parameter, one for all "
        "rows of the statement.",
        "Leave the column out, or compute the value first and send it as a literal or a parameter.",
    ),
    _entry(
        "KEY_MOVE", 1345, NOT_SUPPORTED_YET,
        "{0} gives rows of table {1} the shard key of another shard: {2}",
        "Such rows go to the other shard in one atomic transaction, where that leaves everything as one server would "
        "have it (docs/sql.md).",
        "Leave the column out; or insert the row anew and delete the old one.",
    ),
    _entry(
        "MOVED_LIMIT", 1346, OUT_OF_RESOURCES,
        "more than {0} would be carried from shard to shard, the limit of {1}",
        "Rows that change their shard, or are selected on one to be inserted on others, are in memory meanwhile, "
        "within limits.moved_rows and limits.moved_bytes for one statement and limits.merge_memory_worker for all of a "
        "worker.",
        "Write fewer rows at once, or raise the limit.",
    ),
    _entry(
        "COLUMNS_UNKNOWN", 1308, NOT_SUPPORTED_YET,
        "INSERT without a column list into {0}, and the live schema is not known",
        "Which value is the shard key depends on the order of the table's columns.",
        "Name the columns.",
    ),
    _entry(
        "COLUMN_COUNT", 1309, WRONG_VALUE_COUNT,
        "column count does not match value count of INSERT into {0}",
        "A server says the same.",
        "Give every column a value.",
    ),
    _entry(
        "INSERT_SELECT", 1310, NOT_SUPPORTED_YET,
        "{0} … SELECT into sharded table {1}: {2}",
        "Where each shard can insert what it reads, it does. Else the rows are read and then written in one atomic "
        "transaction, when that stores what one server would have stored (docs/sql.md).",
        "Select the source's shard key as the shard key of the new rows, fix it to the same value in the SELECT list "
        "and its WHERE clause, leave out what is named, or read and write in two steps.",
    ),
    _entry(
        "UNIQUE_WITHOUT_KEY", 1311, NOT_SUPPORTED_YET,
        "{0} into {1}: unique key {2} does not hold the shard key",
        "A conflicting row on another shard would not be seen, so the outcome would differ from one "
        "server's.",
        "Add the shard key to the unique key, or use a plain INSERT.",
    ),
    _entry(
        "REFERENCE_WRITE", 1312, NOT_SUPPORTED_YET,
        "{0} on reference table {1}",
        "It must change every copy, and multi_shard_writes is refuse.",
        "Set multi_shard_writes: atomic for the keyspace, or change the copies on their servers.",
    ),
    _entry(
        "REFERENCE_AUTO_INCREMENT", 1313, NOT_SUPPORTED_YET,
        "INSERT into reference table {0} without a value for AUTO_INCREMENT column {1}",
        "Each copy would count on its own.",
        "Give the column a value.",
    ),
    _entry(
        "WRITE_LIMIT", 1314, NOT_SUPPORTED_YET,
        "{0} with {1} over several shards",
        "Which rows are the first of all is asked in one atomic transaction, by a read of the same rows in the same "
        "order.",
        "Fix the shard key to one shard, or set multi_shard_writes: atomic for the keyspace, and leave out what is "
        "named.",
    ),
    _entry(
        "MULTI_TABLE_WRITE", 1315, NOT_SUPPORTED_YET,
        "{0} of several tables that is not fixed to one shard: {1}",
        "Each shard can change its rows by its own rows only: the tables have to be joined on the shard key.",
        "Fix the shard key, join on it, or send one statement per table.",
    ),
    _entry(
        "MIXED_WRITE", 1316, NOT_SUPPORTED_YET,
        "{0} changes reference table {1} together with others",
        "A reference table is changed on every shard, the others only on some.",
        "Send one statement per table.",
    ),
    _entry(
        "RETURNING_SCATTER", 1317, NOT_SUPPORTED_YET,
        "{0} … RETURNING over several shards",
        "Rows and counts of several shards would have to be merged.",
        "Fix the shard key to one shard.",
    ),
    _entry(
        "DDL", 1318, NOT_SUPPORTED_YET,
        "{0} on sharded keyspace {1}",
        "A change of schema must reach every shard, and MySQL cannot undo half of it.",
        "Run it once per shard with a hint: /* fairlead: shard=… */.",
    ),
    _entry(
        "DDL_FORM", 1340, NOT_SUPPORTED_YET,
        "a change of a sharded keyspace's schema with {0}",
        "Tables are changed on all their shards one at a time, by themselves: their names are those of the "
        "configuration, and what a foreign key, a query or a file means on each shard is another thing than on one "
        "server.",
        "Change one table's columns and indexes at a time, or run it once per shard with a hint: "
        "/* fairlead: shard=… */.",
    ),
    _entry(
        "DDL_DIFFERS", 1341, UNKNOWN_ERROR,
        "table {0} is not the same on {1}, and this statement does not lead from the one to the other",
        "A change goes on where an earlier one stopped: it is sent to those shards that it would bring to what the "
        "others have already. Here it would not.",
        "Bring the table into line, shard by shard with a hint (/* fairlead: shard=… */); SHOW CREATE TABLE with that "
        "hint tells how it is there.",
    ),
    _entry(
        "DDL_PARTIAL", 1342, UNKNOWN_ERROR,
        "table {0} was changed on {1} and not on {2}",
        "MySQL cannot undo a change of schema. Until it is whole, statements about several of these shards may be "
        "refused.",
        "Mend what is wrong there and send the same statement again: it goes on with the shards that lack it.",
    ),
    _entry(
        "DDL_KEY", 1343, NOT_SUPPORTED_YET,
        "the change of {0} touches its shard key {1}",
        "Where a row lies depends on its shard key's type; as another type it could be looked for elsewhere.",
        "Keep the column as it is; a new key takes a new table.",
    ),
    _entry(
        "DDL_UNIQUE", 1344, NOT_SUPPORTED_YET,
        "a unique key of {0} without its shard key {1}",
        "Each shard would see to it for its own rows only, and the same value could be on two of them.",
        "Add the shard key's columns to the unique key, or make a plain index of it.",
    ),
    _entry(
        "TEMPORARY_TABLE", 1319, NOT_SUPPORTED_YET,
        "temporary tables on sharded keyspace {0}",
        "A temporary table lives on one connection of one shard.",
        "Use an unsharded keyspace for it.",
    ),
    _entry(
        "LOAD_DATA", 1320, NOT_SUPPORTED_YET,
        "LOAD into keyspace {0} in this form",
        "Fairlead parts LOAD DATA's rows over the shards of a table, and no other format's.",
        "Use LOAD DATA, or name the shard that all of the file's rows belong to by a hint.",
    ),
    _entry(
        "LOAD_DATA_FORM", 1361, NOT_SUPPORTED_YET,
        "LOAD DATA into sharded table {0}: {1}",
        "Rows are parted by their shard key as they come. What depends on the whole file's order, on what only one "
        "server would count, or on separators that Fairlead does not read as the servers do, would not come out as on "
        "one server. It is refused before the client is asked for its file.",
        "Write the shard key as a field of the file and leave SET and user variables out of it, use plain FIELDS and "
        "LINES in an ASCII-compatible character set, or name the shard that all rows belong to by a hint.",
    ),
    _entry(
        "LOAD_DATA_ROW", 1362, WRONG_VALUE,
        "LOAD DATA into {0}: {1}",
        "The row's shard is computed from what the file says. One server would store another value with a warning; "
        "where that row belongs then is not known.",
        "Correct the row; nothing of the file was stored.",
    ),
    _entry(
        "PROCEDURE", 1321, NOT_SUPPORTED_YET,
        "{0} on sharded keyspace {1}",
        "A procedure may read or write any table of its shard.",
        "Call it on an unsharded keyspace, or name one shard with a hint.",
    ),
    _entry(
        "LOCK_TABLES", 1322, NOT_SUPPORTED_YET,
        "{0} on sharded keyspace {1}",
        "The lock would hold on one shard only.",
        "Use a transaction with SELECT … FOR UPDATE.",
    ),
    _entry(
        "NAMED_LOCK", 1323, NOT_SUPPORTED_YET,
        "{0}() on sharded keyspace {1}",
        "A named lock must live on one server, and no shard is fixed.",
        "Use an unsharded keyspace, or name one shard with a hint.",
    ),
    _entry(
        "PREPARED_IN_SQL", 1324, NOT_SUPPORTED_YET,
        "{0} on sharded keyspace {1}",
        "The statement is hidden in a string or on one connection.",
        "Use the driver's prepared statements.",
    ),
    _entry(
        "HANDLER", 1325, NOT_SUPPORTED_YET,
        "HANDLER on sharded keyspace {0}",
        "A handler lives on one connection of one shard.",
        "Use SELECT.",
    ),
)

_PRIVILEGES = (
    _entry(
        "DENIED_TABLE", 2001, TABLEACCESS_DENIED,
        "{0} command denied to user '{1}' for table '{2}'",
        "The user's grants do not allow it.",
        "Add the verb to users.{1}.grants.",
    ),
    _entry(
        "DENIED_DATABASE", 2002, DBACCESS_DENIED,
        "access denied for user '{0}' to database '{1}'",
        "The user has no grant on the keyspace.",
        "Add it to users.{0}.grants.",
    ),
    _entry(
        "ADMINISTRATION", 2003, SPECIFIC_ACCESS_DENIED,
        "{0} is server administration",
        "Fairlead's account on the servers may do more than its clients; administration through it is "
        "refused unless "
        "granted.",
        "Do it on the server, or give the user the verb admin.",
    ),
    _entry(
        "DENIED_VERB", 2004, SPECIFIC_ACCESS_DENIED,
        "{0} command denied to user '{1}' on keyspace '{2}'",
        "The user's grants do not allow it.",
        "Add the verb to users.{1}.grants.",
    ),
    _entry(
        "ACCESS_DENIED", 2005, ACCESS_DENIED,
        "access denied for user '{0}' (using password: {1})",
        "User or password is wrong. Which of the two is not said.",
        "Check users: in the configuration.",
    ),
    _entry(
        "TLS_REQUIRED", 2006, SECURE_TRANSPORT_REQUIRED,
        "connections without TLS are refused by this listener",
        "listeners.<name>.tls.required is true, or the user requires TLS.",
        "Connect with TLS.",
    ),
    _entry(
        "PEER_UNKNOWN", 2007, ACCESS_DENIED,
        "the peer's certificate names no configured region",
        "A peer is trusted when its client certificate names a region of the configuration.",
        "Check peer_tls and the certificate's CN or SAN on both sides.",
    ),
    _entry(
        "KILL_DENIED", 2009, KILL_DENIED,
        "You are not owner of thread {0}",
        "Users may end their own sessions.",
        "Do it as that user, or in the admin console; whoever has admin on *.* may end all.",
    ),
    _entry(
        "UNREADABLE_GRANT", 2008, SPECIFIC_ACCESS_DENIED,
        "this statement cannot be read, so the grants of user '{0}' cannot be checked: {1}",
        "Privileges by schema, table and verb need the statement's tables.",
        "Write it in plainer SQL, or grant the user all verbs on the whole keyspace.",
    ),
)

_SESSIONS = (
    _entry(
        "SECOND_SHARD", 3001, NOT_SUPPORTED_YET,
        "this transaction is on shard {0} and the statement needs {1}",
        "Transactions over several shards are for keyspaces with multi_shard_writes: atomic.",
        "Commit first, or keep the transaction to one shard key.",
    ),
    _entry(
        "MULTI_SHARD_IN_TRANSACTION", 3002, NOT_SUPPORTED_YET,
        "a statement for several shards inside of a transaction",
        "Transactions over several shards are for keyspaces with multi_shard_writes: atomic.",
        "Commit first.",
    ),
    _entry(
        "PINNED_SESSION", 3003, NOT_SUPPORTED_YET,
        "this session is pinned to shard {0} by {1}, and the statement needs {2}",
        "What pinned the session lives on one connection.",
        "Release it (UNLOCK TABLES, RELEASE_LOCK, reset the connection), or use a second session.",
    ),
    _entry(
        "ATOMIC_REGIONS", 3021, NOT_SUPPORTED_YET,
        "an atomic transaction over shards of several regions ({0} is of another one)",
        "Two-phase commit reaches the shards of one region; another region's servers are not connected to.",
        "Commit region by region, or set multi_shard_writes: best_effort for the keyspace.",
    ),
    _entry(
        "ATOMIC_UNAVAILABLE", 3022, OPTION_PREVENTS,
        "shard {0} cannot take part in a transaction over several shards: {1}",
        "Every shard must be able to list prepared transactions and to keep decisions (docs/transactions.md).",
        "Grant the shard's account what is missing, or keep the transaction to one shard.",
    ),
    _entry(
        "ATOMIC_ABORTED", 3023, DEADLOCK,
        "the transaction took so long to commit that it was given up, and is rolled back on all shards",
        "Its parts were prepared for longer than transactions.in_doubt, so recovery has rolled them back.",
        "Try restarting the transaction.",
    ),
    _entry(
        "SNAPSHOT_SHARDS", 3024, NOT_SUPPORTED_YET,
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, and a second shard",
        "Each shard has its own snapshot, taken when the transaction reaches it.",
        "Begin without the snapshot, or keep the transaction to one shard.",
    ),
    _entry(
        "SPREAD_OPAQUE", 3025, NOT_SUPPORTED_YET,
        "{0} inside of a transaction over several shards",
        "It could end the transaction on its shard, and not on the others.",
        "Commit first.",
    ),
    _entry(
        "GLOBAL_VARIABLE", 3004, SPECIFIC_ACCESS_DENIED,
        "SET {0} changes the server for everyone",
        "Global and persisted variables are server administration.",
        "Do it on the servers.",
    ),
    _entry(
        "VARIABLE_REFUSED", 3005, NOT_SUPPORTED_YET,
        "SET {0} is refused: {1}",
        "The variable changes what Fairlead relies on.",
        "Leave it out, or set it on the servers.",
    ),
    _entry(
        "VARIABLE_VALUE", 3007, WRONG_VALUE_FOR_VAR,
        "variable '{0}' cannot be set to this value: {1}",
        "The value is checked before it is recorded.",
        "Correct the value.",
    ),
    _entry(
        "TRANSACTION_OPTION", 3008, NOT_SUPPORTED_YET,
        "{0} is not supported",
        "The characteristics of the next transaction are kept apart from other variables, until it has a shard.",
        "Set them in a statement of their own, or by SET TRANSACTION.",
    ),
    _entry(
        "XA", 3009, NOT_SUPPORTED_YET,
        "XA transactions are not supported",
        "An XA branch outlives its connection.",
        "Use a plain transaction.",
    ),
    _entry(
        "CONNECTION_FUNCTION", 3010, NOT_SUPPORTED_YET,
        "{0}() is about a connection that has gone back to the pool",
        "Row counts of the previous statement live on the connection that ran it.",
        "Ask inside of the same transaction, say SELECT SQL_CALC_FOUND_ROWS, or count with a query.",
    ),
    _entry(
        "LAST_INSERT_ID_LOST", 3030, NOT_SUPPORTED_YET,
        "LAST_INSERT_ID() is not known any more",
        "After an INSERT with ids of its own, or one that failed, only the server knows it, and the connection to it "
        "was given to another client, left for another shard, or lost, before it was asked.",
        "Take the id from the INSERT's own answer, or ask for it next.",
    ),
    _entry(
        "READ_ONLY_TRANSACTION", 3011, READ_ONLY_TRANSACTION,
        "cannot execute {0} in a READ ONLY transaction",
        "A server says the same.",
        "Begin the transaction READ WRITE.",
    ),
    _entry(
        "TRANSACTION_OPEN", 3012, TRANSACTION_CHARACTERISTICS,
        "{0} cannot be changed while a transaction is in progress",
        "A server says the same.",
        "Commit or roll back first.",
    ),
    _entry(
        "SAVEPOINT_UNKNOWN", 3013, SAVEPOINT_MISSING,
        "savepoint {0} does not exist",
        "No transaction is open, or it has no such savepoint.",
        "Set the savepoint first.",
    ),
    _entry(
        "NO_SUCH_THREAD", 3020, NO_SUCH_THREAD,
        "Unknown thread id: {0}",
        "KILL takes the connection ids of clients of this Fairlead; no session has this one.",
        "SELECT CONNECTION_ID() tells a session its own; the admin console lists all.",
    ),
    _entry(
        "UNKNOWN_PREPARED", 3014, UNKNOWN_STMT_HANDLER,
        "unknown prepared statement handler ({0})",
        "It was closed, or belongs to another session.",
        "Prepare it again.",
    ),
    _entry(
        "PREPARED_ELSEWHERE", 3031, NOT_SUPPORTED_YET,
        "this statement was prepared in the database '{0}', and the current one is '{1}'",
        "A prepared statement names what it named when it was prepared, and here the same names mean something else.",
        "Name the database before each table, prepare it again, or go back by USE before it is executed.",
    ),
    _entry(
        "PREPARED_OTHERWISE", 3032, NOT_SUPPORTED_YET,
        "this statement was prepared under another sql_mode, character set or collation",
        "A prepared statement means what it meant when it was prepared; under what is set now it would be read anew.",
        "Prepare it again, or set back what was set since.",
    ),
    _entry(
        "NO_OPEN_CURSOR", 3029, STMT_HAS_NO_OPEN_CURSOR,
        "the statement has no open cursor",
        "COM_STMT_FETCH reads from the cursor that an execution has opened; its last row was sent, or it was closed.",
        "Execute the statement again, and ask for a cursor.",
    ),
    _entry(
        "COMMAND", 3015, UNKNOWN_COM,
        "command {0} is not supported",
        "This protocol command has no meaning over a shared backend.",
        "{1}",
    ),
    _entry(
        "NOT_PREPARABLE", 3016, UNSUPPORTED_PS,
        "this statement cannot be prepared: {0}",
        "Its answer comes from the session, or its route changes from one execution to the next.",
        "Send it as text.",
    ),
    _entry(
        "LOCAL_INFILE", 3018, LOCAL_FILES_DISABLED,
        "Loading local data is disabled: {0}",
        "The server asks the client for a file in the middle of the statement.",
        "Let the client send local files (pymysql: local_infile=True, mysql: --local-infile), in a text of its own.",
    ),
    _entry(
        "CHANGE_USER", 3019, NOT_SUPPORTED_YET,
        "the user of this connection cannot be changed: {0}",
        "COM_CHANGE_USER logs in anew on the listener that the connection came by.",
        "Open a new connection.",
    ),
)

_BACKENDS = (
    _entry(
        "SHARD_DOWN", 4001, OPTION_PREVENTS,
        "shard {0} has no usable server: {1}",
        "No server of the shard passed its last check.",
        "Retry later; see fairlead's health page for the reason.",
    ),
    _entry(
        "QUEUE_TIMEOUT", 4002, LOCK_WAIT_TIMEOUT,
        "no free connection to shard {0} within {1}",
        "All connections the shard's limit allows were busy for limits.queue_wait.",
        "Retry; raise shards.{0}.limits.connections if it lasts.",
    ),
    _entry(
        "QUEUE_FULL", 4003, OUT_OF_RESOURCES,
        "too many statements wait for shard {0}",
        "The waiting line is bounded.",
        "Retry later, with fewer clients at once.",
    ),
    _entry(
        "BACKEND_LOST", 4004, NET_READ_ERROR,
        "connection to shard {0} was lost during the statement; its outcome is unknown",
        "The server went away after the statement was sent. It is not repeated, since it may have been done.",
        "Check whether it took effect, then retry.",
    ),
    _entry(
        "BACKEND_LOST_IDLE", 4005, NET_READ_ERROR,
        "connection to shard {0} was lost; the transaction is rolled back",
        "The server went away between two statements of a transaction, or of a pinned session.",
        "Run the transaction again.",
    ),
    _entry(
        "COMMIT_UNKNOWN", 4006, XA_OUTCOME,
        "connection to shard {0} was lost during COMMIT; whether it was committed is unknown",
        "COMMIT is never repeated.",
        "Read the rows to learn the outcome.",
    ),
    _entry(
        "PARTIAL_COMMIT", 4007, XA_OUTCOME,
        "committed on {0} but not on {1}",
        "multi_shard_writes is best_effort, and a shard failed after others had committed.",
        "Repair the rows of the shards named last; retrying may double the others.",
    ),
    _entry(
        "BACKEND_TIMEOUT", 4008, NET_READ_INTERRUPTED,
        "shard {0} did not answer within {1}",
        "The time limit of the statement passed; the connection is closed.",
        "Retry, or raise the limit.",
    ),
    _entry(
        "TOO_MANY_CLIENTS", 4009, CON_COUNT,
        "too many connections",
        "limits.clients is reached.",
        "Close idle connections, or raise limits.clients.",
    ),
    _entry(
        "USER_CONNECTIONS", 4010, USER_LIMIT,
        "user '{0}' has exceeded its {1} connections",
        "users.<name>.limits.connections is reached.",
        "Close idle connections, or raise the limit.",
    ),
    _entry(
        "PACKET_TOO_LARGE", 4011, PACKET_TOO_LARGE,
        "got a packet bigger than {0}",
        "limits.max_packet bounds what one statement may hold in memory.",
        "Send it in smaller parts, or raise limits.max_packet.",
    ),
    _entry(
        "DRAINING", 4012, SERVER_SHUTDOWN,
        "Fairlead is shutting down",
        "The process was asked to stop and takes no new work.",
        "Connect again.",
    ),
    _entry(
        "PEER_DOWN", 4013, OPTION_PREVENTS,
        "region {0} cannot be reached: {1}",
        "Rows of another region are reached through that region's Fairlead.",
        "Retry later; see fairlead's health page for the reason.",
    ),
    _entry(
        "PEER_LOOP", 4014, OPTION_PREVENTS,
        "region {0} sent a statement that region {1} must answer",
        "A statement is forwarded once. Two regions disagree about where a shard lives.",
        "Give both Fairleads the same configuration.",
    ),
    _entry(
        "PEER_EPOCH", 4015, OPTION_PREVENTS,
        "regions {0} and {1} run different configurations of keyspace {2}",
        "Routing by two maps could miss rows.",
        "Roll the configuration out to both.",
    ),
    _entry(
        "REPLICA_LAG", 4016, OPTION_PREVENTS,
        "no server of shard {0} is fresh enough within {1}",
        "The consistency asked for could not be given in time.",
        "Retry, or read from the primary.",
    ),
    _entry(
        "NO_PRIMARY", 4017, OPTION_PREVENTS,
        "shard {0} has no writable primary",
        "No server of the shard answers and has read_only off, or more than one has. New statements outside of "
        "transactions wait for limits.failover_wait before they get this.",
        "Wait for the failover to finish.",
    ),
    _entry(
        "SHARDS_DISAGREE", 4018, UNKNOWN_ERROR,
        "shards {0} answered with different columns",
        "Rows of different shape cannot be put together.",
        "Bring the shards' schemas into line; while a version is being put in force, ask again.",
    ),
    _entry(
        "SHARDS_DIFFER", 4028, UNKNOWN_ERROR,
        "shards {0} and {1} answered differently",
        "What is asked for has to be the same on all shards: a view, a routine, a trigger, an event, or a table that "
        "the configuration does not declare.",
        "Bring the shards' definitions into line, or name a shard with a hint.",
    ),
    _entry(
        "SHARD_FAILED", 4019, UNKNOWN_ERROR,
        "shard {0} failed: {1}",
        "One shard's failure fails the whole statement.",
        "See the reason; no part of the answer counts.",
    ),
    _entry(
        "STATEMENTS_LIMIT", 4020, USER_LIMIT,
        "this session has more than {0} prepared statements",
        "limits bound what one session may hold.",
        "Close statements that are no longer used.",
    ),
    _entry(
        "MEMORY_LIMIT", 4021, OUT_OF_RESOURCES,
        "out of the memory that {0} may use",
        "Memory is bounded by the configuration.",
        "Retry later, or raise the limit.",
    ),
    _entry(
        "MALFORMED_PACKET", 4022, PACKETS_OUT_OF_ORDER,
        "malformed packet: {0}",
        "What the client sent breaks the protocol; the connection is closed.",
        "Check the driver.",
    ),
    _entry(
        "MALFORMED_ATTRIBUTES", 4027, MALFORMED_PACKET,
        "malformed communication packet",
        "The query attributes before a statement, or the named parameters of a prepared one, cannot be read.",
        "Check the driver.",
    ),
    _entry(
        "HANDSHAKE_TIMEOUT", 4023, NET_READ_INTERRUPTED,
        "the handshake took longer than {0}",
        "limits.handshake bounds it.",
        "Connect again.",
    ),
    _entry(
        "INTERRUPTED", 4025, QUERY_INTERRUPTED,
        "Query execution was interrupted",
        "KILL QUERY stopped it, or KILL ended the session itself.",
        "Run it again if it is still wanted.",
    ),
    _entry(
        "SEQUENCE_TABLE", 4030, UNKNOWN_ERROR,
        "keyspace {0} has no table fairlead_sequences on shard {1}, and Fairlead's account cannot create it",
        "The sequence of an AUTO_INCREMENT column is a row of that table.",
        "Create it there: {2}.",
    ),
    _entry(
        "SEQUENCE_FAILED", 4031, UNKNOWN_ERROR,
        "no ids for table {0}: shard {1} says {2}",
        "The next block of ids has to be reserved on the shard that keeps the sequence.",
        "Send the statement again once the shard is well.",
    ),
    _entry(
        "SEQUENCE_EXHAUSTED", 4032, UNKNOWN_ERROR,
        "the ids of table {0} are used up: the sequence on shard {1} has no room left",
        "The bits below the region's are all there is to count in.",
        "Give the table another vindex for its ids, or a sequence of kind block.",
    ),
    _entry(
        "IDLE_TIMEOUT", 4024, NET_READ_INTERRUPTED,
        "the connection was idle for longer than {0}",
        "wait_timeout of the session, or the listener's limit, has passed.",
        "Connect again.",
    ),
    _entry(
        "LOGINS_PAUSED", 4026, HOST_IS_BLOCKED,
        "too many failed logins of '{0}' from {1}",
        "After some failures in a row no password of that user from that address is looked at for a while, a right one "
        "neither; longer each time, up to limits.login_pause (a minute at the admin console).",
        "Try again in {2} s. Clients behind one balancer have one address unless it sends the PROXY protocol.",
    ),
    _entry(
        "INTERNAL", 4099, UNKNOWN_ERROR,
        "[BUG] {0}",
        "Fairlead met a state that it should not.",
        "Please report it with this text.",
    ),
)

_POLICY = (
    _entry(
        "POLICY_REFUSED", 2101, SPECIFIC_ACCESS_DENIED,
        "{0} must not reach {1} (rule {2}): {3}",
        "The policy's rules for the data's class and home and for who asks do not let this value leave, in any form "
        "that the statement uses it in.",
        "EXPLAIN ROUTE tells the verdict of every column.",
    ),
    _entry(
        "POLICY_HOME", 2102, SPECIFIC_ACCESS_DENIED,
        "{0} does not leave {1} (rule {2})",
        "The policy lets the statement be carried out at the data's home only, and no value come back.",
        "Ask there, or leave the column out.",
    ),
    _entry(
        "POLICY_OPAQUE", 2103, SPECIFIC_ACCESS_DENIED,
        "{0} may touch restricted data and cannot be followed: {1}",
        "What is not followed to the last column is refused where restricted data is in reach.",
        "Write it as a plain SELECT, INSERT, UPDATE or DELETE of base tables.",
    ),
    _entry(
        "POLICY_FORM", 2104, SPECIFIC_ACCESS_DENIED,
        "restricted data cannot be reduced in this form: {0}",
        "Masks and least counts are put in place of tables, which this form of statement does not allow.",
        "Write the statement in another form.",
    ),
    _entry(
        "POLICY_BETRAYS", 2105, SPECIFIC_ACCESS_DENIED,
        "{0} would tell of restricted data",
        "Estimates, sizes, checksums and violated keys depend on values that the policy keeps back.",
        "Ask in the data's own domain.",
    ),
    _entry(
        "POLICY_FLOW", 2106, SPECIFIC_ACCESS_DENIED,
        "{0} of class {1} must not be written into {2} of class {3}",
        "A value keeps its class wherever it is written; a column of a lower class would let it leave.",
        "Label the written column, or leave the value out.",
    ),
    _entry(
        "POLICY_PROOF", 2107, SPECIFIC_ACCESS_DENIED,
        "the checker does not accept what would be sent: {0}",
        "Every statement that touches restricted data is checked once more, by other code than decided it.",
        "Please report it with the statement's shape.",
    ),
    _entry(
        "POLICY_SERVER_ERROR", 2108, UNKNOWN_ERROR,
        "the server's error text is kept back",
        "Error texts of servers may hold values. Number and SQLSTATE are the server's own.",
        "The text is in the log of the server.",
    ),
    _entry(
        "POLICY_BUDGET", 2109, SPECIFIC_ACCESS_DENIED,
        "budget {0} is spent for {1} data of {2} shown in {3}",
        "A rule allows this only while the distinct persons shown within the budget's window are not more than it "
        "says. Rows that stand before this error were within it.",
        "Ask in the data's own domain; `fairlead exposure` shows what is spent, and policy.budgets how much there is.",
    ),
    _entry(
        "POLICY_WITNESS", 2110, SPECIFIC_ACCESS_DENIED,
        "the server's answer has a column that the proof does not know, and is kept back",
        "What a server says of the columns of its answer is compared with what was proven. The statement was carried "
        "out; no row of it was passed on.",
        "Try again if the schema has just changed, with UTF-8 if character_set_results is something else; otherwise "
        "please report it.",
    ),
    _entry(
        "AUDIT_UNAVAILABLE", 2111, SPECIFIC_ACCESS_DENIED,
        "no record of this decision can be kept: {0}",
        "What the policy decides across domains, or reduces, is written down (audit). While that fails, such "
        "statements are refused; nothing of this one was sent.",
        "Look at the disk of the audit folder and at Fairlead's log, then try again.",
    ),
    _entry(
        "POLICY_UNCOUNTED", 2112, SPECIFIC_ACCESS_DENIED,
        "the persons in this answer cannot be counted against budget {0}: {1}",
        "A rule allows this only within a budget of exposure. Persons are counted by the literals that the shard keys "
        "of all tables are equal to, or by the rows of a plain SELECT outside of a transaction.",
        "Name the persons by the key, or read their rows without groups, aggregates, subqueries and transaction.",
    ),
    _entry(
        "POLICY_SCRATCH", 2114, SPECIFIC_ACCESS_DENIED,
        "{0} ({1} of {2}) may not be copied to the scratch server in {3}: {4}",
        "A statement of several shards would be finished there, with their rows in temporary tables. The policy says "
        "where copies of data may be; what is masked for the user may also be in the user's own domain.",
        "Leave the column out, fix the shard key, or ask a Fairlead at the data's home.",
    ),
    _entry(
        "METERS_UNAVAILABLE", 2113, SPECIFIC_ACCESS_DENIED,
        "the exposure meters cannot be kept: {0}",
        "What is shown within a budget is counted, and the count on the disk, before it is shown. While that fails, "
        "such statements are refused.",
        "Look at the disk of the audit folder and at Fairlead's log, then try again.",
    ),
)

_SCHEMAS = (
    _entry(
        "SCHEMA_UNKNOWN", 5001, OPTION_PREVENTS,
        "the live schema of keyspace {0} has not been read yet",
        "Columns and keys of the tables are needed to route this statement.",
        "Retry when a server of the keyspace can be reached.",
    ),
    _entry(
        "SCHEMA_DRIFT", 5002, OPTION_PREVENTS,
        "table {0}.{1} differs between shards: {2}",
        "The same statement would mean different things on different shards.",
        "Bring the shards' schemas into line.",
    ),
    _entry(
        "KEY_COLUMN_TYPE", 5003, NOT_SUPPORTED_YET,
        "shard-key column {0} of table {1} has type {2}, which cannot be routed by",
        "Keys are integers or strings whose comparison Fairlead can follow exactly.",
        "Use an integer, binary, utf8mb4_bin or ascii column as the shard key.",
    ),
    _entry(
        "KEY_COLUMN_MISSING", 5004, BAD_FIELD,
        "shard-key column {0} is not a column of table {1}",
        "The declaration names a column that the live schema does not have.",
        "Correct keyspaces.<name>.tables, or the table.",
    ),
)

_CONSOLE = (
    _entry(
        "CONSOLE_READ_ONLY", 6001, OPTION_PREVENTS,
        "the console's tables are only read: {0}",
        "They are made for each query from what this Fairlead knows; nothing that is written there would stay.",
        "Ask with SELECT or SHOW; docs/console.md lists the verbs that change something.",
    ),
    _entry(
        "CONSOLE_ROLE", 6002, SPECIFIC_ACCESS_DENIED,
        "{0} needs the console role admin",
        "Accounts with the role viewer read; what changes something needs the role admin.",
        "Log in with an account of that role (admin.accounts).",
    ),
    _entry(
        "CONSOLE_SYNTAX", 6003, PARSE_ERROR,
        "the console does not understand this statement: {0}",
        "Queries are SQLite's SQL over the console's tables; docs/console.md lists what else there is.",
        "SHOW TABLES lists the tables, SHOW FAIRLEAD HELP the verbs.",
    ),
    _entry(
        "CONSOLE_NO_TABLE", 6004, NO_SUCH_TABLE,
        "the console has no table {0}",
        "The console shows tables about this Fairlead, not the data of the shards.",
        "SHOW TABLES lists the tables.",
    ),
    _entry(
        "CONSOLE_NO_COLUMN", 6005, BAD_FIELD,
        "unknown column {0}",
        "No table of the query has it.",
        "DESCRIBE <table> lists the columns.",
    ),
    _entry(
        "CONSOLE_TIME", 6006, QUERY_TIMEOUT,
        "the query was ended after {0}",
        "admin.query_time bounds what a query may take, so that the console cannot keep a core busy.",
        "Ask for less, or raise admin.query_time.",
    ),
    _entry(
        "CONSOLE_LARGE", 6007, TOO_BIG_SELECT,
        "the answer, or what it takes to make it, is more than {0}",
        "A part of an answer would look like the whole; admin.rows and admin.answer bound it instead.",
        "Use LIMIT or a condition, or raise the bound.",
    ),
    _entry(
        "CONSOLE_FAILED", 6009, UNKNOWN_ERROR,
        "{0}: {1}",
        "What a verb was to do could not be done; nothing was changed unless the text says so.",
        "Correct what the text names, and try again.",
    ),
    _entry(
        "CONSOLE_VARIABLE", 6010, UNKNOWN_SYSTEM_VARIABLE,
        "unknown system variable '{0}'",
        "The console knows the variables that clients ask for when they connect.",
        "SHOW VARIABLES lists them.",
    ),
    _entry(
        "SHOW_FAIRLEAD", 6012, PARSE_ERROR,
        "SHOW {0} is not answered in a session of an application",
        "Here SHOW FAIRLEAD SESSION, STATUS and TRANSACTIONS UNRESOLVED are; the rest tells of others.",
        "Ask the admin console (docs/console.md).",
    ),
    _entry(
        "CONSOLE_SESSION", 6011, NO_SUCH_THREAD,
        "there is no session {0}",
        "It has ended, or its worker does not answer.",
        "SELECT id FROM sessions lists them.",
    ),
)

ENTRIES: tuple[Entry, ...] = (
    *_STATEMENTS, *_TABLES, *_READS, *_WRITES, *_PRIVILEGES, *_SESSIONS, *_BACKENDS, *_SCHEMAS, *_POLICY, *_CONSOLE,
)
# fmt: on
