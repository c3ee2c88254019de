"""Extensions that measuring is better with: made on a server of our own, used on another's where they are there."""

from __future__ import annotations

from typing import Any

import asyncpg


async def missing_extension(connection: asyncpg.Connection[Any], name: str, *, ours: bool) -> str:
    """Empty where the extension is there, or was made on a server of ours; else why it is not."""
    if await connection.fetchval("select exists (select from pg_extension where extname = $1)", name):
        return ""
    if not ours:
        return (
            f"extension {name} is not installed, and nothing is installed on a server that is not Eventmark's"
        )
    try:
        await connection.execute(f"create extension if not exists {name}")
    except asyncpg.PostgresError as error:  # binaries without contributed modules
        return f"{name}: {str(error).partition(chr(10))[0]}"
    return ""
