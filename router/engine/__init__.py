"""The engine: what several shards' answers become, exactly as one server that holds all rows would give it.

Primitives and their plans; no sockets and no clocks. A primitive awaits on a `Cursor` only. What is sent to the
shards is the client's own text with helper columns behind its select list (`recipe`, `assemble`); their answers are
compared by keys of bytes (`columns`, `_speedups.rows`), and helper columns never reach the client.
"""
