"""stream: how events reach their consumers."""

from __future__ import annotations

from eventmark.cli.options import Options
from eventmark.cli.run import run_scenario
from eventmark.experiments.streaming.streaming import Streaming


def stream(*, options: Options | None = None) -> int:
    """Stream a corpus that is kept, and judge it by the target of a batch and by what COPY delivers.

    Consumers at once and in segments; one that catches up with the whole log, beside COPY and beside writers; the
    time from append to visible to handled by each way of waiting, and what waiting costs.
    """
    return run_scenario(Streaming(), (options or Options()).settings(), keep=True)
