"""Transactions over several shards: two-phase commit, the decision kept by one of them (docs/transactions.md)."""
