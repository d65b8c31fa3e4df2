"""The page about Redis, docs/redis.md, with the commands by class drawn from the table.

`python -m router.redis.manual` writes it; a test keeps it current.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from router.redis.table import Class, Command, Level, table

FILE = Path(__file__).parents[2] / "docs" / "redis.md"

_HEAD = """\
# Redis

A Redis listener is one address for all keys of a region. A key that belongs to a row lives on the Redis server beside
the shard that holds the row.

```yaml
shards:
  eu-0: {region: eu, …, redis: {primary: redis1:6379, account: {user: fairlead, password: {env: FAIRLEAD_REDIS}}}}
listeners:
  redis: {port: 7379}
users:
  shop: {…, redis: write}          # none (default), read, write, admin
redis:
  unmatched: refuse                # or local
  patterns:
    customer: {prefix: "customer:", fields: [1], table: shop.customers}
    cart: {prefix: "cart:", tag: true, table: shop.orders}
```

## Where a key lives

Patterns are tried in the order of the file; the first that fits a key counts. It finds values in the key (fields
between delimiters, the hash tag, or the groups of a regular expression), and the table's own sharding function says
the shard: `customer:42:profile` lives where the row 42 of `customers` lives. A whole number counts only as a server
prints it: `customer:042` finds no row and is refused. A column without a declared type counts as bigint. A pattern
with `shard` puts all its keys on one shard, one with `action: refuse` refuses them.

Keys that no pattern knows are refused, or with `unmatched: local` kept in the region where they are used, spread over
its shards by Redis Cluster's hash slot, so that `{tag}` keeps keys together.

## Under a policy

The verdicts of docs/policy.md hold for keys as for the rows that they belong to; the subject is found by user, listener
and certificate as in MySQL. What a key holds has the class that its pattern names, else the highest of its table; keys
without a table, and those that no pattern knows (`redis.unmatched_classes`), the top class. So a key is as closed as
its row until the configuration says more:

```yaml
    customer: {prefix: "customer:", fields: [1], table: shop.customers, columns: {mail: email, name: name}}
```

Such keys hold hashes whose fields are columns, with the columns' verdicts:

- *Everything open*: forwarded as it is. *Nothing*: `NOPERM FL2101 …`, and nothing is sent to a server.
- *A part open*: `HGET`, `HMGET`, `HEXISTS`, `HSTRLEN` answer for the open fields they name, with masks and tokens
  applied as in SQL, and are refused when one is closed. `HGETALL`, `HKEYS`, `HVALS`, `HSCAN`, `HRANDFIELD` give the
  open declared fields alone. `HSET`, `HSETNX`, `HMSET`, `HDEL`, `HINCRBY` write open fields. A masked value that is not
  what its column would hold (a date in another form, bytes that are no UTF-8) is left out. Aggregates over persons
  (`aggregate(k)`) and budgets do not exist here: refused.
- `EXISTS`, `TTL`, `TYPE` need one field that may be shown; `DEL`, `EXPIRE` and their kin what `DELETE` needs of the
  row; commands that write and answer with the value, or move it, need both. A value does not move into a key of a
  lower class, whoever asks (FL2106).
- Scripts, `FLUSHALL`, `PSUBSCRIBE`, keyspace notifications and `SLOWLOG GET` may reach every key, so every key of the
  region must be open; `DBSIZE` and `RANDOMKEY` need that every key may be known. `KEYS`, `SCAN` and `PUBSUB CHANNELS`
  leave out what may not be known. A channel is what a key of its name would be.
- Within `MULTI` a hash of which a part is open is read field by field in clear, or refused.

Decisions are recorded (docs/audit.md), with the key's pattern and never the key; commands that leave a record are
decided by the event loop. Nothing is counted against budgets here, so what needs that is refused.

## Other regions

