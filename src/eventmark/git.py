"""Git, asked: which commit a name stands for, what a commit holds, a copy of it to work on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from eventmark.errors import CannotRunError, UsageError

TIMEOUT_S = 120.0


def run_git(repository: Path, *arguments: str) -> bytes:
    """What git prints. Raises ``CannotRunError`` where there is no git, ``UsageError`` with its words else."""
    git = shutil.which("git")
    if git is None:
        raise CannotRunError("git was not found", remedy="install it, or name folders instead of revisions")
    try:
        done = subprocess.run(
            [git, "-C", str(repository), *arguments], capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotRunError(f"git {arguments[0]} did not end well: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise UsageError(f"git {arguments[0]}: {said[-1] if said else 'failed'}", remedy="see git's message")
    return done.stdout


def repository_of(place: Path) -> Path:
    """The top of the repository that ``place`` lies in. Raises ``UsageError`` outside of one."""
    try:
        return Path(run_git(place, "rev-parse", "--show-toplevel").decode().strip())
    except UsageError as error:
        raise UsageError(
            f"{place} lies in no git repository", remedy="run where the repository is, or name two stores"
        ) from error


def commit_of(repository: Path, name: str) -> str:
    """The commit that ``name`` (a branch, a tag, HEAD~1, ...) stands for. Raises ``UsageError``."""
    try:
        found = run_git(repository, "rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}")
    except UsageError as error:
        raise UsageError(
            f"{name!r} is no commit of {repository}", remedy="name a branch, a tag or a commit"
        ) from error
    return found.decode().strip()


def check_out(repository: Path, commit: str, place: Path) -> None:
    """The files of ``commit`` in ``place``, in a clone that borrows the repository's objects.

    Nothing is written to the repository itself: neither a branch nor an entry of its work trees.
    """
    run_git(repository, "clone", "--quiet", "--shared", "--no-checkout", ".", str(place.absolute()))
    run_git(place, "checkout", "--quiet", "--detach", commit)
