"""Where the command line prints: consoles that outlive their reader and manage with any encoding."""

from __future__ import annotations

import codecs
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from eventmark.errors import CannotRunError
from eventmark.text import plain

OUT_BYTES_MIN = 32 * 2**20  # several times what a long run's result and reports take
HELP_WIDTH = 110  # where the output goes into a file or a pipe
WIDE = 1000  # there, tables are as wide as they need: nothing wraps a log's lines
_SPELLED = {"\u202f": " ", "×": "x", "–": "-", "→": "->", "µ": "u", "…": "..."}


class Screen(Console):
    """A console whose reader may go away (``| head``): the rest has nowhere to go, the exit code still counts.

    Text is printed as it is: nothing in it can steer the terminal, whatever name or unit it stands in, and square
    brackets, colons and numbers mean nothing.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **settings})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))

    def on_broken_pipe(self) -> None:
        drop_output()


def drop_output() -> None:
    """From now on, standard output leads nowhere: nothing is left to fail when the process ends."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def tolerate_encodings() -> None:
    """What the terminal's encoding lacks is spelled out, or becomes a question mark."""
    codecs.register_error("eventmark", _spell)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="eventmark")


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(
        _SPELLED.get(character, "?") for character in error.object[error.start : error.end]
    ), error.end


console = Screen(stderr=True)
_AT_TERMINAL = sys.stdout is not None and sys.stdout.isatty()
screen = Screen(width=None if _AT_TERMINAL else WIDE)
help_screen = Screen(width=None if _AT_TERMINAL else HELP_WIDTH)


def check_writable(out: Path) -> None:
    """Before an hour's work, not after it: a folder that can be written, or made, on a disk with room for reports.

    Makes nothing. Raises ``CannotRunError``.
    """
    from eventmark.server.machine import existing_part  # --help of all verbs imports this module

    try:
        folder = existing_part(out)
        with tempfile.TemporaryFile(dir=folder):
            free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        raise CannotRunError(
            f"{out} cannot be written: {error.strerror}", remedy="name a folder that can be, with --out"
        ) from error
    if free_bytes < OUT_BYTES_MIN:
        raise CannotRunError(
            f"the disk of {out} has {free_bytes / 2**20:.0f} MiB free",
            remedy=f"make room for the reports, {OUT_BYTES_MIN // 2**20} MiB will do",
        )
