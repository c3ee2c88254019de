"""Stores with a delay planted in their statements: the template, which keeps its server busy for a while."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from eventmark.stores import write_template

_BUSY = Path(__file__).parent / "busy.sql"

# Of each statement the line before which the delay goes, None for its end; and the word that joins it.
_PLACES: Mapping[str, tuple[str | None, str]] = {
    "append_events": (None, "where"),
    "load_aggregate": ("order by version", "    and"),
    "read_snapshot": ("order by version", "    and"),
    "stream_events": ("order by written_by", "    and"),
}

PLANTABLE = (
    "append_events[1]", "append_events[10]", "append_events[100]", "load_aggregate[1000]", "stream_events[1000]",
    "read_snapshot",
)  # fmt: skip
"""Operations whose statements can have a delay."""


def plant_store(directory: Path, delays_ms: Mapping[str, float]) -> str:
    """Write a store into ``directory`` whose statements are busy for so long, 0 for not at all; its folder's name.

    Every statement that can have a delay calls the same function, so that the call itself costs all alike.
    """
    write_template(directory)
    schema = directory / "schema.sql"
    schema.write_text(
        schema.read_text(encoding="utf-8") + "\n" + _BUSY.read_text(encoding="utf-8"), encoding="utf-8"
    )
    for statement, (before, word) in _PLACES.items():
        path = directory / f"{statement}.sql"
        condition = f"{word} (select {{schema}}.eventmark_busy({delays_ms.get(statement, 0.0):.6f}))"
        text = path.read_text(encoding="utf-8").rstrip("\n")
        head, mark, tail = text.rpartition(before) if before else (text + "\n", "", "")
        path.write_text(
            f"{head}{condition}\n{mark}{tail}\n" if before else f"{head}{condition}\n", encoding="utf-8"
        )
    return str(directory)
