"""What load to generate, as a value that travels to the workers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventmark.errors import UsageError
from eventmark.loadgen.mix import Mix
from eventmark.workload.arrivals import Arrivals

POOL_MAX = 20
DEADLINE_S = 10.0
IN_FLIGHT_MAX = 10_000
USERS_MAX = 10_000
SECONDS_MAX = 7 * 24 * 3600.0
CONTENDED_STREAMS = 4
SECONDS_MIN = 0.1
WIRE, CLIENT = "wire", "client"
THROUGH = (WIRE, CLIENT)
"""By what a load is generated: libpq with everything encoded beforehand, or the store's own client."""

WARM_ROUNDS = 6
"""Calls of each statement on each connection beforehand: after five the server may change to a generic plan."""


def checked_through(through: str) -> str:
    """``through``, if it is one of ``THROUGH``. Raises ``UsageError``."""
    if through not in THROUGH:
        raise UsageError(
            f"a load is sent through {through!r}, which is unknown",
            remedy=f"use --through {' or '.join(THROUGH)}",
        )
    return through


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """A load for ``seconds``: ``arrivals`` (open loop), or ``users`` (closed loop).

    A user makes a call, waits for its answer, thinks for ``think_s`` on average (exponentially distributed)
    and makes the next. ``pool_max`` connections and ``in_flight_max`` operations under way are shared out
    among ``workers`` processes. An operation that is not answered ``deadline_s`` after it was due is given
    up and has failed. ``tenants``: only these tenants' streams, where any are named. ``contended_share`` of
    the appends go to ``contended_streams`` streams that every worker appends to. ``through`` is ``WIRE`` or
    ``CLIENT``; the client's pool alone has ``tenant_pool_max``, the most connections of one tenant while another one
    is present (None: no bound). Raises ``UsageError``.
    """

    mix: Mix
    seconds: float
    arrivals: Arrivals | None = None
    users: int = 0
    think_s: float = 0.0
    workers: int = 1
    pool_max: int = POOL_MAX
    deadline_s: float = DEADLINE_S
    in_flight_max: int = IN_FLIGHT_MAX
    seed: int = 1
    tenants: tuple[str, ...] = ()
    contended_share: float = 0.0
    contended_streams: int = CONTENDED_STREAMS
    warm_rounds: int = WARM_ROUNDS
    through: str = WIRE
    tenant_pool_max: int | None = None

    def __post_init__(self) -> None:
        if (self.arrivals is None) == (self.users == 0):
            raise UsageError(
                "a load has either arrivals or users", remedy="name a rate, or a number of users"
            )
        for name, value, least, most in (
            ("seconds", self.seconds, SECONDS_MIN, SECONDS_MAX), ("users", self.users, 0, USERS_MAX),
            ("think time", self.think_s, 0, 3600), ("workers", self.workers, 1, 64),
            ("pool", self.pool_max, 1, 1000), ("deadline", self.deadline_s, 0.01, 600),
            ("operations in flight", self.in_flight_max, 1, 1_000_000),
            ("contended share", self.contended_share, 0, 1), ("contended streams", self.contended_streams, 1, 1000),
        ):  # fmt: skip
            if not least <= value <= most:
                raise UsageError(
                    f"{name} must be from {least:g} to {most:g}, got {value:g}", remedy="correct it"
                )
        if checked_through(self.through) == WIRE and self.tenant_pool_max is not None:
            raise UsageError(
                "a load through the wire has no bound on one tenant's connections",
                remedy="generate it with --through client",
            )

    @property
    def worker_count(self) -> int:
        """No more workers than there are connections, or users."""
        return min(self.workers, self.pool_max, self.users or self.workers)

    def part(self, total: int, worker: int) -> int:
        """A worker's part of ``total`` that is shared out, 1 at least."""
        count = self.worker_count
        return max(total // count + (worker < total % count), 1)

    def schedule(self, worker: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """A worker's part of an open loop: nanoseconds from the start, and the place of each operation in the mix.

        The whole is drawn from ``seed`` and dealt out in turns, so that it is the same for any number of
        workers.
        """
        assert self.arrivals is not None
        random = np.random.default_rng([self.seed, 11])
        due_s = self.arrivals.due_s(self.seconds, random)
        kinds = random.choice(len(self.mix.shares), size=len(due_s), p=list(self.mix.shares.values()))
        own = slice(worker, None, self.worker_count)
        return (due_s[own] * 1e9).astype(np.int64), kinds[own].astype(np.uint8)
