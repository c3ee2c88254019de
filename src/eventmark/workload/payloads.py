"""Payloads: JSON that looks like the event's type, at the sizes of the plan.

A payload is its type's own fields, line items cut from a prepared list, and a note cut from prepared prose
that fills up to the drawn size. Spaced as PostgreSQL writes jsonb, so that the size drawn here is the size
of ``payload::text`` there.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from eventmark.workload.lifecycles import LIFECYCLES
from eventmark.workload.shape import SizeClass

PROSE_CHARACTERS = 200_000
ITEMS = 2000
AMOUNT_MAX = 10_000_000
ITEM_MAX = ITEMS - 50  # items begin and prose begins where enough is left for the longest payload
PROSE_MAX = PROSE_CHARACTERS - 10_000
_NOTE_FRAME_BYTES = len('"note": ""}')

_WORDS = (
    "account address agreed amount approved arrived batch before billing box branch called carrier cash "
    "changed checked claim clerk closed colour complete confirmed contact contract cost credit customer "
    "customs date day delayed delivery deposit desk discount document door draft due early email entered "
    "expected express extra failed final floor form forwarded free gift goods handed heavy held hours item "
    "label later letter limit line list loaded location lost manager market measure message missing morning "
    "moved name near next note notice number offer office old opened option order original packed pallet "
    "paper partial parcel part paid pending phone picked piece place plan please policy price printed "
    "priority product promised quality quantity question quick quote rate reason received record reduced "
    "refund region regular remark repeat replaced reply request reserved result returned review revised "
    "road room route sale sample scanned schedule seal second sent service set shelf shipped shop short "
    "signed size small sold sorted special stamp standard station status stock stop store street stored "
    "supplier support switched tax team term third ticket time today total tracked transfer truck turned "
    "unit unpaid updated urgent used value van vendor visit volume waiting warehouse week weight wrong year"
).split()


LEAN = "lean"
"""The aggregate's id and the revision, with a correlation for metadata: a log of 100M events fits a disk of 80 GB."""

PROFILES: dict[str, tuple[SizeClass, ...]] = {
    "realistic": (
        SizeClass("small", 0.70, 100, 500),
        SizeClass("medium", 0.25, 1000, 5000),
        SizeClass("large", 0.05, 5001, 10000),
    ),
    "small": (SizeClass("small", 1.0, 100, 500),),
    LEAN: (SizeClass("lean", 1.0, 30, 60),),
}


class PayloadPool:
    """Prepared prose and items of one seed, and the payloads cut from them."""

    def __init__(self, random: np.random.Generator) -> None:
        words = random.choice(_WORDS, size=PROSE_CHARACTERS // 4)
        self.prose = " ".join(words.tolist())[:PROSE_CHARACTERS]
        items = [_item(number, random) for number in range(ITEMS)]
        self.items = ", ".join(items)
        self.item_at = np.concatenate([[0], np.cumsum([len(item) + 2 for item in items])]).tolist()

    def render(self, event: str, amount: int, item: int, prose_at: int, size: int) -> str:
        """A payload of exactly ``size`` bytes, or of its fixed fields where these are longer.

        ``event`` is the opening of the object by ``opening``; the rest are the draws that make it differ.
        """
        head = f'{event}"amount": {amount / 100:.2f}, '
        left = size - len(head) - _NOTE_FRAME_BYTES
        if left > 400:
            first = self.item_at[item]
            last = self.item_at[item + min((left - 200) // 90, 40)]
            head = f'{head}"items": [{self.items[first : last - 2]}], '
            left = size - len(head) - _NOTE_FRAME_BYTES
        prose_at %= max(1, PROSE_CHARACTERS - left)
        note = self.prose[prose_at : prose_at + left] if left > 0 else ""
        return f'{head}"note": "{note}"}}'


def prepared_pool(random: np.random.Generator) -> PayloadPool:
    """The pool that ``random`` makes, and makes but once: making it is a good part of trying a store."""
    pool, random.bit_generator.state = _pool_of(pickle.dumps(random.bit_generator.state))
    return pool


@lru_cache(maxsize=16)
def _pool_of(state: bytes) -> tuple[PayloadPool, Mapping[str, Any]]:
    """From a generator's state, with its state afterwards."""
    random = np.random.default_rng()
    random.bit_generator.state = pickle.loads(state)
    return PayloadPool(random), random.bit_generator.state


def lean_payload(opened: str, revision: int) -> str:
    """A payload of ``LEAN``; ``opened`` is what ``opening`` made."""
    return f"{opened}{revision}}}"


def opening(aggregate_type: str, aggregate_id: str) -> str:
    """What every payload of an aggregate begins with; its revision and ``, `` come next."""
    return f'{{"{aggregate_type.lower()}Id": "{aggregate_id[:8]}", "revision": '


def draw_sizes(classes: Sequence[SizeClass], count: int, random: np.random.Generator) -> np.ndarray:
    """Sizes in bytes of ``count`` payloads."""
    size_class = random.choice(len(classes), size=count, p=[size.share for size in classes])
    low = np.array([size.low_bytes for size in classes])[size_class]
    high = np.array([size.high_bytes for size in classes])[size_class]
    return np.asarray(low + (random.random(count) * (high - low + 1)).astype(np.int64))


def example_payloads(
    count: int, random: np.random.Generator, profile: str = "realistic", classes: Sequence[SizeClass] = ()
) -> list[str]:
    """``count`` payloads of a profile, of its sizes or those of ``classes``, for operations that write."""
    pool = prepared_pool(random)
    sizes = draw_sizes(classes or PROFILES[profile], count, random)
    kinds = random.integers(0, len(LIFECYCLES), count)
    draws = random.integers(0, [AMOUNT_MAX, ITEM_MAX, PROSE_MAX], (count, 3))
    openings = [
        opening(LIFECYCLES[kind].aggregate_type, f"{number:08x}")
        for number, kind in enumerate(kinds.tolist())
    ]
    if profile == LEAN:
        return [lean_payload(opened, 1) for opened in openings]
    return [
        pool.render(f"{opened}1, ", int(draw[0]), int(draw[1]), int(draw[2]), int(size))
        for opened, size, draw in zip(openings, sizes, draws, strict=True)
    ]


def _item(number: int, random: np.random.Generator) -> str:
    name = " ".join(_WORDS[index] for index in random.integers(len(_WORDS), size=2).tolist())
    return (
        f'{{"sku": "{random.integers(1 << 32):08x}", "name": "{name}", "quantity": {number % 9 + 1}, '
        f'"price": {random.integers(100, 99_999) / 100:.2f}}}'
    )
