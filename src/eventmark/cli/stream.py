"""stream: how events reach their consumers."""

from __future__ import annotations

from eventmark.cli.load import check_workers
from eventmark.cli.options import ClusterFlag, Options
from eventmark.cli.run import run_scenario
from eventmark.experiments.streaming.streaming import Streaming


def stream(*, workers: ClusterFlag = None, options: Options | None = None) -> int:
    """Stream a corpus that is kept, and judge it by the target of a batch and by what COPY delivers.

    Consumers at once and in segments; one that catches up with the whole log, compared with COPY, and again during
    writes; the time from append to visible to handled by each way of waiting, and what waiting costs.
    """
    settings = (options or Options()).settings(workers=workers)
    check_workers(settings, "stream")
    return run_scenario(Streaming(), settings, keep=True)
