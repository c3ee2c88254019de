"""Load generated on libpq: lighter than what it measures, and the same for any store."""
