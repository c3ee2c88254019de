"""Text from outside, made fit to be shown: it must neither steer a terminal nor turn a line around."""

from __future__ import annotations

import unicodedata

_KEPT = frozenset("\t\n\u200c\u200d")  # the joiners are part of ordinary words in some scripts
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Cn", "Zl", "Zp"))


def plain(text: str) -> str:
    """``text`` with U+FFFD for each control, direction mark, lone surrogate and unassigned character."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if character in _KEPT or unicodedata.category(character) not in _UNSEEN else "\ufffd"
        for character in text
    )


def one_line(text: str) -> str:
    """``plain`` on one line."""
    return " ".join(plain(text).split())
