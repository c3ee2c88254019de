"""The mix of a load: which operations, how often each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from eventmark.domain import Capabilities
from eventmark.errors import UsageError
from eventmark.operations.catalogue import OPERATIONS
from eventmark.seeding import CorpusSample

DEFAULT_MIX = (
    "append_events[1]=70, append_events[10]=8, append_events[100]=2, load_aggregate[1000]=5, "
    "stream_events[1000]=5, store_snapshot=3, read_snapshot=5, create_token_at=1, create_head_token=1"
)
_EXAMPLE = 'write for example "append_events[1]=90, load_aggregate[1000]=10"'
_PART = re.compile(r"\s*(?P<name>[\w\[\]]+)\s*=\s*(?P<weight>\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True, slots=True)
class Mix:
    """Operations by name with their shares of all calls, which sum to 1."""

    shares: Mapping[str, float]

    def __post_init__(self) -> None:
        assert self.shares and abs(sum(self.shares.values()) - 1) < 1e-9

    @classmethod
    def of(cls, weights: Mapping[str, float]) -> Mix:
        """From weights above 0 of any sum."""
        total = sum(weights.values())
        return cls({name: weight / total for name, weight in weights.items()})

    def available(
        self, capabilities: Capabilities, sample: CorpusSample
    ) -> tuple[Mix | None, dict[str, str]]:
        """The mix without what this store and corpus cannot do, and why not by name; None where nothing is left."""
        missing = {
            name: reason for name in self.shares if (reason := OPERATIONS[name].missing(capabilities, sample))
        }
        left = {name: share for name, share in self.shares.items() if name not in missing}
        return (Mix.of(left) if left else None), missing

    def __str__(self) -> str:
        return ", ".join(f"{name}={100 * share:.4g}" for name, share in self.shares.items())


def parse_mix(text: str) -> Mix:
    """``name=weight, name=weight, ...``; the empty text is the default mix. Raises ``UsageError``."""
    weights: dict[str, float] = {}
    for part in (text.strip() or DEFAULT_MIX).split(","):
        name, weight = _parsed(part)
        if name in weights:
            raise UsageError(f"{name} stands twice in the mix", remedy=_EXAMPLE)
        weights[name] = weight
    return Mix.of(weights)


def _parsed(part: str) -> tuple[str, float]:
    match = _PART.fullmatch(part)
    if match is None:
        raise UsageError(f"{part.strip()!r} is not a part of a mix", remedy=_EXAMPLE)
    name, weight = match["name"], float(match["weight"])
    if name not in OPERATIONS:
        nearest = difflib.get_close_matches(name, OPERATIONS, 1)
        raise UsageError(
            f"unknown operation {name!r} in the mix" + (f", did you mean {nearest[0]!r}?" if nearest else ""),
            remedy=f"operations are {', '.join(OPERATIONS)}",
        )
    if weight <= 0:
        raise UsageError(f"the weight of {name} must be above 0, got {weight:g}", remedy=_EXAMPLE)
    return name, weight
