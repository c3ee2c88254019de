"""The command line with few samples and forked workers: ``python -m tests.quick_command run --events 20k``."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from eventmark.cli.main import main
from eventmark.jobs.profiles import PROFILES
from tests.worker_processes import fork_workers

FEW = replace(
    PROFILES["quick"], samples=40, seconds_max=0.3, warmup_iterations_max=3, cold_samples=3
)  # of each operation in each fork


def shorten() -> None:
    """In this process: what the quick profile measures, it measures with few samples."""
    PROFILES["quick"] = FEW
    fork_workers(pytest.MonkeyPatch())


if __name__ == "__main__":
    shorten()
    sys.argv[0] = "eventmark"
    main()
