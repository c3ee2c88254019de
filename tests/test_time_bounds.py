"""No test is judged by the speed of the machine: who bounds elapsed time says why."""

from __future__ import annotations

import re
from pathlib import Path

BOUND = re.compile(r"assert .*\b(monotonic|perf_counter)(_ns)?\(\).*<(?!=)(?!.*deadline)")


def unexplained(path: Path) -> list[str]:
    lines = enumerate(path.read_text().splitlines(), 1)
    return [f"{path}:{number}" for number, line in lines if BOUND.search(line) and "# bound: " not in line]


def test_an_upper_bound_on_elapsed_time_has_its_reason_beside_it(tmp_path: Path) -> None:
    here = Path(__file__).parent
    assert [
        found for path in sorted(here.rglob("*.py")) if path != Path(__file__) for found in unexplained(path)
    ] == []
    planted = tmp_path / "test_planted.py"
    planted.write_text("assert time.monotonic() - began_s < 3\nassert perf_counter() - t < 3  # bound: why\n")
    assert unexplained(planted) == [f"{planted}:1"]
