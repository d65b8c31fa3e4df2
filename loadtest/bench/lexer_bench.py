"""Nanoseconds per lex_into call for statements of five sizes: python -m loadtest.bench.lexer_bench

The best of several rounds is printed: on a shared machine the best is the figure least disturbed by others.
"""

from __future__ import annotations

import platform
import time

from _speedups import lexer

ROUNDS = 7
BYTES_PER_ROUND = 4_000_000

STATEMENTS: dict[str, bytes] = {
    "point select": b"SELECT c FROM sbtest1 WHERE id=5012345",
    "join": b"SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id "
    b"WHERE o.customer_id = 4711 AND o.state IN ('new', 'paid', 'sent') AND o.created >= '2024-01-01' "
    b"ORDER BY o.created DESC LIMIT 20, 10",
    "ORM select": b"SELECT `users`.`id` AS `users_id`, `users`.`email` AS `users_email`, `users`.`name` AS "
    b"`users_name`, `users`.`created_at` AS `users_created_at`, `users`.`settings` AS `users_settings` "
    b"FROM `users` LEFT OUTER JOIN `teams` AS `teams_1` ON `teams_1`.`id` = `users`.`team_id` "
    b"WHERE `users`.`tenant_id` = 42 AND `users`.`email` = 'somebody@example.org' LIMIT 1",
    "IN list of 1,000": b"SELECT id, name FROM products WHERE id IN ("
    + b", ".join(b"%d" % (100_000 + 7 * k) for k in range(1000))
    + b")",
    "INSERT of 1,000 rows": b"INSERT INTO events (id, kind, body, weight) VALUES "
    + b", ".join(b"(%d, 'click', 'a body of some length, number %d', 0.5)" % (k, k) for k in range(1000)),
}


def nanoseconds(sql: bytes) -> float:
    calls = max(1, BYTES_PER_ROUND // (len(sql) + 50))
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        lexer.repeat(sql, 0, calls)
        best = min(best, (time.perf_counter_ns() - start) / calls)
    return best


def main() -> None:
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}, "
        f"best of {ROUNDS} rounds"
    )
    print(f"{'statement':<22}{'bytes':>8}{'ns':>12}{'ns/byte':>10}")
    for name, sql in STATEMENTS.items():
        taken = nanoseconds(sql)
        print(f"{name:<22}{len(sql):>8}{taken:>12.1f}{taken / len(sql):>10.2f}")


if __name__ == "__main__":
    main()
