"""Group append by many callers, compared with single appends by pgbench."""
