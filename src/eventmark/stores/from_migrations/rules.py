"""Which rules somebody's migrations need to run in a schema of Eventmark's: found by PostgreSQL's grammar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eventmark.errors import UsageError
from eventmark.stores.left_out import in_schema, kind_of
from eventmark.stores.migrations import Rules
from eventmark.stores.script import parsed_statements


def rules_for(files: Sequence[tuple[Path, str]]) -> tuple[Rules, list[str]]:
    """The rules, and what each leaves out: "extensions (db/V1.sql:1)".

    Raises ``UsageError`` for tables in several schemas, ``StoreDefinitionError`` for SQL that cannot be read.
    """
    kinds: dict[str, str] = {}
    made: set[str] = set()
    schemas: set[str] = set()
    for path, text in files:
        shown = in_schema(text, "own", Rules())
        raw = shown.encode()
        for parsed in parsed_statements(path, shown, 1):
            schemas |= {name for name in (_schema_of_table(parsed),) if name}
            created = parsed.stmt.create_schema_stmt.schemaname
            kind = kind_of(parsed)
            if created and kind:
                made.add(created)
            elif kind and kind not in kinds:
                start = parsed.stmt_location
                blank = raw[start:].decode().lstrip()
                start = len(raw) - len(blank.encode())
                kinds[kind] = f"{kind} ({path}:{1 + raw.count(10, 0, start)})"
    schemas.discard("own")
    if len(schemas) > 1:
        raise UsageError(
            f"the migrations make tables in several schemas: {', '.join(sorted(schemas))}",
            remedy="name the files of one of them with --from",
        )
    rules = Rules(schemas=tuple(sorted(schemas | made)), leave_out=frozenset(kinds))
    return rules, [kinds[kind] for kind in sorted(kinds)]


def _schema_of_table(parsed: object) -> str:
    relation = parsed.stmt.create_stmt.relation  # type: ignore[attr-defined]
    return str(relation.schemaname)
