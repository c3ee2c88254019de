"""Which parts of a certification are done in the time there is, and how thoroughly. Pure.

Each part can be done in several extents, each with the time it takes. First every part gets its smallest, the one that
decides most first, as long as there is time for it; then they are enlarged in the same order, one step a turn.
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


def chosen_extents(seconds: Mapping[Part, Sequence[float]], time_s: float) -> dict[Part, int]:
    """The extent of each part that there is time for, as a place in its ``seconds``, which ascend.

    A part without extents is not done. What is left over is nobody's: a soak may have it.
    """
    chosen: dict[Part, int] = {}
    left_s = time_s
    for part in PRIORITY:
        if seconds.get(part) and seconds[part][0] <= left_s:
            chosen[part] = 0
            left_s -= seconds[part][0]
    enlarged = True
    while enlarged:
        enlarged = False
        for part in PRIORITY:
            place = chosen.get(part)
            if place is None or place + 1 == len(seconds[part]):
                continue
            more_s = seconds[part][place + 1] - seconds[part][place]
            if more_s <= left_s:
                chosen[part], left_s, enlarged = place + 1, left_s - more_s, True
    return chosen


def left_over_s(seconds: Mapping[Part, Sequence[float]], chosen: Mapping[Part, int], time_s: float) -> float:
    """What the chosen extents leave of the time."""
    return time_s - sum(seconds[part][place] for part, place in chosen.items())


def least_s(seconds: Mapping[Part, Sequence[float]]) -> float:
    """The shortest time in which anything can be answered."""
    return sum(seconds[part][0] for part in NEEDED if seconds.get(part))