A key whose home is another region is asked of that region's Fairlead (`redis.other_regions: split`), at its peer
listener and over mutual TLS, by a connection of the user's own, so that the policy decides there about who asks, and
only what may leave leaves. What the policy refuses is refused here already, and nothing is connected to. `MGET` and
its kin may name keys of several regions (with `single` of one, with `refuse` of this one); all other commands with
keys, `MULTI … EXEC`, `WATCH` and blocking ones work on keys of one shard, wherever it is. Channels, `SCAN`, `KEYS` and
other commands for all servers stay in the region. A Fairlead passes nothing on that a peer has passed on.

Another region may be far away or gone. Replies come in order, so a client that mixes regions in a pipeline waits for
the slowest, but never for longer than `redis.remote_deadline`: then `ERR the connection to the shard's Redis was lost`
(see below) is the answer, and the user's way to that shard is not tried for half a second, longer each time nothing
comes of it (up to 30 s). Meanwhile its requests get `MASTERDOWN region us cannot be reached …` at once. Not more than
`redis.remote_requests` of a client are under way. Ways count against `regions.NAME.peer.connections`, apart from
MySQL's, and are closed after `redis.remote_idle`.

## Replicas

`shards.NAME.redis.replicas` are read by users (or at listeners) whose `consistency` says so, as in MySQL
(docs/consistency.md); other reads, writes, scripts, and whatever is in `MULTI`, watches or waits go to the primary.

- `eventual`: a replica proven to be at most `max_lag` behind. Five times a second the primary is asked how far it is,
  then the replicas: one that is as far has everything that was answered before the look began. Nothing else counts; a
  replica that is not linked to this primary's data, or was not looked at, grows old.
- `session`: a replica that was proven to be as far after the client's last write was answered; none while one is under
  way. It sees its own writes; between two replicas time may go back.
- A *promoted replica* is followed when the primary no longer says that it is one, and exactly one other does that was a
  replica before. Fairlead promotes nobody. A server that answers `READONLY` to a write (which was then not carried out)
  is looked at at once. While two take writes, the one that is the primary stays it, and a warning is logged. What is in
  flight at the old primary is answered with an error; asynchronous replication can lose acknowledged writes in a
  failover, and no level brings them back. A Fairlead that starts trusts the configured primary if it takes writes.

## Sentinel

`shards.NAME.redis.sentinel` names sentinels instead of a `primary` and `replicas`: they are asked which servers there
are, at a start, every second, and when one tells of a failover (`+switch-master`) or the primary is lost.

- Of several words the one with the highest configuration epoch counts, and never one older than before. And a server
  has to say itself (`ROLE`) that it is a primary before a request goes there. So a sentinel that is behind leads
  nobody to a primary that was demoted; while no server is both, the shard's keys are answered with `MASTERDOWN`.
- At a failover the shared connections are opened anew to the new primary. What was under way at the old one is
  answered with an error: `MASTERDOWN …` when nothing of it was sent, else whether it was carried out is unknown.
- The replicas that sentinels do not hold for dead are read as configured ones are (see above), at most 8.
- `tls` and `ca` hold for sentinels and servers; certificates must name the addresses that sentinels announce. The
  servers' `account` may say `ROLE` and `INFO`, the sentinels' `SENTINEL`, `SUBSCRIBE` and `CLIENT SETNAME`.

## Redis Cluster

A shard with `redis.cluster` is all of a Redis Cluster, of which a few nodes are named; the others are found. Clients
see one server: they are never told of nodes or slots.

- *The map* of slots is asked of all nodes (`CLUSTER SLOTS`) every second, when a node says that it is old, and when a
  node is lost. The word of the highest epoch counts, of nodes that hold the cluster for usable, and none older than
  before; what a node says of one slot (`MOVED`) counts at once.
- *Redirections* are followed by Fairlead: a request keeps its bytes until it is answered, and goes with `MOVED` and
  `ASK` (behind `ASKING`) to the other node; `TRYAGAIN` and `CLUSTERDOWN` are tried again for a second and a half if the
  client has nothing under way behind it, then they are the answer. Not more than 16 times; then `MASTERDOWN …`, as
  nothing was carried out. After a slot has moved, a client's next requests wait until those under way are answered,
  so that none overtakes one that is sent again.
