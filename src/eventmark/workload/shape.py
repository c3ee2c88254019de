"""How a corpus' events spread over tenants, streams and sizes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from eventmark.config import parse_share
from eventmark.errors import UsageError

PAYLOAD_BYTES_MIN = 100  # what its fields take at least; the profile lean has smaller ones
PAYLOAD_BYTES_MAX = 100_000
STREAM_LENGTH_MAX = 100.0
_SIZES = re.compile(r"(?P<share>[0-9.]+%):(?P<low>[0-9]+)-(?P<high>[0-9]+)")
_SIZES_EXAMPLE = "70%:100-500,25%:1000-5000,5%:5001-10000"


@dataclass(frozen=True, slots=True)
class SizeClass:
    """``share`` of the payloads have from ``low_bytes`` to ``high_bytes``, evenly spread."""

    name: str
    share: float
    low_bytes: int
    high_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusShape:
    """``large_tenants`` and ``large_events`` are shares: of the tenants, and of the events that those own together.

    ``stream_length`` is the median, in events; lengths are long-tailed. ``payload_sizes``: in place of a profile's.
    Raises ``UsageError`` for what cannot be seeded.
    """

    large_tenants: float = 0.2
    large_events: float = 0.8
    stream_length: float = 4.0
    payload_sizes: tuple[SizeClass, ...] = ()

    def __str__(self) -> str:
        sizes = ",".join(
            f"{100 * payload_size.share:g}%:{payload_size.low_bytes}-{payload_size.high_bytes}"
            for payload_size in self.payload_sizes
        )
        return (
            f"{self.large_tenants:.0%} of the tenants own {self.large_events:.0%},"
            f" streams of {self.stream_length:g} events" + (f", sizes {sizes}" if sizes else "")
        )

    def __post_init__(self) -> None:
        for name in ("large_tenants", "large_events"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(
                    f"{name} of {getattr(self, name):.0%} leaves nothing to the others",
                    remedy="name a share between 0% and 100%",
                )
        if self.large_events < self.large_tenants:
            raise UsageError(
                f"large tenants, {self.large_tenants:.0%} of all, would own {self.large_events:.0%} of the events",
                remedy="let large_events be larger than large_tenants",
            )
        if not 1 <= self.stream_length <= STREAM_LENGTH_MAX:  # no number is not in there either
            raise UsageError(
                f"streams of {self.stream_length:g} events cannot be seeded",
                remedy=f"name a median from 1 to {STREAM_LENGTH_MAX:g} events",
            )


def parse_sizes(text: str) -> tuple[SizeClass, ...]:
    """``70%:100-500,30%:1000-5000`` as classes. Raises ``UsageError`` unless their shares sum to 100%."""
    classes: list[SizeClass] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _SIZES.fullmatch(part)
        if match is None:
            raise UsageError(f"{part!r} is no share of payload sizes", remedy=f"write {_SIZES_EXAMPLE!r}")
        low, high = int(match["low"]), int(match["high"])
        if not PAYLOAD_BYTES_MIN <= low <= high <= PAYLOAD_BYTES_MAX:
            raise UsageError(
                f"payloads of {low} to {high} bytes cannot be made",
                remedy=f"name {PAYLOAD_BYTES_MIN} to {PAYLOAD_BYTES_MAX:,} bytes",
            )
        classes.append(SizeClass(f"class {len(classes) + 1}", parse_share(match["share"]), low, high))
    if classes and abs(sum(size_class.share for size_class in classes) - 1) > 1e-6:
        raise UsageError(
            f"the shares of payload sizes sum to {sum(size_class.share for size_class in classes):.4g}, not 100%",
            remedy=f"write {_SIZES_EXAMPLE!r}",
        )
    return tuple(classes)


USUAL_SHAPE = CorpusShape()
