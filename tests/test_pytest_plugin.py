"""The pytest plugin, as a team uses it: in a folder of its own, with its own store."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from eventmark.stores import write_template
from tests.test_documentation import ROOT, blocks

SECTION = (ROOT / "docs" / "regressions.md").read_text().partition("## Beside your other tests")[2]
EXAMPLE, SETTINGS = blocks(SECTION, "python")[0], blocks(SECTION, "ini")[0]
GENEROUS = '{ quantile = "p50", limit_ms = 10_000 }'  # a median: few samples bound it, also where they depend


@pytest.fixture
def team(pytester: pytest.Pytester, database: str, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    write_template(pytester.path / "my-store")
    pytester.makeconftest("from tests.quick_command import shorten\nshorten()")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{ROOT}")
    pytester.makeini(SETTINGS.replace("50k", "20k") + f"eventmark_server = {database}\n")
    return pytester


def test_what_needs_a_store_is_skipped_unless_it_is_asked_for(team: pytest.Pytester) -> None:
    team.makepyfile(EXAMPLE + "\ndef test_anything_else() -> None: pass")
    team.runpytest_subprocess("-rs").assert_outcomes(passed=1, skipped=3)


def test_the_documented_example_runs_as_it_stands_and_without_another_plugin(team: pytest.Pytester) -> None:
    definition = team.path / "my-store" / "store.toml"
    definition.write_text(
        re.sub(r'^("\w+\[\d+\]") = \d+$', rf"\1 = {GENEROUS}", definition.read_text(), flags=re.M)
    )
    team.makepyfile(EXAMPLE)
    team.runpytest_subprocess("--eventmark", "-rs", "-p", "no:asyncio").assert_outcomes(passed=3)


@pytest.mark.long
def test_the_documented_example_passes_a_strict_type_check(tmp_path: Path) -> None:
    (tmp_path / "test_store.py").write_text(EXAMPLE)
    (tmp_path / "test_wrong.py").write_text(
        EXAMPLE.replace("eventmark_store.events > 0", "eventmark_store.evnts")
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports", "silent", "--cache-dir",
         ROOT / ".mypy_cache" / "example", "test_store.py", "test_wrong.py"],
        cwd=tmp_path, env={**os.environ, "MYPYPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert [line.partition(":")[0] for line in done.stdout.splitlines() if "error:" in line] == [
        "test_wrong.py"
    ]
    assert "evnts" in done.stdout


UNMET = """
def test_plans(assert_plans_met): assert_plans_met()

def test_broken(assert_within_targets): assert_within_targets("create_head_token")

def test_unsure(assert_within_targets): assert_within_targets("read_snapshot")
"""


@pytest.mark.parametrize(
    ("strict", "outcomes"),
    [
        ((), {"failed": 2, "skipped": 1}),
        pytest.param(("--eventmark-strict",), {"failed": 3}, marks=pytest.mark.long),
    ],
)
def test_a_plan_and_a_target_that_are_broken_fail_and_one_that_is_undecided_is_no_pass(
    team: pytest.Pytester, strict: tuple[str, ...], outcomes: dict[str, int]
) -> None:
    """p99.9 of a few hundred calls is bounded by none of them."""
    indexes = team.path / "my-store" / "indexes.sql"
    kept = [line for line in indexes.read_text().splitlines() if "_position" not in line]
    indexes.write_text("\n".join(kept))
    (team.path / "my-store" / "store.toml").open("a").write(
        '"create_head_token" = 0.0001\n"read_snapshot" = { quantile = "p999", limit_ms = 100000 }\n'
    )
    team.makepyfile(UNMET)
    done = team.runpytest_subprocess("--eventmark", *strict)
    done.assert_outcomes(**outcomes)
    done.stdout.fnmatch_lines(["*_events, *: *, expected *"])
    done.stdout.fnmatch_lines(["create_head_token: *p95 * ms, 95% interval *, target 0.0001 ms"])


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("tenant text", "tenant", "StoreDefinitionError: *schema.sql:*"),
        (
            "tenant text",
            "tenant date",
            "*Error: *tenant*date*",
        ),
    ],
)
def test_a_store_that_is_wrong_is_one_clear_error(
    team: pytest.Pytester, right: str, wrong: str, said: str
) -> None:
    schema = team.path / "my-store" / "schema.sql"
    schema.write_text(schema.read_text().replace(right, wrong))
    team.makepyfile("def test_it(eventmark_store): pass")
    done = team.runpytest_subprocess("--eventmark")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines([said])
    assert "Traceback" not in done.stdout.str()
    assert "During handling" not in done.stdout.str()
    assert "seeded_store" not in done.stdout.str()  # no line of ours


def test_the_plugin_costs_nothing_where_it_is_not_used() -> None:
    """It is loaded by every pytest that runs where Eventmark is installed."""
    code = "import sys, eventmark.pytest_plugin; print([n for n in sys.modules if n.split('.')[0] in "
    code += "('numpy', 'asyncpg', 'scipy', 'altair', 'msgspec', 'rich')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_pytest_finds_it_by_its_entry_point(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "--eventmark-store" in done.stdout
