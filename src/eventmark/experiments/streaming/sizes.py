"""How much is streamed, by profile."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A way of waiting for events: polled for at an interval, and notified of or not."""

    name: str
    poll_interval_s: float
    notified: bool


DEFAULT_WAY = Waiting(name="notified, polling every 100 ms", poll_interval_s=0.1, notified=True)
"""The engine's default."""

EVERY_WAY = (
    DEFAULT_WAY,
    Waiting(name="notified, polling every 1 s", poll_interval_s=1.0, notified=True),
    Waiting(name="polling every 5 ms", poll_interval_s=0.005, notified=False),
    Waiting(name="polling every 20 ms", poll_interval_s=0.02, notified=False),
    Waiting(name="polling every 100 ms", poll_interval_s=0.1, notified=False),
    Waiting(name="polling every 1 s", poll_interval_s=1.0, notified=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """``consumers`` at once, and as many segments of one processor, each over the log's first ``events``.

    ``catch_ups`` over the whole log, each between two COPYs; one more while ``appends_per_s`` batches of ten are
    appended. ``deliveries_per_s`` single appends for ``delivery_s`` in each of the ``ways`` of waiting, and then
    ``idle_s`` of none.
    """

    consumers: tuple[int, ...]
    events: int
    handler_us: float  # what a handler that waits for somebody else takes for an event
    catch_ups: int
    appends_per_s: float
    deliveries_per_s: float
    delivery_s: float
    idle_s: float
    ways: tuple[Waiting, ...] = EVERY_WAY


SIZES = {
    "quick": Sizes(
        consumers=(1, 2), events=5_000, handler_us=5.0, catch_ups=3, appends_per_s=50.0, deliveries_per_s=100.0,
        delivery_s=1.0, idle_s=0.5, ways=(DEFAULT_WAY, EVERY_WAY[3]),
    ),
    "standard": Sizes(
        consumers=(1, 2, 4, 8), events=100_000, handler_us=20.0, catch_ups=5, appends_per_s=100.0,
        deliveries_per_s=100.0, delivery_s=5.0, idle_s=5.0,
    ),
    "full": Sizes(
        consumers=(1, 2, 4, 8), events=400_000, handler_us=20.0, catch_ups=9, appends_per_s=100.0,
        deliveries_per_s=100.0, delivery_s=20.0, idle_s=20.0,
    ),
}  # fmt: skip
