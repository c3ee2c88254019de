"""Tokens of a store's own processors, carried over into its next epoch: each to the same place between the events.

Exact because the events are locked: whoever drew a place has committed or rolled back, and what comes later lies after
the last event there is. So a token means "after this event", wherever the event is put.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from eventmark.domain import GlobalSequence, TrackingToken, TransactionId
from eventmark.engine.statements import quoted_schema
from eventmark.errors import TokenRefusedError


@dataclass(frozen=True, slots=True)
class SegmentToken:
    """How far a segment of a processor has come."""

    processor: str
    segment: int
    token: TrackingToken


async def read_tokens(
    connection: asyncpg.Connection[Any], schema: str, tail: TrackingToken
) -> tuple[list[SegmentToken], tuple[str, ...]]:
    """The saved tokens that belong to the store and epoch of ``tail``, and the names of the processors with others.

    Others are tokens of another store or epoch, and damaged ones. The table is locked: no token can be saved until
    the transaction ends.
    """
    table = f"{quoted_schema(schema)}.tracking_tokens"
    if await connection.fetchval("select pg_catalog.to_regclass($1)", table) is None:
        return [], ()  # a store that is SQL files has none
    await connection.execute(f"lock table {table} in exclusive mode")
    tokens, refused = [], set()
    for processor, segment, text in await connection.fetch(
        f"select processor, segment, token from {table} order by processor, segment"
    ):
        try:
            token = TrackingToken.parse(text)
            tail.compare(token)
        except TokenRefusedError:
            refused.add(processor)
        else:
            tokens.append(SegmentToken(processor, segment, token))
    return tokens, tuple(sorted(refused))


async def events_read(
    connection: asyncpg.Connection[Any], schema: str, tokens: Sequence[SegmentToken]
) -> list[int]:
    """For each token, how many events come before it in transaction order."""
    count = (
        f"select pg_catalog.count(*) from {quoted_schema(schema)}.domain_events"
        " where (transaction_id, global_sequence_id) <= ($1, $2)"
    )
    return [
        await connection.fetchval(count, token.token.transaction_id, token.token.global_sequence)
        for token in tokens
    ]


async def tokens_after(
    connection: asyncpg.Connection[Any],
    schema: str,
    tokens: Sequence[SegmentToken],
    counts: Sequence[int],
    tail: TrackingToken,
) -> list[SegmentToken]:
    """The tokens in a store whose events were renumbered from 1: each stands after as many events as ``counts`` has."""
    rows = await connection.fetch(
        f"select global_sequence_id, transaction_id from {quoted_schema(schema)}.domain_events"
        " where global_sequence_id = any ($1)",
        list(counts),
    )
    places = {number: _place(tail, transaction_id, number) for number, transaction_id in rows}
    return [
        replace(token, token=replace(places.get(count, tail), tenant=token.token.tenant if count else 0))
        for token, count in zip(tokens, counts, strict=True)
    ]


async def tokens_kept(
    connection: asyncpg.Connection[Any],
    schema: str,
    tokens: Sequence[SegmentToken],
    tail: TrackingToken,
    *,
    by_transaction_id: bool,
) -> list[SegmentToken]:
    """The tokens where they are, but no further than the last event: beyond it is where new ones will be."""
    order = "transaction_id desc, global_sequence_id desc" if by_transaction_id else "global_sequence_id desc"
    last = await connection.fetchrow(
        f"select transaction_id, global_sequence_id from {quoted_schema(schema)}.domain_events"
        f" order by {order} limit 1"
    )
    head = tail if last is None else _place(tail, last[0] if by_transaction_id else 0, last[1])
    return [
        replace(token, token=replace(token.token, store_id=tail.store_id, epoch=tail.epoch).lower_bound(head))
        for token in tokens
    ]


async def write_tokens(
    connection: asyncpg.Connection[Any], schema: str, tokens: Sequence[SegmentToken]
) -> None:
    """Store the tokens, and end every claim: what an owner of the old epoch would still save is refused."""
    if not tokens:
        return  # perhaps there is no such table either
    table = f"{quoted_schema(schema)}.tracking_tokens"
    await connection.executemany(
        f"update {table} set token = $3, owner = null, lease_until = null, fence = fence + 1"
        " where processor = $1 and segment = $2",
        [(token.processor, token.segment, str(token.token)) for token in tokens],
    )


def _place(tail: TrackingToken, transaction_id: int, number: int) -> TrackingToken:
    return replace(tail, transaction_id=TransactionId(transaction_id), global_sequence=GlobalSequence(number))
