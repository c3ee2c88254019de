"""Small copies of a store to try changes on, and little effort."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from eventmark.adviser.copies import Copies, Effort
from eventmark.jobs.job import Job
from eventmark.jobs.profiles import find_profile
from eventmark.server import Server
from eventmark.stores import find_store, write_template
from eventmark.workload import CorpusPlan

EVENTS = 10_000  # one batch: one worker seeds it
EFFORT = Effort(events=EVENTS, single_pairs=0, pairs=2, seconds=1, cost_appends=12)

MakeCopies = Callable[..., Copies]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    write_template(tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def copies_of(server: Server, database: str, tmp_path: Path) -> Iterator[MakeCopies]:
    """Copies of a store by name or folder in the test's own database, made and dropped."""
    made = []

    def make(store: str, events: int = EVENTS, payload_profile: str = "lean", **effort: object) -> Copies:
        job = Job(
            server=replace(server, dsn=database), store=store, definition=find_store(store), schema="tried",
            corpus=CorpusPlan(events, payload_profile=payload_profile), profile=find_profile("quick"), targets={},
            command="", place=tmp_path,
        )  # fmt: skip
        made.append(Copies(job, replace(EFFORT, **effort)))  # type: ignore[arg-type]
        made[-1].make()
        return made[-1]

    yield make
    for one in made:
        one.drop()


def rewrite(path: Path, *changes: tuple[str, str]) -> None:
    """Replace text in a file; what is replaced must be there."""
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
