"""What SET does to a shared connection, by variable.

TRACKED: recorded in the session and applied to whichever backend serves it next.
TOLD: what OK packets tell the client of; the session's alone, since backends report everything.
NOOP: taken and answered OK, but about the connection between client and Fairlead, so never sent to a backend.
REFUSED: would change what Fairlead relies on, or what all clients see.
PIN: everything else: sent to the session's own backend, which it then keeps until it ends or is reset.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from router.errors import Refusal, refusal


class Handling(StrEnum):
    TRACKED = "tracked"
    NOOP = "noop"
    REFUSED = "refused"
    PIN = "pin"
    TOLD = "told"


@dataclass(frozen=True, slots=True)
class Variable:
    """A session variable. `allowed`: the only values that may be recorded, lower case; None is any.

    `why`: for REFUSED, and for values that are not allowed.
    """

    name: str
    handling: Handling
    allowed: frozenset[str] | None = None
    why: str = ""


def _words(text: str) -> list[str]:
    return text.split()


_ALIASES = {
    "tx_isolation": "transaction_isolation",
    "tx_read_only": "transaction_read_only",
    "storage_engine": "default_storage_engine",
    "charset": "character_set",
}

_TRACKED = _words("""
    names character_set character_set_client character_set_connection character_set_results
    collation_connection character_set_filesystem character_set_server collation_server
    sql_mode time_zone lc_time_names lc_messages autocommit completion_type transaction_isolation
    transaction_read_only
    sql_safe_updates sql_notes sql_warnings sql_quote_show_create sql_big_selects sql_buffer_result
    foreign_key_checks unique_checks updatable_views_with_limit low_priority_updates
    group_concat_max_len div_precision_increment default_week_format max_sort_length max_error_count
    max_join_size lock_wait_timeout innodb_lock_wait_timeout max_execution_time max_statement_time
    net_write_timeout net_read_timeout long_query_time
    default_storage_engine default_tmp_storage_engine explicit_defaults_for_timestamp
    auto_increment_increment auto_increment_offset innodb_strict_mode
    optimizer_switch optimizer_search_depth optimizer_prune_level optimizer_use_condition_selectivity
    eq_range_index_dive_limit range_optimizer_max_mem_size join_cache_level use_stat_tables histogram_size
    sort_buffer_size join_buffer_size read_buffer_size read_rnd_buffer_size tmp_table_size max_heap_table_size
    bulk_insert_buffer_size preload_buffer_size query_alloc_block_size query_prealloc_size
    cte_max_recursion_depth max_recursive_iterations max_length_for_sort_data max_seeks_for_key
    block_encryption_mode information_schema_stats_expiry windowing_use_high_precision
    query_cache_type old_mode sql_if_exists alter_algorithm note_verbosity strict_password_validation
    show_create_table_verbosity show_create_table_skip_secondary_engine sql_generate_invisible_primary_key
    print_identified_with_as_hex require_row_format column_compression_threshold
""")

_NOOP = _words("""
    wait_timeout interactive_timeout net_buffer_length max_allowed_packet net_retry_count
    idle_transaction_timeout     idle_readonly_transaction_timeout idle_write_transaction_timeout
""")

_TOLD = _words("""
    session_track_gtids session_track_schema session_track_state_change session_track_system_variables
    session_track_transaction_info
""")

_OFF = frozenset({"0", "off", "false", "default", "no"})

_LIMITED = {
    "sql_auto_is_null": (_OFF, "IS NULL would mean the last inserted id"),
    "sql_log_off": (_OFF, "it is server administration"),
    "last_gtid": (None, "it is read-only"),
    "sql_log_bin": (None, "replicas would miss the change"),
    "skip_replication": (None, "replicas would miss the change"),
    "binlog_format": (None, "it is server administration"),
    "binlog_row_image": (None, "it is server administration"),
    "binlog_direct_non_transactional_updates": (None, "it is server administration"),
    "gtid_next": (None, "it is server administration"),
    "gtid_domain_id": (None, "it is server administration"),
    "gtid_seq_no": (None, "it is server administration"),
    "server_id": (None, "it is server administration"),
    "pseudo_slave_mode": (None, "it is server administration"),
    "pseudo_replica_mode": (None, "it is server administration"),
    "pseudo_thread_id": (None, "it is server administration"),
    "debug": (None, "it is server administration"),
    "debug_dbug": (None, "it is server administration"),
    "debug_sync": (None, "it is server administration"),
    "proxy_user": (None, "it is read-only"),
    "external_user": (None, "it is read-only"),
    "secondary_engine": (None, "it is server administration"),
    "wsrep_on": (None, "replicas would miss the change"),
    "wsrep_trx_fragment_size": (None, "it is server administration"),
    "authentication_policy": (None, "it is server administration"),
}


def _table() -> dict[str, Variable]:
    table = {name: Variable(name, Handling.TRACKED) for name in _TRACKED}
    table |= {name: Variable(name, Handling.NOOP) for name in _NOOP}
    table |= {name: Variable(name, Handling.TOLD) for name in _TOLD}
    for name, (allowed, why) in _LIMITED.items():
        handling = Handling.NOOP if allowed else Handling.REFUSED
        table[name] = Variable(name, handling, allowed, why)
    return table


VARIABLES = _table()


def variable(name: str) -> Variable:
    """By any of its names, without regard to case. What is not listed pins."""
    folded = name.lower()
    folded = _ALIASES.get(folded, folded)
    return VARIABLES.get(folded) or Variable(folded, Handling.PIN)


UNSAFE_CHARSETS = frozenset(_words("big5 cp932 eucjpms euckr gb18030 gb2312 gbk sjis ucs2 ujis utf16 utf16le utf32"))
"""Client character sets in which a byte of a letter can be a quote, or whose bytes are not ASCII."""

_CHARSET_VARIABLES = frozenset({"names", "character_set", "character_set_client"})


def restricted(name: str) -> bool:
    """Are there values that `check` refuses?"""
    return variable(name).allowed is not None or name in _CHARSET_VARIABLES


def check(name: str, value: str | int | None) -> Refusal | None:
    """May this value be recorded? `value` as text or number; None is SQL's NULL."""
    found = variable(name)
    text = "null" if value is None else str(value).lower()
    if found.handling is Handling.REFUSED:
        return refusal("VARIABLE_REFUSED", found.name, found.why)
    if found.allowed is not None and text not in found.allowed:
        return refusal("VARIABLE_REFUSED", found.name, found.why)
    if found.name in _CHARSET_VARIABLES and text in UNSAFE_CHARSETS:
        return refusal("UNSAFE_CHARSET", text)
    return None
