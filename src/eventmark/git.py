"""Git, asked: which commit a name stands for, what a commit holds, a copy of it to work on."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from eventmark.errors import CannotRunError, UsageError

TIMEOUT_S = 120.0
UNSHALLOW = (
    "fetch the whole history: fetch-depth: 0 (GitHub), GIT_DEPTH: 0 (GitLab), or git fetch --unshallow"
)


class GitError(UsageError):
    """Git refused. The message holds the cause in git's own words; ``words`` are all of them."""

    def __init__(self, verb: str, words: str) -> None:
        super().__init__(f"git {verb}: {_cause(words)}", remedy=_remedy(words))
        self.words = words


def run_git(repository: Path, *arguments: str) -> bytes:
    """What git prints. Raises ``CannotRunError`` where there is no git, ``GitError`` where git refuses."""
    git = shutil.which("git")
    if git is None:
        raise CannotRunError("git was not found", remedy="install it, or name folders instead of revisions")
    try:
        done = subprocess.run(
            [git, "-C", str(repository), *arguments], capture_output=True, timeout=TIMEOUT_S, check=False,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotRunError(f"git {arguments[0]} failed: {error}") from error
    if done.returncode != 0:
        raise GitError(arguments[0], done.stderr.decode(errors="replace").strip())
    return done.stdout


def repository_of(path: Path) -> Path:
    """The top of the repository that ``path`` lies in. Raises ``UsageError`` outside of one."""
    try:
        return Path(run_git(path, "rev-parse", "--show-toplevel").decode().strip())
    except GitError as error:
        if "not a git repository" not in error.words:
            raise
        raise UsageError(
            f"{path} lies in no git repository", remedy="run where the repository is, or name two stores"
        ) from error


def commit_of(repository: Path, name: str) -> str:
    """The commit that ``name`` (a branch, a tag, HEAD~1, ...) stands for. Raises ``UsageError``."""
    try:
        return _resolved(repository, name)
    except GitError as error:
        why, remedy = _absent(repository, name)
        raise UsageError(f"{name!r} is not a commit of {repository}{why}", remedy=remedy) from error


def is_shallow(repository: Path) -> bool:
    """Whether the clone's history was cut off, as CI services do."""
    return run_git(repository, "rev-parse", "--is-shallow-repository").strip() == b"true"


def commit_places(repository: Path) -> dict[str, int]:
    """Every commit of the repository by its place in the order of history: a parent before its children."""
    listed = run_git(repository, "rev-list", "--date-order", "--reverse", "--all", "HEAD")
    return {commit: index for index, commit in enumerate(listed.decode().split())}


def _resolved(repository: Path, name: str) -> str:
    listed_commit = run_git(repository, "rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}")
    return listed_commit.decode().strip()


def _absent(repository: Path, name: str) -> tuple[str, str]:
    """Why there is no such commit, and what to do."""
    with suppress(GitError):
        remote = f"origin/{name}"
        _resolved(repository, remote)
        return ": it is not checked out here", f"name the remote's: {remote}"
    if is_shallow(repository):
        return ": the clone is shallow", UNSHALLOW
    with suppress(GitError):
        _resolved(repository, "HEAD")
        return "", "name a branch, a tag or a commit"
    return ": nothing is committed yet", "commit something first"


def _cause(words: str) -> str:
    """The line with which git gives up; its advice comes after it."""
    lines = words.splitlines() or ["failed"]
    fatal = [line for line in lines if line.startswith("fatal:")]
    return (fatal or lines[-1:])[0].removeprefix("fatal: ")


def _remedy(words: str) -> str:
    safe = next((line.strip() for line in words.splitlines() if "safe.directory" in line), "")
    if safe.startswith("git config"):
        return f"another user owns it, as in a container: {safe}"
    return UNSHALLOW if "shallow" in words else "see git's message"


def check_out(repository: Path, commit: str, path: Path) -> None:
    """The files of ``commit`` in ``path``, in a clone that borrows the repository's objects.

    Nothing is written to the repository itself: neither a branch nor an entry of its work trees.
    """
    run_git(repository, "clone", "--quiet", "--shared", "--no-checkout", ".", str(path.absolute()))
    run_git(path, "checkout", "--quiet", "--detach", commit)