- `MGET`, `MSET`, `DEL`, `UNLINK`, `EXISTS`, `TOUCH` may have keys of several slots and are split by slot, as between
  shards; all others, `WATCH` and `MULTI … EXEC` need one slot (a hash tag), else `CROSSSLOT`. A transaction whose
  watched keys have moved is answered as if they had changed.
- *Commands for all servers* ask every node with slots; so do `SCRIPT LOAD` and `FUNCTION LOAD`. `SCAN` visits the
  nodes in the order of their ids, and its cursor is refused (`ERR invalid cursor`) once slots have changed hands;
  keys on their way between two nodes while it runs may be missed.
- *Channels* are listened to at the slot's node, patterns at one node, keyspace notifications of that node alone. A
  subscriber of a sharded channel whose slot moves is disconnected.
- When a node dies its slots are answered with `MASTERDOWN …` until the cluster has a new primary. Replicas of a cluster
  are not read. Requests of more than 64 KiB are sent on when they are complete.

## What clients see

RESP2 and RESP3 (`HELLO`), inline commands, pipelines with replies in order. `AUTH` and `HELLO … AUTH` take
Fairlead's users; a password alone is user `default`. One database: `SELECT 0`. `INFO` tells of Fairlead, `CLIENT LIST`
of the connection itself. With `tls` the listener speaks nothing else. An unknown command gets Redis's own error and
the connection stays.

- *redis-py*, all of it (`tests/cases/redis/api.txt`, RESP2 and RESP3, sync and asyncio): of its 297 methods that one
  Redis 7.0 answers 247 give the same; the other 50 administer one server and are refused as listed below. Errors are
  the same, too, also of methods that need a later server or a module.
- *Requests share one connection* per worker, shard and protocol (in other regions, user). Nothing is sent on it that
  would change it for others.
- *MULTI … EXEC*: all keys on one shard. Commands are checked and kept, then sent in one piece at EXEC. `WATCH` takes
  a connection for the client until EXEC, DISCARD or UNWATCH.
- *Blocking commands* and *subscriptions* have connections of their own. A client that goes while it waits takes
  nothing from the list. When a subscriber's shard is lost, the subscriber is disconnected.
- *SCAN* visits the shards of the region one behind the other. Its cursor is good for the same set of shards only.
- *Commands for all servers* (`DBSIZE`, `KEYS`, `FLUSHALL`, `SCRIPT LOAD` …) concern the region's servers. If one
  fails, the answer is its error with the shard's name. A server started anew has lost its loaded scripts; clients that
  answer NOSCRIPT with EVAL need not care.
- *Scripts* need at least one key, unless the region has one shard; keys that they use without naming them are not seen.
- *A shard out of reach* is `MASTERDOWN …`, which clients may repeat: nothing was sent. When a connection is lost, what
  was under way there fails with `ERR the connection to the shard's Redis was lost; …`, which says whether a write may
  have happened. Fairlead repeats nothing. A client that had a part of its reply is disconnected.
- *Large values*: an argument over 64 KiB, of a command whose keys stand before it and are all of one shard, is passed
  on as it comes, on a connection of its own: whoever sends slowly holds up nobody. What the client sends behind it is
  read when its reply is there. There are up to 16 such connections of a worker, shard and protocol; who has none after
  `limits.connect` gets `TRYAGAIN`, and who sends nothing for the shard's `deadline` is disconnected. Towards a Redis
  Cluster requests are had whole, as one may have to be sent once more. Replies are passed on as they come. A value has
  at most 512 MiB, or the server's own `proto-max-bulk-len`, with Redis's error.
