"""What names a side: a revision, a store, settings, a server; checked out without a trace in the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from eventmark.errors import CannotRunError, UsageError
from eventmark.sidebyside import sides
from eventmark.sidebyside.grounds import with_settings
from eventmark.sidebyside.sides import PROGRAM, Side, all_installed, both_sides
from eventmark.stores import write_template

ROOT = Path(__file__).parents[2]


def git(place: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(place), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A project with a store in a folder of its own; its last commit changes a statement."""
    place = tmp_path / "project"
    (place / "db").mkdir(parents=True)
    git(place, "init", "-q", "-b", "main")
    write_template(place / "db" / "my-store")
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "a store")
    statement = place / "db" / "my-store" / "load_aggregate.sql"
    statement.write_text(statement.read_text() + "-- changed\n")
    git(place, "commit", "-q", "-a", "-m", "changed")
    return place


def statement(side: Side) -> str:
    return (Path(side.store) / "load_aggregate.sql").read_text()


def test_two_revisions_have_their_own_store_each_and_the_repository_is_left_as_it_was(
    repository: Path,
) -> None:
    before = (
        git(repository, "worktree", "list"),
        git(repository, "status", "--porcelain"),
        git(repository, "branch"),
    )
    with both_sides("HEAD~1", "main", "db/my-store", repository) as (base, candidate):
        assert "-- changed" not in statement(base)
        assert "-- changed" in statement(candidate)
        assert base.revision == git(repository, "rev-parse", "HEAD~1")
        assert (base.source, candidate.source) == (None, None)
        places = [Path(base.store), Path(candidate.store)]
    assert not any(place.exists() for place in places)
    after = (
        git(repository, "worktree", "list"),
        git(repository, "status", "--porcelain"),
        git(repository, "branch"),
    )
    assert before == after


def test_a_store_is_found_from_the_folder_one_stands_in(repository: Path) -> None:
    with both_sides("HEAD~1", "HEAD", "./my-store", repository / "db") as (base, candidate):
        assert statement(base) != statement(candidate)


def test_the_work_tree_is_measured_as_it_is(repository: Path) -> None:
    path = repository / "db" / "my-store" / "load_aggregate.sql"
    path.write_text(path.read_text() + "-- not committed\n")
    with both_sides("HEAD", ".", "db/my-store", repository) as (base, candidate):
        assert "-- not committed" not in statement(base)
        assert "-- not committed" in statement(candidate)


def test_two_stores_are_two_sides(repository: Path) -> None:
    with both_sides("eaf", "db/my-store", "eaf", repository) as (base, candidate):
        assert base.store == "eaf"
        assert Path(candidate.store).is_absolute()


def test_settings_of_a_side_go_into_its_connections() -> None:
    with both_sides("server:default", "server:work_mem=64MB,jit=on", "eaf") as (base, candidate):
        assert with_settings("postgresql://u@h/d", base) == "postgresql://u@h/d"
        assert with_settings("postgresql://u@h/d", candidate) == "postgresql://u@h/d?work_mem=64MB&jit=on"


def test_a_server_is_shown_without_its_password() -> None:
    dsn = "postgresql://u:s3cret@127.0.0.1/x"
    with both_sides(dsn, dsn, "eaf") as (base, _):
        assert base.dsn == dsn
        assert "s3cret" not in repr(base)
        assert "s3cret" not in base.named


@pytest.mark.parametrize(
    ("base", "candidate", "store", "said"),
    [
        ("none", "HEAD", "db/my-store", "'none' is not a commit"),
        ("--all", "HEAD", "db/my-store", "is not a commit"),
        ("HEAD", "HEAD", "db/other", "no store db/other"),
        ("HEAD", "HEAD", "eaf", "no store of its own"),
        ("HEAD", "HEAD", "/somewhere", "lies in no revision"),
        ("server:", "HEAD", "db/my-store", "is not a commit"),
        ("server:work_mem", "server:default", "eaf", "not a server setting"),
        ("server:x='1", "server:default", "eaf", "not a server setting"),
        ("", "HEAD", "db/my-store", "without a name"),
        ("postgresql://h/d", "HEAD", "db/my-store", "one side names a server"),
    ],
)
def test_what_names_no_side_is_refused(
    repository: Path, base: str, candidate: str, store: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said), both_sides(base, candidate, store, repository):
        pass


def test_a_revision_outside_of_a_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no git repository"), both_sides("HEAD", "HEAD", "x", tmp_path):
        pass


def eventmarks_own(place: Path, *, dependencies: str = '["asyncpg>=0.1"]', program: str = PROGRAM) -> Path:
    """A repository that says it is Eventmark, with the module that answers for it."""
    side = place / "src" / f"{program.replace('.', '/')}.py"
    side.parent.mkdir(parents=True)
    (place / "pyproject.toml").write_text(f'[project]\nname = "eventmark"\ndependencies = {dependencies}\n')
    side.write_text("")
    git(place, "init", "-q")
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "one")
    return place


@pytest.mark.parametrize("program", [PROGRAM, "eventmark.scenarios.gate.side"])
def test_a_revision_of_eventmark_itself_runs_its_own_code(tmp_path: Path, program: str) -> None:
    with both_sides("HEAD", "HEAD", "eaf", eventmarks_own(tmp_path, program=program)) as (base, _):
        assert base.program == program
        assert base.source is not None
        assert base.environment["PYTHONPATH"] == str(base.source)
        assert base.python == sys.executable  # what it needs is installed here
        assert base.store == "eaf"


def test_a_revision_needs_what_its_engine_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the engine itself is no requirement of it: its code lies in the revision."""
    asked: list[str] = []
    monkeypatch.setattr(sides, "all_installed", lambda requirements: not asked.extend(requirements))
    place = eventmarks_own(tmp_path, dependencies='["asyncpg>=0.1", "eventmark-engine[metrics]==9"]')
    (place / "src" / "pyproject.toml").write_text(
        '[project]\nname = "eventmark-engine"\ndependencies = ["jiter>=0.1"]\n'
        '[project.optional-dependencies]\nmetrics = ["prometheus-client"]\n'
    )
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "engine")
    with both_sides("HEAD", "HEAD", "eaf", place) as (base, _):
        assert base.python == sys.executable
    assert asked == ["asyncpg>=0.1", "jiter>=0.1", "prometheus-client"] * 2


def test_a_revision_older_than_the_gate_cannot_be_measured(tmp_path: Path) -> None:
    place = eventmarks_own(tmp_path, program="eventmark.other")
    with pytest.raises(CannotRunError, match="older than the gate"), both_sides("HEAD", "HEAD", "eaf", place):
        pass


def test_requirements_are_met_by_what_is_installed_or_not() -> None:
    assert all_installed(["asyncpg>=0.1", "numpy", "nothing-like-it; python_version < '3'"])
    assert not all_installed(["asyncpg>=99"])
    assert not all_installed(["nothing-like-it"])
    assert not all_installed(["what is this?"])
