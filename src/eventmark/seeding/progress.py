"""How long work tells how far it has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float, float], None]
"""Told the stage's name, how much of it is done, and how much it is in all."""


def no_progress(stage: str, done: float, total: float) -> None:
    """For callers who do not watch."""