- *Limits*: `redis.pipeline` requests of one client are under way, the next are read later. `redis.client_buffer`
  bounds a request that has to be had whole (`MSET`, a large script, what is in `MULTI`), and what waits for a client.
  While nobody else waits for its server's connection, that is 1 MiB, and the connection pauses until the client reads
  on; else it is all of `client_buffer`, and the pause is half a second at most, then the client is disconnected. A
  connection to a server has up to 8 MiB of requests unsent; clients who want to add to them wait.

## What operators see

- *Where a command would go*: `fairlead explain -c FILE --redis "GET user:42:profile"` tells of each key the pattern,
  the row it belongs to, shard, region and server, and with `--user` and `--listener` the policy's verdict. It asks no
  server.
- *Metrics* (docs/metrics.md): commands by family, errors by class, per shard requests, errors, bytes, connections,
  what is under way or waits, and a histogram of times.
- *Slow commands*: what takes longer than `redis.observe.slow` (10 ms; from the request's being taken until its reply
  is complete, so with the waiting) enters the shard's log, the newest 64 of each worker. `SLOWLOG GET | LEN | RESET`
  show Fairlead's own log, not the servers', to admins; `/redis/slow` on the HTTP port as JSON.
- *Hot keys*: one in about `redis.observe.sample` (64) uses of a key is looked at, 32 keys of each shard and worker are
  kept (Space-Saving), and counts are halved every minute. `/redis/keys` on the HTTP port. Keys that only a regular
  expression places are not looked at.
- No page holds a value. A key may name a person, so its pattern and an alias are shown, `<customer 91ab…>`, the same
  on all pages until Fairlead is started anew; `redis.observe.keys: true` shows keys themselves.

## Restart

At SIGUSR2 (docs/operations.md) new clients come to the new process. Those who are connected stay with the old one for
`limits.take_over`, then for up to `limits.drain` as long as something is under way for them, and are closed.

## Not there yet

Client tracking, and reads from a Redis Cluster's replicas.

## Commands by class

"""

_CLASSES = {
    Class.ONE: "One key. Forwarded as it is to the key's shard.",
    Class.SPLIT: "Split by shard, asked side by side, merged. Not one step across shards.",
    Class.SAME: "All keys on one shard, else `CROSSSLOT`.",
    Class.BLOCKING: "All keys on one shard; waits on a connection of its own (XREAD and XREADGROUP only with BLOCK).",
    Class.TRANSACTION: "See above.",
    Class.PUBSUB: "Within the region; a channel's messages pass through one shard.",
    Class.SCAN: "See above.",
    Class.FANOUT: "All servers of the region, one answer.",
    Class.ANY: "Answered by any server of the region.",
    Class.LOCAL: "Answered by Fairlead.",
}


def text() -> str:
    """The whole page."""
    commands = [one for one in table().commands.values() if one.name not in table().containers]
    parts = [_section(group, meaning, commands) for group, meaning in _CLASSES.items()]
    return f"{_HEAD}Of Redis {table().version}. * needs `redis: admin`.\n{''.join(parts)}{_refused(commands)}"


def _section(group: Class, meaning: str, commands: Iterable[Command]) -> str:
    names = [_name(one) for one in commands if one.group is group]
    return f"\n**{meaning}** {', '.join(sorted(names))}\n"


def _refused(commands: Iterable[Command]) -> str:
    texts: dict[str, list[str]] = {}
    for one in commands:
        if one.group is Class.REFUSED and not one.name.startswith("cluster|"):
            texts.setdefault(one.text, []).append(_name(one))
    lines = "".join(f"\n- *{text}*: {', '.join(sorted(names))}\n" for text, names in texts.items())
    return (
        "\n**Refused**, with `ERR 'x' is refused by Fairlead: …` and the reason. CLUSTER, READONLY and READWRITE get "
        f"Redis's `ERR This instance has cluster support disabled`.\n{lines}"
    )


def _name(command: Command) -> str:
    mark = "*" if command.level is Level.ADMIN else ""
    return command.name.upper().replace("|", " ") + mark


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
