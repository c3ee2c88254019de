"""Worker processes that are forked from one that has imported everything: a start takes milliseconds, not a second."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator

import pytest

from eventmark.workers import processes

PRELOADED = [
    "eventmark.operations.forks",
    "eventmark.seeding.load",
    "eventmark.loadgen.generator",
    "eventmark.verify.hunt",
    "eventmark.experiments.streaming.consumers",
    "tests.worker_processes",
]


class _Serve:
    """What a worker does, in the environment of its parent when it starts, as a fresh interpreter has it."""

    serve = staticmethod(processes._serve)

    def __getstate__(self) -> dict[str, dict[str, str]]:
        return {"environment": dict(os.environ)}

    def __call__(self, *arguments: object) -> None:
        os.environ.clear()
        os.environ.update(self.environment)  # type: ignore[attr-defined]
        self.serve(*arguments)  # type: ignore[arg-type]


def fork_workers(patched: pytest.MonkeyPatch) -> None:
    """From now on, in this process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    patched.setattr(processes, "CONTEXT", context)
    patched.setattr(processes, "_serve", _Serve())


@pytest.fixture(scope="session", autouse=True)
def forked_workers() -> Iterator[None]:
    """For all tests but those that ask for ``spawned_workers``."""
    with pytest.MonkeyPatch.context() as patched:
        fork_workers(patched)
        yield


@pytest.fixture
def spawned_workers(forked_workers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers as users have them, each a fresh interpreter: its signals, output and command line are its own."""
    monkeypatch.setattr(processes, "CONTEXT", multiprocessing.get_context("spawn"))
    monkeypatch.setattr(processes, "_serve", _Serve.serve)
