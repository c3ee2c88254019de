"""The streams that one process appends to, and their versions as far as it knows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

import numpy as np

from eventmark.domain import StreamId
from eventmark.seeding import SampledStream
from eventmark.workload import Naming

HOT_SHARE = 0.5
HOT_STREAMS = 10
NEW_STREAM_SHARE = 0.1
NEAR_HEAD_SHARE = 0.3
NEW_STREAMS_MAX = 1_000
"""New streams that are remembered; more get their first append and are forgotten, so that memory does not grow."""

_TRIES = 8
_NAMING = Naming()

_Item = TypeVar("_Item")


def pick(items: Sequence[_Item], random: np.random.Generator | Random) -> _Item:
    """One of a few hot ones half of the time, any of all else."""
    count = len(items)
    if random.random() < HOT_SHARE:
        count = min(HOT_STREAMS, count)
    return items[int(random.random() * count)]


def pick_place(places: Sequence[_Item], random: np.random.Generator) -> _Item:
    """One of the last few as often as consumers are near the head, any of all else."""
    near_head = random.random() < NEAR_HEAD_SHARE
    first = int(len(places) * 0.98) if near_head else 0
    return places[int(random.integers(first, len(places)))]


@dataclass(slots=True)
class KnownStream:
    """A stream and its version. ``taken`` while an append is under way; a shared one is never taken.

    ``encoded`` are its parameters in the statement that appends, where somebody has encoded them.
    """

    stream: StreamId
    version: int
    shared: bool = False
    taken: bool = False
    encoded: tuple[bytes, ...] = ()


class StreamVersions:
    """Gives each append a stream that no other append of this process is working on.

    One in ten is new, of a tenant that comes as often as it has streams here. ``contended_share`` of the
    appends go to ``contended`` streams instead, which are given out however many work on them already, here
    and in other processes: there, somebody else is often first.
    """

    def __init__(
        self,
        streams: Sequence[SampledStream],
        *,
        contended: Sequence[SampledStream] = (),
        contended_share: float = 0.0,
        naming: Naming = _NAMING,
    ) -> None:
        assert streams
        self._naming = naming
        self._new_ids: Iterator[str] | None = None
        self._streams = [KnownStream(stream.stream, stream.version) for stream in streams]
        self._streams_max = len(self._streams) + NEW_STREAMS_MAX
        self._contended = [KnownStream(known.stream, known.version, shared=True) for known in contended]
        self._contended_share = contended_share if self._contended else 0.0

    def take(self, random: Random) -> KnownStream:
        if self._contended_share and random.random() < self._contended_share:
            return random.choice(self._contended)
        draw = random.random
        if draw() >= NEW_STREAM_SHARE:
            streams = self._streams
            for _ in range(_TRIES):  # as ``pick``, in less time
                count = len(streams)
                if count > HOT_STREAMS and draw() < HOT_SHARE:
                    count = HOT_STREAMS
                stream = streams[int(draw() * count)]
                if not stream.taken:
                    stream.taken = True
                    return stream
        return self._new(random)

    def settle(self, known: KnownStream, version: int) -> None:
        """After an append: the stream is at ``version``, and free again.

        Of a shared stream's answers the highest counts: they come back in any order.
        """
        known.version = max(known.version, version) if known.shared else version
        known.taken = False

    def free(self, known: KnownStream) -> None:
        """Nothing was written."""
        known.taken = False

    # A stream whose version nobody knows stays taken: every append to it would be a conflict of our own making.

    def _new(self, random: Random) -> KnownStream:
        like = random.choice(self._streams).stream
        if self._new_ids is None:
            self._new_ids = self._naming.new_stream_ids(np.random.default_rng(random.getrandbits(64)))
        name = next(self._new_ids)
        made = KnownStream(
            StreamId(tenant_id=like.tenant_id, aggregate_type="Order", aggregate_id=name),
            version=0,
            taken=True,
        )
        if len(self._streams) < self._streams_max:
            self._streams.append(made)
        return made
