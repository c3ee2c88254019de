"""Which way a measurement was still moving while it was made."""

from __future__ import annotations

from enum import Flag, auto


class Drift(Flag):
    """Both where the way is not known."""

    NONE = 0
    SLOWER = auto()
    FASTER = auto()
    EITHER = SLOWER | FASTER
