"""Appends at a steady rate for long: memory, latency, garbage, tables, autovacuum, WAL."""
