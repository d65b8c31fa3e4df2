"""Redis under the topology: commands as data, the keys in them, and where a key lives. No sockets, no clocks."""
