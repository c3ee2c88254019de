"""Which parts of a certification are done in the time there is, and how thoroughly. Pure.

Each part can be done in several extents, each with the time it takes. First every part gets its smallest, the one that
decides most first, as long as there is time for it. Then, in the same order, it gets the smallest that can decide its
criterion; and then they are enlarged, one step a turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eventmark.certify.criteria import Part

PRIORITY = (
    Part.VERIFY, Part.OPERATIONS, Part.LOAD, Part.SOAK, Part.GROWTH, Part.SWEEP, Part.ISOLATION, Part.STRESS,
    Part.CLIFFS, Part.CAPACITY, Part.ADVICE,
)  # fmt: skip
"""What decides most comes first: criteria that need a part before what only adds to one."""

NEEDED = (Part.VERIFY, Part.OPERATIONS)
"""Without these there is nothing to answer."""


def chosen_extents(
    seconds: Mapping[Part, Sequence[float]], time_s: float, decides: Mapping[Part, int] | None = None
) -> dict[Part, int]:
    """The extent of each part that there is time for, as a place in its ``seconds``, which ascend.

    ``decides`` has the place of the smallest that can decide, where it is not the first. A part without extents is not
    done. What is left over is nobody's: a soak may have it.
    """
    chosen: dict[Part, int] = {}

    def enlarge(part: Part, size: int) -> bool:
        """Whether there is room for it."""
        if not seconds.get(part) or size >= len(seconds[part]):
            return False
        larger = {**chosen, part: size}
        if left_over_s(seconds, larger, time_s) < 0:
            return False
        chosen[part] = size
        return True

    for part in PRIORITY:
        enlarge(part, 0)
    for part, size in ((part, (decides or {}).get(part, 0)) for part in PRIORITY if part in chosen):
        if size:
            enlarge(part, size)
    enlarged = True
    while enlarged:
        turn = [enlarge(part, chosen[part] + 1) for part in PRIORITY if part in chosen]
        enlarged = any(turn)
    return chosen


def left_over_s(seconds: Mapping[Part, Sequence[float]], chosen: Mapping[Part, int], time_s: float) -> float:
    """What the chosen extents leave of the time."""
    return time_s - sum(seconds[part][size] for part, size in chosen.items())


def least_s(seconds: Mapping[Part, Sequence[float]]) -> float:
    """The shortest time in which anything can be answered."""
    return sum(seconds[part][0] for part in NEEDED if seconds.get(part))
