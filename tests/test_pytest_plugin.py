"""The pytest plugin, as a team uses it: in a folder of its own, with its own store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from eventmark.stores import write_template

TESTS = """
import asyncio

def test_anything_else(): pass

def test_targets(assert_within_targets):
    results = assert_within_targets("create_head_token")
    assert results["create_head_token"].samples > 100

def test_by_hand(eventmark_store):
    async def ask():
        async with await eventmark_store.open() as store:
            return await store.create_head_token()
    assert asyncio.run(ask()).global_sequence == eventmark_store.events == 20_000

def test_plans(eventmark_store):
    assert {plan.verdict.value for plan in eventmark_store.examine_plans()} == {"MET"}
"""


@pytest.fixture
def team(pytester: pytest.Pytester, database: str) -> pytest.Pytester:
    write_template(pytester.path / "my-store")
    pytester.makeini(
        f"""
        [pytest]
        eventmark_store = my-store
        eventmark_events = 20k
        eventmark_server = {database}
        """
    )
    return pytester


def test_what_needs_a_store_is_skipped_unless_it_is_asked_for(team: pytest.Pytester) -> None:
    team.makepyfile(TESTS)
    team.runpytest_subprocess("-rs").assert_outcomes(passed=1, skipped=3)


def test_a_teams_store_is_seeded_once_and_held_to_its_targets(team: pytest.Pytester) -> None:
    # A median: few samples bound it, also where they depend on each other
    target = '"create_head_token" = { quantile = "p50", limit_ms = 1000 }\n'
    (team.path / "my-store" / "store.toml").open("a").write(target)
    team.makepyfile(TESTS)
    team.runpytest_subprocess("--eventmark", "-rs").assert_outcomes(passed=4)


UNMET = """
def test_broken(assert_within_targets): assert_within_targets("create_head_token")

def test_unsure(assert_within_targets): assert_within_targets("read_snapshot")
"""


@pytest.mark.parametrize(
    ("strict", "outcomes"),
    [
        ((), {"failed": 1, "skipped": 1}),
        pytest.param(("--eventmark-strict",), {"failed": 2}, marks=pytest.mark.long),
    ],
)
def test_a_target_that_is_broken_fails_and_one_that_cannot_be_told_is_no_pass(
    team: pytest.Pytester, strict: tuple[str, ...], outcomes: dict[str, int]
) -> None:
    """p99.9 of a few hundred calls is bounded by none of them."""
    (team.path / "my-store" / "store.toml").open("a").write(
        '"create_head_token" = 0.0001\n"read_snapshot" = { quantile = "p999", limit_ms = 100000 }\n'
    )
    team.makepyfile(UNMET)
    done = team.runpytest_subprocess("--eventmark", *strict)
    done.assert_outcomes(**outcomes)
    done.stdout.fnmatch_lines(["create_head_token: *p95 * ms, 95% interval *, target 0.0001 ms"])


def test_a_store_that_is_wrong_is_one_clear_error(team: pytest.Pytester) -> None:
    (team.path / "my-store" / "schema.sql").write_text("create table {schema}.events (nothing int")
    team.makepyfile("def test_it(eventmark_store): pass")
    done = team.runpytest_subprocess("--eventmark")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*StoreDefinitionError: *schema.sql:*"])


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
