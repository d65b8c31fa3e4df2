"""The MySQL protocol's own names for its own numbers, one family per module."""
