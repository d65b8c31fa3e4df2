"""A keyspace whose tables have lookups, for the tests about them: people by unique email, notes by their tag."""

from __future__ import annotations

from typing import Any

from loadtest.world.world import World

KEYSPACE = "looked"
SCHEMA = [
    """CREATE TABLE people (id BIGINT NOT NULL PRIMARY KEY, email VARCHAR(80) COLLATE utf8mb4_bin, name VARCHAR(40),
        UNIQUE KEY email (email)) DEFAULT CHARSET utf8mb4""",
    """CREATE TABLE notes (id BIGINT NOT NULL, owner BIGINT NOT NULL, tag VARCHAR(40) COLLATE utf8mb4_general_ci,
        number INT UNSIGNED NOT NULL DEFAULT 7, PRIMARY KEY (owner, id), KEY tag (tag)) DEFAULT CHARSET utf8mb4""",
    """CREATE TABLE visits (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, owner BIGINT NOT NULL,
        code VARBINARY(20))""",
]
LOOKUPS = {
    "people_by_email": {"table": "people", "column": "email", "vindex": "by_hash", "unique": True, "state": "ready"},
    "notes_by_tag": {"table": "notes", "column": "tag", "vindex": "by_hash", "state": "ready"},
    "visits_by_code": {"table": "visits", "column": "code", "vindex": "by_hash", "state": "ready"},
    "notes_by_number": {"table": "notes", "column": "number", "vindex": "by_hash", "state": "ready"},
}
IDS = {"kind": "block", "column": "id", "on": "eu-0", "size": 10}


def changes(world: World, lookups: Any = None) -> dict[str, Any]:
    return {
        "keyspaces": {
            KEYSPACE: {
                "shards": list(world.shards),
                "vindexes": {"by_hash": {"function": "hash"}},
                "tables": {
                    "people": {"kind": "sharded", "vindex": "by_hash", "columns": ["id"]},
                    "notes": {"kind": "sharded", "vindex": "by_hash", "columns": ["owner"]},
                    "visits": {"kind": "sharded", "vindex": "by_hash", "columns": ["owner"], "auto_increment": IDS},
                },
                "lookups": LOOKUPS if lookups is None else lookups,
            }
        },
        "users": {"demo": {"grants": [{"on": "*.*", "verbs": ["all"]}]}},
        "health": {"schema": "1s"},
    }
