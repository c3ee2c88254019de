"""Git's own causes reach the reader: another owner, a clone that was cut off, a branch that is only the remote's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from eventmark.errors import UsageError
from eventmark.git import commit_of, commit_places, is_shallow, repository_of


def git(place: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(place), *identity, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits on main, one more on a branch, in a folder with a space."""
    place = tmp_path / "my repo"
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    for number in (1, 2):
        (place / "a").write_text(str(number))
        git(place, "add", "-A")
        git(place, "commit", "-q", "-m", f"{number}")
    git(place, "checkout", "-q", "-b", "feature")
    git(place, "commit", "-q", "--allow-empty", "-m", "3")
    return place


def cloned(repository: Path, *how: str) -> Path:
    place = repository.parent / "clone"
    subprocess.run(["git", "clone", "-q", *how, repository.as_uri(), str(place)], check=True)
    return place


def refused(do: Callable[[], object]) -> UsageError:
    with pytest.raises(UsageError) as raised:
        do()
    return raised.value


@pytest.mark.parametrize("name", ["main", "origin/main", "HEAD~1"])
def test_a_shallow_clone_is_named_as_the_cause(repository: Path, name: str) -> None:
    clone = cloned(repository, "--depth", "1", "--branch", "feature")
    error = refused(lambda: commit_of(clone, name))
    assert "shallow" in error.message
    assert "fetch-depth: 0" in error.remedy
    assert is_shallow(clone)
    assert not is_shallow(repository)


def test_a_branch_that_only_the_remote_has_is_named(repository: Path) -> None:
    """As where a CI service checks out a commit by itself."""
    clone = cloned(repository, "--branch", "feature")
    git(clone, "checkout", "-q", "--detach")
    assert refused(lambda: commit_of(clone, "main")).remedy == "name the remote's: origin/main"
    assert commit_of(clone, "origin/main") == git(repository, "rev-parse", "main")
    assert commit_of(clone, "HEAD") == git(repository, "rev-parse", "feature")


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="gives a folder to another user")
def test_a_repository_of_another_owner_is_reported_in_gits_words(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "no-settings"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.delenv("SUDO_UID", raising=False)
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 65534, 65534)
    error = refused(lambda: repository_of(repository))
    assert "detected dubious ownership" in error.message
    assert "git config --global --add safe.directory" in error.remedy
    assert str(repository) in error.remedy


def test_no_repository_and_an_empty_one_are_distinguished(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "lies in no git repository" in refused(lambda: repository_of(tmp_path / "empty")).message
    git(tmp_path / "empty", "init", "-q")
    assert "nothing is committed" in refused(lambda: commit_of(tmp_path / "empty", "HEAD")).message


def test_a_name_that_is_none_is_reported_as_it_is(repository: Path) -> None:
    error = refused(lambda: commit_of(repository, "no such"))
    assert (error.message.split(" is ")[0], error.remedy) == ("'no such'", "name a branch, a tag or a commit")


def test_commits_have_their_place_in_the_order_of_history(repository: Path) -> None:
    places = commit_places(repository)
    named = ("main~1", "main", "feature")
    assert [places[commit_of(repository, name)] for name in named] == [0, 1, 2]
