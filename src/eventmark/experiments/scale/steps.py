"""What was measured at each volume, kept in the store that grows, so that an interrupted run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec
import numpy as np

from eventmark.engine.statements import quoted_schema
from eventmark.operations.forks import ForkSamples

_TABLE = """
create table if not exists {schema}.eventmark_scale_steps (
    conditions text not null,
    volume bigint not null,
    measured bytea not null,
    measured_at timestamptz not null default now(),
    primary key (conditions, volume)
)
"""


class Round(msgspec.Struct, frozen=True):
    """One operation measured on the small corpus and on the large one, close to each other."""

    small: ForkSamples
    large: ForkSamples


class Account(msgspec.Struct, frozen=True):
    """Single calls, each with what the server did for it: one entry of each array for each call.

    ``pages`` were touched in shared buffers or read into them, ``reads`` are those that were not there, ``read_ns``
    is the time it waited for them.
    """

    latency_ns: np.ndarray
    pages: np.ndarray
    reads: np.ndarray
    read_ns: np.ndarray


class AccountPair(msgspec.Struct, frozen=True):
    small: Account
    large: Account


class Relation(msgspec.Struct, frozen=True, kw_only=True):
    """A table, its TOAST table, or an index. ``levels`` above the leaves, None where it cannot be seen."""

    name: str
    kind: str  # "table", "toast", "index"
    size_bytes: int
    levels: int | None = None
    leaf_density: float | None = None  # of 1
    fragmentation: float | None = None  # share of leaves that are not behind their neighbour


class Counter(msgspec.Struct, frozen=True, kw_only=True):
    """What one plan did: a statement under a condition."""

    statement: str
    condition: str
    kind: str
    buffers: float
    rows: float
    buffers_per_row: float
    verdict: str


class LargeRead(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of many events: what the client's process had more of afterwards, at its peak."""

    events: int
    seconds: float
    peak_mib: float


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """How the corpus came to a volume: events loaded in this step, and the seconds of its stages."""

    events: int
    stage_seconds: dict[str, float]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One volume measured. ``scans``: searches in indexes per call, by operation and index.

    ``skipped``: operations that were not measured, ``notes``: what else could not be done; both with the reason.
    """

    volume: int
    seconds: float
    growth: Growth
    rounds: dict[str, list[Round]]
    accounts: dict[str, list[AccountPair]]
    scans: dict[str, dict[str, float]]
    relations_small: list[Relation]
    relations_large: list[Relation]
    hits: int
    reads: int
    large_reads: list[LargeRead]
    counters: list[Counter]
    skipped: dict[str, str]
    notes: dict[str, str]


def _encoded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.astype("<i8").tobytes()
    raise NotImplementedError(type(value))


def _decoded(kind: type, value: Any) -> Any:
    if kind is np.ndarray:
        return np.frombuffer(value, "<i8").astype(np.int64)
    raise NotImplementedError(kind)


_encoder = msgspec.msgpack.Encoder(enc_hook=_encoded)
_decoder = msgspec.msgpack.Decoder(Step, dec_hook=_decoded)


class StepLedger:
    """The steps of one schema that were measured under the same ``conditions``."""

    def __init__(self, schema: str, conditions: str) -> None:
        self._table = f"{quoted_schema(schema)}.eventmark_scale_steps"
        self._create = _TABLE.replace("{schema}", quoted_schema(schema))
        self._conditions = conditions

    async def read(self, connection: asyncpg.Connection[Any]) -> dict[int, Step]:
        """By volume. What another version has written in another form counts as not measured."""
        await connection.execute(self._create)
        rows: Sequence[Any] = await connection.fetch(
            f"select volume, measured from {self._table} where conditions = $1 order by volume",
            self._conditions,
        )
        steps = {}
        for row in rows:
            try:
                steps[row["volume"]] = _decoder.decode(row["measured"])
            except msgspec.MsgspecError:
                continue
        return steps

    async def write(self, connection: asyncpg.Connection[Any], step: Step) -> None:
        await connection.execute(self._create)
        await connection.execute(
            f"insert into {self._table} (conditions, volume, measured) values ($1, $2, $3)"
            " on conflict (conditions, volume) do update set measured = excluded.measured, measured_at = now()",
            self._conditions, step.volume, _encoder.encode(step),
        )  # fmt: skip
