"""Extensions that measuring is better with: made on a server of our own, used on another's where they are there.

Their functions are called by their schema's name: the search path of a store's connections leads there only where
nobody else keeps anything.
"""

from __future__ import annotations

from typing import Any

import asyncpg


async def extension_schema(connection: asyncpg.Connection[Any], name: str) -> str | None:
    """The schema of an extension, as SQL writes it; None where the extension is not installed."""
    schema: str | None = await connection.fetchval(
        "select quote_ident(n.nspname) from pg_extension e join pg_namespace n on n.oid = e.extnamespace"
        " where e.extname = $1",
        name,
    )
    return schema


async def missing_extension(connection: asyncpg.Connection[Any], name: str, *, ours: bool) -> str:
    """Empty where the extension is there, or was made on a server of ours; else why it is not."""
    if await extension_schema(connection, name) is not None:
        return ""
    if not ours:
        return (
            f"extension {name} is not installed, and nothing is installed on a server that is not Eventmark's"
        )
    try:
        await connection.execute(f"create extension if not exists {name} schema public")
    except asyncpg.PostgresError as error:  # binaries without contributed modules
        return f"{name}: {str(error).partition(chr(10))[0]}"
    return ""
