"""The command line as a new user meets it: in a folder of one's own, with nothing prepared."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from eventmark.results.files import read_result
from eventmark.results.results import Verdict
from eventmark.results.targets import DEFAULT_TARGETS

ROOT = Path(__file__).parents[2]


def eventmark(
    *arguments: str, at: Path, module: str = "eventmark.cli.main"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=at, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    at = tmp_path_factory.mktemp("run")
    server = os.environ.get("EVENTMARK_TEST_SERVER", "embedded")
    asked = ("--events", "20k", "--profile", "quick", "--no-floors", "--server", server)
    return at, eventmark("run", *asked, at=at, module="tests.quick_command")


def test_the_main_job_ends_with_a_verdict_and_every_report(
    quick_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    at, done = quick_run
    assert "Traceback" not in done.stderr
    assert {path.name for path in (at / "out").iterdir()} == {
        "result.json", "report.html", "report.md", "junit.xml", "jmh.json", "metrics.prom",
    }  # fmt: skip
    result = read_result(at / "out" / "result.json")
    assert done.returncode == {Verdict.MET: 0, Verdict.BROKEN: 1, Verdict.INCONCLUSIVE: 3}[result.verdict]
    assert "verdict: " + result.verdict.value in done.stdout


def test_the_result_holds_every_operation_by_its_name(
    quick_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    document: dict[str, Any] = json.loads((quick_run[0] / "out" / "result.json").read_text())
    assert set(document["operations"]) == set(DEFAULT_TARGETS)
    for operation in document["operations"].values():
        assert set(operation["latency_ms"]) == {"p50", "p95", "p99", "p999", "max"}
        assert operation["samples"] >= 10  # as many as the time allows: a busy machine takes few
        assert operation["target_ms"] > 0
        assert operation["verdict"] in ("MET", "BROKEN", "INCONCLUSIVE")
        assert operation["failed"] == 0
    assert document["verdict"] in ("MET", "BROKEN", "INCONCLUSIVE")
    assert document["corpus"]["events"] == 20_000
    assert {plan["statement"] for plan in document["plans"]} >= {
        "append_events",
        "load_aggregate",
        "stream_events",
    }
    assert any(series["name"] == "server_cpu" for series in document["series"])
    assert all(finding["verdict"] == "MET" for finding in document["corpus"]["audit"])


def test_nothing_is_left_behind_and_no_password_is_shown(
    quick_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    at, done = quick_run
    assert [path.name for path in at.iterdir()] == ["out"]
    text = (at / "out" / "result.json").read_text() + done.stdout + done.stderr
    assert "eventmark_store@127.0.0.1" in text
    assert "eventmark:" not in text.replace("eventmark: ", "")


def test_a_result_can_be_shown_again(quick_run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    at, done = quick_run
    again = eventmark("report", "out/result.json", "--out", "again", at=at)
    assert again.returncode == done.returncode
    assert (at / "again" / "report.html").read_text() == (at / "out" / "report.html").read_text()


@pytest.mark.long
def test_from_a_new_store_to_its_verdict_in_under_five_minutes(tmp_path: Path) -> None:
    began_s = time.monotonic()
    server = os.environ.get("EVENTMARK_TEST_SERVER", "embedded")
    assert eventmark("stores", "new", "my-store", at=tmp_path).returncode == 0
    checked = eventmark("stores", "check", "--store", "./my-store", "--server", server, at=tmp_path)
    assert checked.returncode == 0, checked.stderr
    done = eventmark(
        "run",
        "--events",
        "20k",
        "--profile",
        "quick",
        "--store",
        "./my-store",
        "--server",
        server,
        at=tmp_path,
    )
    assert "Traceback" not in done.stderr
    result = read_result(tmp_path / "out" / "result.json")
    assert result.environment.store.name == "my-store"
    assert set(result.operations) == set(DEFAULT_TARGETS)
    assert all(operation.failed == 0 for operation in result.operations.values())
    assert time.monotonic() - began_s < 300  # bound: what the README promises


@pytest.mark.long
def test_from_pip_install_to_a_verdict_on_ones_own_schema_in_under_five_minutes(shared_path: Path) -> None:
    """Nothing of the source tree is there: what the package does not bring along is missed here."""
    root = Path(__file__).parents[2]
    began_s = time.monotonic()
    subprocess.run([sys.executable, "-m", "venv", shared_path / "venv"], check=True)
    python, program = shared_path / "venv" / "bin" / "python", shared_path / "venv" / "bin" / "eventmark"
    source = shutil.copytree(
        root, shared_path / "source", ignore=shutil.ignore_patterns(".*", "build", "out")
    )
    subprocess.run([python, "-m", "pip", "install", "--quiet", source], check=True)
    shutil.rmtree(source)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        server = ("--server", os.environ.get("EVENTMARK_TEST_SERVER", "embedded"))
        return subprocess.run(
            [program, *arguments, *(() if arguments[:2] == ("stores", "new") else server)],
            cwd=shared_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert run("stores", "new", "shop").returncode == 0
    for path in (shared_path / "shop").iterdir():  # a schema of one's own: other tables, other columns
        text = path.read_text()
        for ours, theirs in (
            ("{schema}.events", "{schema}.journal"),
            ('events = "events"', 'events = "journal"'),
            ("recorded_at", "happened"),
        ):
            text = text.replace(ours, theirs)
        path.write_text(text)
    checked = run("stores", "check", "--store", "./shop")
    assert checked.returncode == 0, checked.stderr
    done = run("run", "--events", "50k", "--profile", "quick", "--store", "./shop")
    assert done.returncode in (0, 1, 3), done.stderr
    result = read_result(shared_path / "out" / "result.json")
    assert set(result.operations) == set(DEFAULT_TARGETS)
    assert all(operation.failed == 0 for operation in result.operations.values())
    assert "journal" in next(plan.query for plan in result.plans if plan.statement == "load_aggregate")
    assert time.monotonic() - began_s < 300  # bound: what the README promises
