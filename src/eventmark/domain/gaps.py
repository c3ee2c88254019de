"""Sets of global sequence numbers as sorted ranges: what a consumer has passed but not seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eventmark.errors import TokenRefusedError

Gaps = tuple[tuple[int, int], ...]
"""Numbers as ranges ``(first, last)``, both within; ascending, neither overlapping nor touching."""

NUMBER_MAX = 2**64 - 1


def joined(ranges: Iterable[tuple[int, int]]) -> Gaps:
    """``Gaps`` made of ranges that may overlap and come in any order."""
    result: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        else:
            result.append((first, last))
    return tuple(result)


def common(gaps: Gaps, other: Gaps) -> Gaps:
    """The numbers that are in both."""
    result = []
    here, there = list(reversed(gaps)), list(reversed(other))
    while here and there:
        first, last = max(here[-1][0], there[-1][0]), min(here[-1][1], there[-1][1])
        if first <= last:
            result.append((first, last))
        (here if here[-1][1] < there[-1][1] else there).pop()
    return tuple(result)


def above(gaps: Gaps, number: int) -> Gaps:
    """The numbers greater than ``number``."""
    return tuple((max(first, number + 1), last) for first, last in gaps if last > number)


def up_to(gaps: Gaps, number: int) -> Gaps:
    """The numbers that are at most ``number``."""
    return tuple((first, min(last, number)) for first, last in gaps if first <= number)


def without(gaps: Gaps, numbers: Iterable[int]) -> Gaps:
    """The gaps without ``numbers``, which must ascend."""
    result: list[tuple[int, int]] = []
    taken = iter(numbers)
    number = next(taken, NUMBER_MAX + 1)
    for first, last in gaps:
        begin = first
        while number <= last:
            if begin < number:
                result.append((begin, number - 1))
            begin = max(begin, number + 1)
            number = next(taken, NUMBER_MAX + 1)
        if begin <= last:
            result.append((begin, last))
    return tuple(result)


def count(gaps: Gaps) -> int:
    """How many numbers there are."""
    return sum(last - first + 1 for first, last in gaps)


def is_sound(gaps: Gaps, below: int) -> bool:
    """Whether these are ``Gaps``, and all numbers are from 1 to ``below - 1``."""
    before = -1
    for first, last in gaps:
        if not before + 1 < first <= last or first < 1:
            return False
        before = last
    return before < below


def encoded(gaps: Gaps) -> bytes:
    """Distances as variable-length integers, 7 bits a byte: a gap of one number usually takes 2 or 3 bytes."""
    result = bytearray()
    before = 0
    for first, last in gaps:
        for distance in (first - before, last - first):
            rest = distance
            while rest > 127:
                result.append(rest & 127 | 128)
                rest >>= 7
            result.append(rest)
        before = last
    return bytes(result)


def decoded(data: bytes) -> Gaps:
    """What ``encoded`` wrote. Raises ``TokenRefusedError`` on anything else."""
    result = []
    before = 0
    numbers = _numbers(data)
    for distance in numbers:
        first = before + distance
        before = first + next(numbers, 0)
        result.append((first, before))
    if encoded(tuple(result)) != data:
        raise TokenRefusedError("the token's gaps are damaged")
    return tuple(result)


def _numbers(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            yield number
            number = shift = 0
        elif shift > 63:
            raise TokenRefusedError("the token's gaps are damaged")
