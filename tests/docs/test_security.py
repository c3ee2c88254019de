"""SECURITY.md lists every statement that drops, changes or resets something, and nothing that is not there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "eventmark"
_THINGS = "schema|table|index|role|owned|policy|trigger|function|routine|sequence|constraint|database|extension|system"
_STATEMENT = re.compile(
    rf"""
    \b(?:drop|alter)\s+(?:{_THINGS})\b | \bcreate\s+(?:role|extension|database)\b | \bdelete\s+from\b | \block\s+table\b
    | \bcomment\s+on\b | \bsetval\b | \bpg_stat\w*_reset\w* | \bpg_reload_conf\b | \bpg_(?:terminate|cancel)_backend\b
    | \bpg_buffercache_evict\w* | \bupdate(?=\s+\S+\s+(?:as\s+\w+\s+)?set\b)
    | (?:\A|;|\n)\s*(?:truncate|vacuum|checkpoint|reindex)(?=\s*\Z|\s+\S|;)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_ROW = re.compile(r"^\| `(?P<place>[^`]+)` \| (?P<statements>[^|]+) \| (?P<guard>[^|]+) \|$", re.MULTILINE)
_GUARDS = {"corpus", "scratch", "asked", "new", "ours", "text"}


def _texts(path: Path) -> Iterator[str]:
    """What of a file may be sent to a server: an SQL file without its comments, a module's texts but docstrings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".sql":
        yield re.sub(r"--.*", "", text)
        return
    tree, skipped = ast.parse(text), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))  # a docstring
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(value) for value in node.values}
            yield "".join(value.value if isinstance(value, ast.Constant) else "{}" for value in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


def statements_of(path: Path) -> set[str]:
    return {
        " ".join(found[0].lower().split()).removeprefix("; ")
        for text in _texts(path)
        for found in _STATEMENT.finditer(text)
    }


def in_source() -> dict[str, set[str]]:
    files = sorted([*SOURCE.rglob("*.py"), *SOURCE.rglob("*.sql")])
    return {str(path.relative_to(SOURCE)): found for path in files if (found := statements_of(path))}


def listed() -> dict[str, set[str]]:
    rows = list(_ROW.finditer((ROOT / "SECURITY.md").read_text(encoding="utf-8")))
    assert all(set(re.findall(r"\*\*(\w+)\*\*", row["guard"])) & _GUARDS for row in rows)
    return {row["place"]: set(re.findall(r"`([^`]+)`", row["statements"])) for row in rows}


def test_every_statement_that_could_do_harm_is_listed_with_its_guard() -> None:
    assert listed() == in_source()


def test_a_new_statement_would_be_seen(tmp_path: Path) -> None:
    module, script = tmp_path / "new.py", tmp_path / "new.sql"
    module.write_text(
        '"""drop schema in a docstring."""\nasync def f(c, s):\n    await c.execute(f"DROP  SCHEMA {s} cascade")\n'
        '    await c.execute("select pg_stat_reset()")\n    await c.execute(f"vacuum {s}.t; truncate {s}.t")\n'
    )
    script.write_text("-- drop table in a comment\nupdate {schema}.events set payload = null;\n")
    assert statements_of(module) == {"drop schema", "pg_stat_reset", "vacuum", "truncate"}
    assert statements_of(script) == {"update"}
    assert statements_of(Path(__file__).with_name("__init__.py")) == set()
