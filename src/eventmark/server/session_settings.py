"""Settings of a role, a database or a server that would break the work or change what is read, set right by the DSN.

Set there they hold for the driver, psql and pgbench alike, and for their sessions alone. What the DSN's own options
ask for is kept, and so is what belongs to the store's use: isolation, planner settings, ``synchronous_commit``.
"""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

_WANTED = {
    "DateStyle": "ISO,MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "row_security": "on",
    "default_transaction_deferrable": "off",
    # A load, an index build or a held snapshot takes the time it takes.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
_SET = """
select name, pg_catalog.current_setting(name) as value from pg_catalog.pg_settings
where name = any($1) and source <> 'client' order by name
"""


async def replaced_settings(dsn: str) -> dict[str, str]:
    """The settings that sessions of the DSN have and that have to be others, with their values."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(_SET, list(_WANTED))
    finally:
        await connection.close()
    return {
        row["name"]: row["value"] for row in rows if row["value"].replace(" ", "") != _WANTED[row["name"]]
    }


def session_options(replaced: Mapping[str, str]) -> str:
    """The options of a DSN that set them right."""
    return " ".join(f"-c{name}={_WANTED[name]}" for name in replaced)
