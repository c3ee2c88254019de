"""Flame graphs of the client: of workers and of this process, without what the command line may hold."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from eventmark.errors import UsageError
from eventmark.instruments import profiler
from eventmark.instruments.profiler import check_profiler, profiling
from eventmark.workers import call, worker_processes


def burn_the_worker(seconds: float) -> int:
    until = time.perf_counter() + seconds
    kept = []
    while time.perf_counter() < until:
        kept.append(bytearray(10_000))
    return len(kept)


@pytest.mark.parametrize("kind", ["cpu", pytest.param("memory", marks=pytest.mark.long)])
def test_workers_and_the_parent_are_profiled_and_work_as_before(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["eventmark", "load", "--server", "postgresql://u:s3cret@127.0.0.1/x"])
    with profiling(kind, tmp_path) as profiles, worker_processes(1) as executor:
        assert profiles is not None
        assert profiles.run(lambda: call(executor, burn_the_worker, 0.2)) > 0
    assert [file.name for file in profiles.files] == [
        f"profile-{kind}-00-parent.html", f"profile-{kind}-01-burn_the_worker.html",
    ]  # fmt: skip
    texts = [file.read_text() for file in profiles.files]
    assert "burn_the_worker" in texts[1]
    assert not any("s3cret" in text for text in texts)
    assert [path.suffix for path in tmp_path.iterdir()] == [".html", ".html"]


def test_without_a_profiler_nothing_is_wrapped_or_written(tmp_path: Path) -> None:
    with profiling("", tmp_path) as profiles:
        assert profiles is None
        assert profiler.with_profile(burn_the_worker) is burn_the_worker
    assert list(tmp_path.iterdir()) == []


def test_the_given_number_of_processes_is_profiled_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiler, "PROFILES_MAX", 1)
    with profiling("cpu", tmp_path):
        assert profiler.with_profile(burn_the_worker) is not burn_the_worker
        assert profiler.with_profile(burn_the_worker) is burn_the_worker


def test_a_library_that_is_missing_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiler, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="memray") as caught:
        check_profiler("memory")
    assert "eventmark[profiling]" in caught.value.remedy


def test_an_unknown_profiler_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown profiler 'gpu'"):
        check_profiler("gpu")
