"""Text in reports: short enough, and with its nouns in the right number."""

from __future__ import annotations

TEXT_MAX = 20_000


def cut(text: str, length: int = TEXT_MAX) -> str:
    """At most ``length`` characters, and how many were left out."""
    if len(text) <= length:
        return text
    return f"{text[:length]}… ({len(text) - length} characters more)"


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 plan``, ``2 plans``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
