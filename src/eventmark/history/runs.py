"""A history is a folder of results, or what a branch of a repository has held in one. Needs no server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from eventmark.errors import UsageError
from eventmark.git import commit_of, is_shallow, run_git
from eventmark.results.files import decode_result, is_of_ours, read_result
from eventmark.results.results import RunResult

RUNS_MAX = 500  # the newest
COMMITS_MAX = 2000


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A result and the file it stands in. ``commit`` is of the tested project, else of the result, else empty."""

    path: Path
    result: RunResult
    commit: str = ""

    @property
    def kind(self) -> str:
        """What runs have to have in common to be shown as one line: else they are not comparable."""
        environment = self.result.environment
        major = environment.server.version_num // 10_000
        events = f", {self.result.corpus.events:,} events" if self.result.corpus else ""
        scenario, profile = self.result.scenario, self.result.profile
        own = "".join(
            f", {name} {sha[:12]}" for name, sha in sorted(environment.store.own_statements.items())
        )
        return f"{scenario}, {environment.store.name} on PostgreSQL {major}{events}, {profile}{own}"

    @property
    def machine(self) -> str:
        """What times belong to."""
        host = self.result.environment.host
        return f"{host.cpu_model}, {host.cpu_count} cores, {self.result.environment.server.kind} server"

    @property
    def day(self) -> str:
        return self.result.started_at[:19].replace("T", " ")

    @property
    def moment(self) -> str:
        """The day without its year, to the minute: what has room along an axis."""
        return self.day[5:16]


@dataclass(frozen=True, slots=True)
class KeptRuns:
    """Runs, the oldest first; results that cannot be read, each with the reason; and what is to be told about both."""

    runs: list[KeptRun]
    damaged: dict[str, str]
    notes: list[str]


def read_runs(directory: Path) -> KeptRuns:
    """Every result in a folder and the folders below it.

    Other JSON files are passed over. Raises ``UsageError`` where there is no result at all.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a folder", remedy="name a folder of results")
    runs, damaged = [], {}
    for path in sorted(directory.rglob("*.json")):
        try:
            result = read_result(path)
        except UsageError as error:
            if is_of_ours(path):
                damaged[str(path)] = error.message
            continue
        runs.append(KeptRun(path, result, result.environment.host.revision))
    return _history(runs, damaged, str(directory))


def read_branch(repository: Path, named: str) -> KeptRuns:
    """``BRANCH:path``: every version of every result that the branch has held at ``path``.

    ``path`` is a file that is written anew with each commit, or a folder that files are added to. Raises
    ``UsageError`` for what is no branch, and where there is no result.
    """
    branch, colon, path = named.partition(":")
    if not branch or not colon or not path:
        raise UsageError(
            f"{named!r} names no folder of a branch", remedy="write for example main:docs/results"
        )
    head = commit_of(repository, branch)
    runs: list[KeptRun] = []
    damaged: dict[str, str] = {}
    for commit in _commits(repository, head, path):
        for name, content in _of_commit(repository, commit, path):
            try:
                result = decode_result(content, name)
            except UsageError as error:
                if is_of_ours(content):
                    damaged[f"{commit[:12]}:{name}"] = error.message
                continue
            runs.append(KeptRun(Path(name), result, result.environment.host.revision or commit))
    shallow = ["The clone is shallow: results from before it was cut off are not seen."]
    return _history(runs, damaged, named, shallow if is_shallow(repository) else ())


def _history(
    runs: Iterable[KeptRun], damaged: dict[str, str], named: str, notes: Iterable[str] = ()
) -> KeptRuns:
    """The oldest first, each run once, the newest ``RUNS_MAX`` of them."""
    once = {run.result.run_id: run for run in runs}
    if not once:
        why = next(iter(damaged.values()), f"there is no result in {named}")
        raise UsageError(why, remedy="name a folder of result.json files")
    ordered = sorted(once.values(), key=lambda run: run.result.started_at)
    left = len(ordered) - RUNS_MAX
    return KeptRuns(
        runs=ordered[-RUNS_MAX:], damaged=damaged,
        notes=[*notes, *([f"{left} runs older than the newest {RUNS_MAX} are left out."] if left > 0 else [])],
    )  # fmt: skip


def _commits(repository: Path, head: str, path: str) -> list[str]:
    """Those that changed something at ``path``, the oldest first."""
    listed = run_git(
        repository, "rev-list", "--reverse", f"--max-count={COMMITS_MAX}", head, "--", f":(top){path}"
    )
    return listed.decode().split()


def _of_commit(repository: Path, commit: str, path: str) -> Iterator[tuple[str, bytes]]:
    """The JSON files that the commit added or wrote anew."""
    listed = run_git(
        repository, "diff-tree", "-z", "--root", "-r", "-m", "--no-commit-id", "--name-only", "--diff-filter=AM",
        commit, "--", f":(top){path}",
    )  # fmt: skip
    for name in dict.fromkeys(filter(None, listed.decode(errors="surrogateescape").split("\0"))):
        if PurePosixPath(name).suffix == ".json":
            yield name, run_git(repository, "cat-file", "blob", f"{commit}:{name}")
