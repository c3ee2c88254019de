"""Text files as people save them: with or without a byte order mark, with the line ends of any system."""

from __future__ import annotations

import codecs
from pathlib import Path

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}  # in this order: the mark of UTF-32 begins with that of UTF-16


class NotTextError(ValueError):
    """A file that is not UTF-8 text. ``line`` is where that shows, counted from 1."""

    def __init__(self, message: str, *, line: int, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.remedy = remedy


def read_text(path: Path) -> str:
    """The file's text, each line ended by a line feed, without its byte order mark.

    Raises ``OSError``, and ``NotTextError`` for another encoding than UTF-8 and for a NUL character, which PostgreSQL
    does not take.
    """
    raw = path.read_bytes()
    for mark, encoding in _MARKS.items():
        if raw.startswith(mark):
            raise NotTextError(f"the file is {encoding}", line=1, remedy="save it as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = _line(raw, error.start)
        raise NotTextError(
            f"byte 0x{raw[error.start]:02x} is not UTF-8", line=line, remedy="save the file as UTF-8"
        ) from error
    if "\0" in text:
        line = _line(raw, raw.index(b"\0"))
        raise NotTextError("the line holds a NUL character", line=line, remedy="delete it")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _line(raw: bytes, at: int) -> int:
    before = raw[:at].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return 1 + before.count(b"\n")
