"""What a store keeps unique: an append is refused by it, and a candidate that lost it is quicker and unsafe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

_UNIQUE = """
select t.relname::text as table_name, array_agg(pg_get_indexdef(i.indexrelid, place, true) order by place) as columns,
    coalesce(pg_get_expr(i.indpred, i.indrelid), '') as condition
from pg_index i join pg_class t on t.oid = i.indrelid, generate_series(1, i.indnkeyatts) as place
where t.relnamespace = to_regnamespace($1) and i.indisunique and not t.relispartition
group by i.indexrelid, i.indrelid, i.indpred, t.relname
order by t.relname, columns
"""


class UniqueKey(msgspec.Struct, frozen=True, kw_only=True):
    """Columns or expressions of a table that no two rows have alike; of those rows that ``condition`` names."""

    table: str
    columns: list[str]
    condition: str = ""

    def __str__(self) -> str:
        where = f" where {self.condition}" if self.condition else ""
        return f"{self.table} ({', '.join(self.columns)}){where}"

    def implies(self, other: UniqueKey) -> bool:
        """Whether what the other one refuses is refused by this one."""
        return (
            self.table == other.table
            and set(self.columns) <= set(other.columns)
            and self.condition in ("", other.condition)
        )


async def read_unique_keys(connection: asyncpg.Connection[Any], schema: str) -> list[UniqueKey]:
    """Those of the tables in ``schema``; of a partitioned one its own, not its partitions'."""
    rows = await connection.fetch(_UNIQUE, schema)
    return [
        UniqueKey(table=row["table_name"], columns=row["columns"], condition=row["condition"]) for row in rows
    ]


def lost_keys(base: Sequence[UniqueKey] | None, candidate: Sequence[UniqueKey] | None) -> list[UniqueKey]:
    """The base's keys that no key of the candidate implies; none where a side does not tell its keys."""
    if base is None or candidate is None:
        return []
    return [key for key in base if not any(other.implies(key) for other in candidate)]
