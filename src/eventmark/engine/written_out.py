"""Whether a JSON document can be read again, however it is stored, told without parsing it.

``jsonb`` keeps ``1e131071`` in 8 bytes and writes it as 131,072 digits. So a document that is small where it is
sent can be too large to be read, and because events are neither changed nor removed it would stay so. ``json`` keeps
the text, and with it what no decoder reads: half a surrogate pair, a number beyond doubles. What one type refuses is
refused for the other too: a store's documents can always be converted.
"""

from __future__ import annotations

import math
import re
from collections import Counter

from eventmark.errors import InvalidEventError

DOCUMENT_BYTES_MAX = 16 * 2**20
NUMBER_DIGITS_MAX = 4_300
"""Digits of a number before its point: decoders, Python's among them, read no longer integers."""

DOUBLE_DIGITS_MAX = 308
"""The same for a number with a fraction, which is decoded as a double."""

FRACTION_DIGITS_MAX = 16_383
"""Digits behind a number's point: the server's own numbers have no more."""

STRING = re.compile(
    r'"(?:[^"\\]|\\.?)*+(?:"|\Z)', re.DOTALL
)  # one without an end as well: linear on any text
_EXPONENT = re.compile(r"\d[eE]([+-]?\d++)")
_LARGE_OR_SMALL = re.compile(  # for its exponent, or for many digits before a short one
    r"(?<![\d.])(?=\d{210}|[\d.]++[eE][+-]?\d{3})(\d++)(?:\.(\d++))?+[eE]([+-]?\d++)"
)
_OF_MANY_DIGITS = re.compile(r"(?<![\d.])(\d{309,}+)(\.)?(?![eE])")
_LONG_FRACTION = re.compile(rf"\.\d{{{FRACTION_DIGITS_MAX + 1}}}")
# What is right about backslashes, surrogates in pairs among it. One that is left is wrong.
_ESCAPES = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|u(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4}|[^u])",
    re.DOTALL,
)
_EXPONENT_MAX = 200_000  # beyond what the server's numbers have room for
_SHORT = DOCUMENT_BYTES_MAX // 64  # grows no more: "1e+300," is written as 303 bytes, "1e99," as 101

# What numbers are made of becomes "0", what can stand before one becomes ":", so that one look finds either.
_SKELETON = bytes.maketrans(b"0123456789+-.E ,[{\t\r\n", b"0000000000000e:::::::")
_EXPONENT_AHEAD = b"0e000"  # of 3 digits, or of 2 and a sign: what is shorter grows less than a float
_LONG_NUMBER = b"0" * (DOUBLE_DIGITS_MAX + 1 - 99)  # "e99" makes up for the rest
_SAMPLED_EVERY = (len(_LONG_NUMBER) - 1) // 3
_NEAR = 64
_LOOKS_MAX = 3
# Without its digits, signs and blanks, a number with an exponent is an "e" between two structural characters.
_STRUCTURE = bytes.maketrans(b",[]{}E", b":::::e")
_LEFT_OUT = b"0123456789.+- \t\r\n"


def encoded_text(text: str, name: str) -> bytes:
    """The text as UTF-8, lone surrogates too: the driver refuses them. Raises where it is too large for a copy."""
    if len(text) > DOCUMENT_BYTES_MAX:
        raise _too_large(name)
    return text.encode(errors="surrogatepass")


def check_escapes(text: str, name: str) -> None:
    """Raises ``InvalidEventError`` for an escaped NUL or half a surrogate pair, in a text or in a key."""
    if "\\u" in text and "\\" in _ESCAPES.sub("", text):
        raise InvalidEventError(f"{name} has an escaped NUL, or a surrogate without its other half")


def check_written_out(text: str, encoded: bytes | None, name: str) -> None:
    """Raises ``InvalidEventError`` for a document that could not be read again: too large, or a number of it too long.

    ``encoded`` is the text's UTF-8, and None where the text was written by Python, whose floats have few digits. To
    the size each exponent counts as the digits that it stands for.
    """
    if len(text) <= _SHORT:
        if encoded is None or not _may_have_long_number(encoded):
            return
        size = len(encoded)
    else:
        encoded = encoded_text(text, name) if encoded is None else encoded
        size = len(encoded)
        separators = encoded.count(b",") + encoded.count(b":")
        if size + separators <= DOCUMENT_BYTES_MAX and not _may_have_number_that_grows(encoded):
            return
    _check_exactly(text, size, name)


def _may_have_long_number(encoded: bytes) -> bool:
    """Whether there may be a number with a long exponent, or one of many digits: sure where the answer is no."""
    skeleton = encoded.translate(_SKELETON)
    if b"000" in skeleton[::_SAMPLED_EVERY] and _LONG_NUMBER in skeleton:
        return True
    position = skeleton.find(_EXPONENT_AHEAD)
    for _ in range(_LOOKS_MAX):
        if position < 0:
            return False
        before = skeleton[max(position - _NEAR, 0) : position].rstrip(b"0")
        if not before or before.endswith(b":"):  # no letter of a text, such as a UUID's
            return True
        position = skeleton.find(_EXPONENT_AHEAD, position + 1)
    return _may_have_number_that_grows(encoded)


def _may_have_number_that_grows(encoded: bytes) -> bool:
    """The same for any exponent."""
    if b":e:" in encoded.translate(_STRUCTURE, _LEFT_OUT):
        return True
    return _LONG_NUMBER in encoded.translate(_SKELETON)


def _check_exactly(text: str, size: int, name: str) -> None:
    bare = STRING.sub("", text)
    size += bare.count(",") + bare.count(":") - sum(map(bare.count, " \t\r\n"))
    for exponent, count in Counter(_EXPONENT.findall(bare)).items():
        size += count * abs(_shift(exponent))
    if size > DOCUMENT_BYTES_MAX:
        raise _too_large(name, " as the server writes it out, without exponents")
    for match in _LARGE_OR_SMALL.finditer(bare):
        moved = _shift(match[3])
        _check_digits(len(match[1]) + moved, name)
        if math.isinf(float(match[0])):
            raise InvalidEventError(f"{name} has a number with an exponent that is beyond doubles")
        if len(match[2] or "") - moved > FRACTION_DIGITS_MAX:
            raise _too_small(name)
    for match in _OF_MANY_DIGITS.finditer(bare):
        _check_digits(len(match[1]), name)
        if match[2] and len(match[1]) > DOUBLE_DIGITS_MAX:
            raise InvalidEventError(
                f"{name} has a number with a fraction and more than {DOUBLE_DIGITS_MAX} digits before it"
            )
    if _LONG_FRACTION.search(bare):
        raise _too_small(name)


def _check_digits(count: int, name: str) -> None:
    if count > NUMBER_DIGITS_MAX:
        raise InvalidEventError(f"{name} has a number of more than {NUMBER_DIGITS_MAX} digits")


def _too_small(name: str) -> InvalidEventError:
    return InvalidEventError(
        f"{name} has a number of more than {FRACTION_DIGITS_MAX} digits behind its point"
    )


def _shift(exponent: str) -> int:
    sign = -1 if exponent.startswith("-") else 1
    digits = exponent.lstrip("+-").lstrip("0")
    return sign * (int(digits or 0) if len(digits) < 7 else _EXPONENT_MAX)


def _too_large(name: str, how: str = "") -> InvalidEventError:
    return InvalidEventError(f"{name} must be at most {DOCUMENT_BYTES_MAX} bytes{how}")
