"""Group append by many callers beside single appends by pgbench."""
