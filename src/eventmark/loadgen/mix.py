"""The mix of a load: which operations, how often each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eventmark.domain import Capabilities
from eventmark.engine.statements import Statement
from eventmark.errors import UsageError
from eventmark.operations.catalogue import OPERATIONS
from eventmark.operations.operation import Operation
from eventmark.operations.own import OwnStatement
from eventmark.results.targets import is_own
from eventmark.seeding import CorpusSample
from eventmark.stores import read_own

DEFAULT_MIX = (
    "append_events[1]=70, append_events[10]=8, append_events[100]=2, load_aggregate[1000]=5, "
    "stream_events[1000]=5, store_snapshot=3, read_snapshot=5, create_token_at=1, create_head_token=1"
)
_EXAMPLE = 'write for example "append_events[1]=90, load_aggregate[1000]=10"'
_PART = re.compile(r"\s*(?P<name>[\w\[\]]+|[^=,]*\.sql)\s*=\s*(?P<weight>\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True, slots=True)
class Mix:
    """Operations by name with their shares of all calls, which sum to 1.

    ``own`` are the statements of the user's own among them: their texts travel with the mix.
    """

    shares: Mapping[str, float]
    own: Mapping[str, Statement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.shares and abs(sum(self.shares.values()) - 1) < 1e-9

    @classmethod
    def of(cls, weights: Mapping[str, float], own: Mapping[str, Statement] | None = None) -> Mix:
        """From weights above 0 of any sum, for core operations and for statements of ``own``."""
        total = sum(weights.values())
        return cls({name: weight / total for name, weight in weights.items()}, own or {})

    def only(self, names: Iterable[str]) -> Mix:
        """The mix of these of its operations alone."""
        return Mix.of({name: self.shares[name] for name in names}, self.own)

    def operation(self, name: str) -> type[Operation]:
        """The operation of that name, of the core or the user's own."""
        return OwnStatement.of(self.own[name]) if name in self.own else OPERATIONS[name]

    def available(
        self, capabilities: Capabilities, sample: CorpusSample
    ) -> tuple[Mix | None, dict[str, str]]:
        """The mix without what this store and corpus cannot do, and why not by name; None where nothing is left."""
        missing = {
            name: reason
            for name in self.shares
            if (reason := self.operation(name).missing(capabilities, sample))
        }
        left = [name for name in self.shares if name not in missing]
        return (self.only(left) if left else None), missing

    def __str__(self) -> str:
        return ", ".join(f"{name}={100 * share:.4g}" for name, share in self.shares.items())


def parse_mix(text: str) -> Mix:
    """``name=weight, name=weight, ...``; the empty text is the default mix.

    A name that ends in .sql is the path of a statement of the user's own, which is read. Raises ``UsageError``.
    """
    weights: dict[str, float] = {}
    own: dict[str, Statement] = {}
    for part in (text.strip() or DEFAULT_MIX).split(","):
        name, weight = _parsed(part)
        if is_own(name):
            path = Path(name).expanduser()
            name = path.name
        if name in weights:
            raise UsageError(f"{name} occurs twice in the mix", remedy=_EXAMPLE)
        if is_own(name):
            own[name] = read_own(path)
        weights[name] = weight
    return Mix.of(weights, own)


def _parsed(part: str) -> tuple[str, float]:
    match = _PART.fullmatch(part)
    if match is None:
        raise UsageError(f"{part.strip()!r} is not a part of a mix", remedy=_EXAMPLE)
    name, weight = match["name"], float(match["weight"])
    if name not in OPERATIONS and not is_own(name):
        nearest = difflib.get_close_matches(name, OPERATIONS, 1)
        raise UsageError(
            f"unknown operation {name!r} in the mix" + (f", did you mean {nearest[0]!r}?" if nearest else ""),
            remedy=f"operations are {', '.join(OPERATIONS)}, and files of your own, such as sql/orders.sql",
        )
    if weight <= 0:
        raise UsageError(f"the weight of {name} must be above 0, got {weight:g}", remedy=_EXAMPLE)
    return name, weight
