"""Statements that take several shards or several steps: leases on backends, cursors over answers, merges, writes."""
