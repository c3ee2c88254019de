"""Worker processes that are forked from one that has imported everything: a start takes milliseconds, not a second."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import pytest

from eventmark.workers import processes

PRELOADED = [
    "eventmark.operations.forks",
    "eventmark.seeding.load",
    "eventmark.loadgen.generator",
    "eventmark.verify.hunt",
    "eventmark.experiments.streaming.consumers",
]


@pytest.fixture(scope="session", autouse=True)
def forked_workers() -> Iterator[None]:
    """For all tests but those that ask for ``spawned_workers``."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(processes, "START_METHOD", "forkserver")
        yield


@pytest.fixture
def spawned_workers(forked_workers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers as users have them, each a fresh interpreter: its memory, signals and output are its own."""
    monkeypatch.setattr(processes, "START_METHOD", "spawn")
