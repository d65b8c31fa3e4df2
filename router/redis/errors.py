"""What clients are told. Texts of Redis are Redis's own, word for word; clients look for them."""

from __future__ import annotations

from router.redis.resp import one_line
from router.redis.table import Command

CROSS = "CROSSSLOT Keys in request don't hash to the same slot"
"""Redis Cluster's text; here it means that the keys live on several shards."""
NO_AUTH = "NOAUTH Authentication required."
WRONG_PASS = "WRONGPASS invalid username-password pair or user is disabled."
NO_CLUSTER = "ERR This instance has cluster support disabled"
BAD_DATABASE = "ERR DB index is out of range"
SYNTAX = "ERR syntax error"
BAD_CURSOR = "ERR invalid cursor"
EXEC_ABORT = "EXECABORT Transaction discarded because of previous errors."
TOO_LARGE = "ERR Protocol error: the request is larger than redis.client_buffer"
LOST_READ = "ERR the connection to the shard's Redis was lost; nothing was changed"
LOST_WRITE = "ERR the connection to the shard's Redis was lost; whether the command was carried out is unknown"
POLICY_ALL = "NOPERM FL2101 the policy does not allow this, as it may reach every key of the region"
POLICY_FLOW = "NOPERM FL2106 the policy does not let values of these keys into keys of a lower class"
FULL_OF_LARGE = "TRYAGAIN as many large values as may be are on their way to the shard; nothing was sent"
BAD_PART = "ERR a shard's answer is none that could be merged"
REGIONS = "CROSSSLOT Keys in request live in several regions"
NO_KEYS = "ERR Fairlead cannot tell where a script without keys belongs; name its keys"
PATTERNS = "ERR SORT with BY or GET patterns reads keys that it does not name; Fairlead refuses it"
MAX_NAME = 128


def away(shard: str, *, region: str, local: bool, server: bool) -> str:
    """A shard that no connection leads to. The prefix makes clients try again only where nothing was sent."""
    if not local:
        return f"ERR the key lives in region {region} (shard {shard}), and this request is not passed on to it"
    if not server:
        return f"ERR the key lives on shard {shard}, which has no redis server"
    return f"MASTERDOWN shard {shard} cannot be reached; nothing was sent to it"


def region_away(region: str) -> str:
    """No way into another region; nothing was sent."""
    return f"MASTERDOWN region {region} cannot be reached; nothing was sent to it"


def denied(command: str) -> str:
    return f"NOPERM this user has no permissions to run the '{command}' command"


def policy(pattern: str | None, field: bytes | None = None) -> str:
    """What the policy refuses, as the relay says it too: nothing of the key, whatever the key holds."""
    whose = f"of pattern {pattern}" if pattern is not None else "that no pattern knows"
    what = f"field '{_shown(field, MAX_NAME)}' of keys" if field is not None else "keys"
    return f"NOPERM FL2101 the policy does not allow this with {what} {whose}"


def is_verdict(text: str) -> bool:
    """Is it the policy that refuses? Then a decision record says so."""
    return text.startswith("NOPERM FL21")


def unrecorded(why: str) -> str:
    """No record of the decision can be kept, so it is not carried out."""
    return f"ERR {one_line(why)}"


def arity(command: str) -> str:
    return f"ERR wrong number of arguments for '{command}' command"


def refused(command: Command) -> str:
    if command.name.startswith("cluster|"):
        return NO_CLUSTER
    return f"ERR '{command.name}' is refused by Fairlead: {command.text}"


def class_of(text: str) -> str:
    """Under which class of errors (_speedups.redis_stats.ERROR_CLASSES) the metrics count it."""
    for beginning, name in _CLASSES:
        if text.startswith(beginning):
            return name
    return "other" if not text.startswith("ERR") else "refused"


_CLASSES = (
    ("NOAUTH", "auth"), ("WRONGPASS", "auth"), ("NOPERM this user", "denied"), ("NOPERM", "policy"),
    ("ERR unknown", "unknown_command"), ("ERR wrong number", "arity"), ("ERR syntax", "arity"),
    ("CROSSSLOT", "cross_shard"), ("MASTERDOWN", "unavailable"), ("ERR the connection to the shard", "lost"),
    ("TRYAGAIN", "unavailable"), (TOO_LARGE, "limit"), ("ERR Protocol", "protocol"),
)  # fmt: skip


def in_transaction(command: str) -> str:
    return f"ERR '{command}' is refused by Fairlead inside of MULTI"


def unknown(arguments: list[bytes], containers: frozenset[str]) -> str:
    """Redis 7's text (server.c, rejectCommand)."""
    name = _shown(arguments[0], MAX_NAME)
    if len(arguments) > 1 and arguments[0].lower().decode("latin-1") in containers:
        return f"ERR unknown subcommand '{_shown(arguments[1], MAX_NAME)}'. Try {name.upper()} HELP."
    words = ""
    for one in arguments[1:]:
        if len(words) >= MAX_NAME:
            break
        words += f"'{_shown(one, MAX_NAME - len(words))}' "
    return f"ERR unknown command '{name}', with args beginning with: {words}"


def _shown(word: bytes, room: int) -> str:
    return one_line(word[:room].decode("latin-1"))
