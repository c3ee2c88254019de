"""The command line as a new user meets it: in a folder of one's own, with nothing prepared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventmark.measure.files import read_result
from eventmark.measure.results import Verdict
from eventmark.measure.targets import DEFAULT_TARGETS


def eventmark(*arguments: str, at: Path, timeout_s: float = 400) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eventmark.cli.main", *arguments],
        cwd=at, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    at = tmp_path_factory.mktemp("run")
    server = os.environ.get("EVENTMARK_TEST_SERVER", "embedded")
    return at, eventmark("run", "--events", "30k", "--profile", "quick", "--server", server, at=at)


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
        assert operation["samples"] > 10  # as many as the time allows: a busy machine takes few
        assert operation["target_ms"] > 0
        assert operation["verdict"] in ("MET", "BROKEN", "INCONCLUSIVE")
        assert operation["failed"] == 0
    assert document["verdict"] in ("MET", "BROKEN", "INCONCLUSIVE")
    assert document["corpus"]["events"] == 30_000
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
    assert "eventmark@127.0.0.1" in text
    assert "eventmark:" not in text.replace("eventmark: ", "")


def test_a_result_can_be_shown_again(quick_run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    at, done = quick_run
    again = eventmark("report", "out/result.json", "--out", "again", at=at)
    assert again.returncode == done.returncode
    assert (at / "again" / "report.html").read_text() == (at / "out" / "report.html").read_text()


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
    assert time.monotonic() - began_s < 300


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run", "--events", "0"), 2, "number of events"),
        (("run", "--events", "-5"), 2, "number of events"),
        (("run", "--tenants", "1"), 2, "tenants"),
        (("run", "--profile", "quik"), 2, "did you mean 'quick'"),
        (("run", "--store", "eafs"), 2, "did you mean 'eaf'"),
        (("run", "--store", "./none"), 2, "store.toml"),
        (("run", "--server", "cloud"), 2, "unknown server"),
        (("run", "--port", "99999"), 2, "99999"),
        (("run", "--targets", "none.toml"), 2, "none.toml"),
        (("run", "--evnts", "5"), 2, "--evnts"),
        (("fly",), 2, "fly"),
        (("run", "--schema", "pg_x"), 2, "pg_x"),
        (("run", "--schema", 'public"; drop'), 2, "schema name"),
        (("report", "none.json"), 2, "none.json"),
        (("run", "--server", "postgresql://u:s3cret@127.0.0.1:1/x"), 4, "127.0.0.1:1"),
        (("run", "--events", "900M"), 4, "GiB"),
    ],
)
def test_bad_input_is_one_clear_line_with_its_exit_code(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = eventmark(*arguments, at=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr + done.stdout
    assert len(done.stderr.strip().splitlines()) <= 4


def test_an_output_folder_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "flat").write_text("")
    began_s = time.monotonic()
    done = eventmark("run", "--out", "flat/out", at=tmp_path)
    assert (done.returncode, "--out" in done.stderr) == (4, True)
    assert time.monotonic() - began_s < 10


def test_a_settings_file_is_read_and_its_mistakes_named(tmp_path: Path) -> None:
    (tmp_path / "eventmark.toml").write_text('evets = "50k"\n')
    done = eventmark("run", at=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'events'" in done.stderr


@pytest.fixture
def shared_path() -> Iterator[Path]:
    """Where the server's own user may enter, too: pytest's folders are private."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_interrupted_seeding_says_how_to_go_on_and_goes_on(shared_path: Path) -> None:
    tmp_path = shared_path
    command = ["seed", "--events", "150k", "--directory", "cluster"]
    process = subprocess.Popen(
        [sys.executable, "-m", "eventmark.cli.main", *command], cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    time.sleep(4.0)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    if process.returncode == 0:
        pytest.skip("this machine seeded 150,000 events before it could be interrupted")
    assert process.returncode == 4
    assert "goes on where it stopped" in said
    assert "Traceback" not in said
    again = eventmark(*command, at=tmp_path)
    assert again.returncode == 0, again.stderr
    audited = eventmark("audit", "--events", "150k", "--directory", "cluster", at=tmp_path)
    assert audited.returncode == 0, audited.stdout


def test_every_verb_is_in_the_readme() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for verb in (
        "run",
        "seed",
        "audit",
        "bench",
        "explain",
        "limits",
        "report",
        "stores",
        "doctor",
        "verify",
        "advise",
    ):
        assert f"eventmark {verb}" in readme or f"`{verb}`" in readme, verb
