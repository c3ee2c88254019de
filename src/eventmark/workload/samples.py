"""Payloads after a sample of the user's own: its shapes, its sizes, and its text, or other text in its place."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

import numpy as np

from eventmark.workload.shape import SizeClass

VARIANTS_MIN = 2000  # as many payloads at least are made of a sample, however small it is
_STRINGS_AND_NUMBERS = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*')
_WORDS_AND_DIGITS = re.compile(r"[^\W0-9_]+|[0-9]")
_LETTERS = {
    1: string.ascii_lowercase,
    2: "äçéíñöøüžš",
    3: "事件物流貨幣時間地名",
    4: "𐐨𐐩𐐪𐐫𐐬𐐭𐐮𐐯𐐰𐐱",
}  # by bytes in UTF-8


def written(document: Any) -> str:
    """As PostgreSQL writes jsonb but for the order of keys, so that its size is that of ``payload::text`` there."""
    return json.dumps(document, ensure_ascii=False)


def variants(samples: Sequence[str], random: np.random.Generator) -> list[str]:
    """Each sample equally often, ``VARIANTS_MIN`` or more in all: as it is, but each number with other digits."""
    drawn = Random(int(random.integers(2**63)))
    rounds = -(-VARIANTS_MIN // len(samples))
    return [_with_other_numbers(sample, drawn) for _ in range(rounds) for sample in samples]


def size_classes(payloads: Sequence[str]) -> tuple[SizeClass, ...]:
    """The smaller, the middle and the larger third of the payloads; fewer where many are of one size."""
    sizes = np.sort([len(payload.encode()) for payload in payloads])
    ends = np.unique(np.quantile(sizes, [1 / 3, 2 / 3, 1.0], method="inverted_cdf")).tolist()
    classes = []
    for low, high in zip([0, *(end + 1 for end in ends[:-1])], ends, strict=True):
        here = sizes[(sizes >= low) & (sizes <= high)]
        classes.append(SizeClass("sampled", len(here) / len(sizes), int(here[0]), int(here[-1])))
    return tuple(classes)


def anonymised(samples: Iterable[str]) -> list[str]:
    """The samples with every word, digit and key replaced: nothing of them is left but shape, size and punctuation.

    A word becomes the same other word wherever it is met, as long in bytes: what repeats goes on to repeat, and
    compresses as before. Which one follows from how many were met before, not from the word.
    """
    words = _Words()
    return [written(words.replaced(json.loads(sample))) for sample in samples]


class _Words:
    """Words and what each became."""

    def __init__(self) -> None:
        self._random = Random(1)
        self._became: dict[str, str] = {}
        self._used: set[str] = set()

    def replaced(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self._text(key): self.replaced(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.replaced(item) for item in value]
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return json.loads(_with_other_digits(json.dumps(value), self._random))
        return value

    def _text(self, text: str) -> str:
        return _WORDS_AND_DIGITS.sub(lambda met: self._other(met[0]), text)

    def _other(self, word: str) -> str:
        if word.isdigit():
            return self._random.choice(string.digits)
        if word not in self._became:
            self._became[word] = self._drawn(word)
        return self._became[word]

    def _drawn(self, word: str) -> str:
        """Another word of the same form; one that no other word became, as long as there are enough of that length."""
        for _ in range(100):
            other = "".join(self._letter(letter) for letter in word)
            if other != word and other not in self._used:
                break
        self._used.add(other)
        return other

    def _letter(self, letter: str) -> str:
        letters = _LETTERS[len(letter.encode())]
        other = self._random.choice([candidate for candidate in letters if candidate != letter.lower()])
        return other.upper() if letter.isupper() and letter.isascii() else other


def _with_other_numbers(document: str, random: Random) -> str:
    def other(match: re.Match[str]) -> str:
        return match[0] if match[0].startswith('"') else _with_other_digits(match[0], random)

    return _STRINGS_AND_NUMBERS.sub(other, document)


def _with_other_digits(number: str, random: Random) -> str:
    """A number written as long: its exponent stays, and zero stays in front of a point or alone."""
    digits, mark, exponent = (
        re.split("([eE])", number, maxsplit=1) if re.search("[eE]", number) else (number, "", "")
    )
    whole, point, part = digits.partition(".")
    if whole.lstrip("-") != "0":
        whole = re.sub("[0-9]", lambda _: random.choice("123456789"), whole)
    return whole + point + re.sub("[0-9]", lambda _: random.choice("123456789"), part) + mark + exponent
