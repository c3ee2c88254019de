"""Pools, refused connections, a hot aggregate, deadlocks, long transactions, checkpoints."""
