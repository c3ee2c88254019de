"""The gate on the command line: bad input in one line; two planted commits in a clone are caught."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eventmark.cli.main import run_command
from eventmark.results.files import read_result
from eventmark.results.results import Verdict
from eventmark.stores import write_template

SERVER = os.environ.get("EVENTMARK_TEST_SERVER", "embedded")
QUICK = ("--events", "20k", "--profile", "quick", "--server", SERVER)


def eventmark(*arguments: str, at: Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eventmark.cli.main", *arguments], cwd=at, capture_output=True, text=True,
        timeout=timeout_s, check=False,
    )  # fmt: skip


def git(place: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(place), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of a small repository; in it a base and, each on a branch of its own, two changes for the worse."""
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "-q", "-b", "main")
    write_template(origin / "my-store")
    git(origin, "add", "-A")
    git(origin, "commit", "-q", "-m", "a store")
    place = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(origin), str(place))
    plant(
        place,
        "slower-query",
        "load_aggregate.sql",
        "order by version",
        "    and (select true from pg_sleep(0.02))\norder by version",
    )
    index = "create unique index events_stream on {schema}.events (tenant, stream, version);\n"
    plant(place, "dropped-index", "indexes.sql", index, "")
    git(place, "checkout", "-q", "main")
    return place


def plant(place: Path, branch: str, file: str, old: str, new: str) -> None:
    git(place, "checkout", "-q", "-b", branch, "main")
    path = place / "my-store" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    git(place, "commit", "-q", "-a", "-m", branch)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--base", "nowhere", "--store", "my-store"), 2, "'nowhere' is not a commit"),
        (("--base", "main", "--store", "other"), 2, "no store other"),
        (("--base", "main"), 2, "no store of its own"),
        (("--base", "eaf", "--candidate", "my-store", "--only", "append_event[1]"), 2, "did you mean"),
        (("--base", "eaf", "--candidate", "my-store", "--slowdown", "much"), 2, "not a share"),
        (("--base", "eaf", "--candidate", "my-store", "--seconds", "0"), 2, "--seconds"),
        (("--base", "postgresql://u:s3cret@127.0.0.1:1/x", "--candidate", "postgresql://u:s3cret@127.0.0.1:1/x"), 4, "127.0.0.1:1"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(
    clone: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(clone)
    assert run_command(["gate", *arguments]) == code
    text = capsys.readouterr().err
    assert said in text
    assert "s3cret" not in text


def test_a_store_that_the_candidate_adds_is_new_and_passes(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    git(clone, "checkout", "-q", "-b", "adds", "main")
    shutil.copytree(clone / "my-store", clone / "added")
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "add a store")
    monkeypatch.chdir(clone)
    assert run_command(["gate", "--base", "main", "--candidate", "HEAD", "--store", "added"]) == 0
    assert "the store is new" in " ".join(capsys.readouterr().err.split())
    assert run_command(["gate", "--base", "HEAD", "--candidate", "main", "--store", "added"]) == 2


@pytest.mark.long
@pytest.mark.parametrize(
    ("branch", "named"),
    [
        ("slower-query", ("load_aggregate[1000]: slower",)),
        ("dropped-index", ("plans of load_aggregate: worse", "events_stream")),
    ],
)
def test_a_planted_commit_is_caught_and_named(clone: Path, branch: str, named: tuple[str, ...]) -> None:
    done = eventmark(
        "gate",
        "--base",
        "main",
        "--candidate",
        branch,
        "--store",
        "my-store",
        *QUICK,
        at=clone,
        timeout_s=1200,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    found = read_result(clone / "out" / "result.json")
    assert found.verdict is Verdict.BROKEN
    for words in named:
        assert any(words in reason for reason in found.reasons), found.reasons
    report = (clone / "out" / "report.md").read_text()
    assert ("no longer has a unique index" in report) is (branch == "dropped-index")
    assert f"Candidate: {branch}, {git(clone, 'rev-parse', branch)[:12]}" in report.replace("\\", "")


@pytest.mark.long
def test_a_commit_that_changes_nothing_passes_or_is_undecided(clone: Path) -> None:
    done = eventmark(
        "gate", "--base", "main", "--candidate", ".", "--store", "my-store", "--only", "load_aggregate[1000],create_head_token",
        *QUICK, at=clone, timeout_s=1200,
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stdout + done.stderr


@pytest.mark.long
def test_two_revisions_of_eventmark_run_their_own_code(tmp_path: Path) -> None:
    """A clone of this repository, in which one commit makes the engine's own code slow."""
    root = Path(__file__).parents[2]
    if subprocess.run(["git", "-C", str(root), "rev-parse"], capture_output=True, check=False).returncode:
        pytest.skip("not a git repository")
    place = tmp_path / "eventmark"
    git(tmp_path, "clone", "-q", "--no-local", str(root), str(place))
    path = place / "src" / "eventmark" / "engine" / "store.py"
    text = path.read_text()
    head = "    async def create_head_token(self"
    assert head in text
    body = text.index('"""', text.index('"""', text.index(head)) + 3) + 3
    path.write_text(text[:body] + "\n        await __import__('asyncio').sleep(0.005)" + text[body:])
    git(place, "commit", "-q", "-a", "-m", "slow")
    done = eventmark(
        "gate", "--base", "HEAD~1", "--candidate", "HEAD", "--only", "create_head_token,read_snapshot", *QUICK,
        at=place, timeout_s=1200,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    found = read_result(place / "out" / "result.json")
    assert [reason.partition(":")[0] for reason in found.reasons if "slower" in reason] == [
        "create_head_token"
    ]
