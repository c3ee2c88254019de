"""What a store may leave to its clients: taken without a promise to refuse it, it is reported, and breaks nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eventmark.verify.checker import Fault

FOLLOWS = "I8"
_NO_PROMISE = "(store.toml does not promise to refuse it)"


@dataclass(frozen=True, slots=True)
class _Left:
    """The invariant that clients must see to, the faults that follow where they do not, and what they must do."""

    invariant: str
    faults: tuple[str, ...]  # how they begin
    why: str


_LEFT = {
    "repeated ids": _Left(
        "I3",  # and what a history cannot tell of two events with one id
        (
            "stored twice", "stored at another place", "accepted with an id that is stored", "duplicated of",
            "out of order of",
        ),
        f"the store takes an event id that it has: its clients must not send one again {_NO_PROMISE}",
    ),
    "future versions": _Left(
        "I4", ("gaps or repetitions",),
        f"the store takes a version beyond a stream's last one: its clients must know the version {_NO_PROMISE}",
    ),
    "late transactions": _Left(
        FOLLOWS, ("out of order of", "stored before their predecessors"),
        "the store lets a transaction with an early id follow a younger one's event: its clients must append before"
        f" they write anything else {_NO_PROMISE}",
    ),
}  # fmt: skip


def left_to_clients(refusal: str, faults: Sequence[Fault]) -> tuple[Mapping[str, str], Sequence[Fault]]:
    """Of the faults that were met when the store was asked for this refusal alone: the invariant that it leaves to its
    clients, with what they must see to, and the faults that have another cause."""
    left = _LEFT[refusal]
    others = [fault for fault in faults if not fault.what.startswith(left.faults)]
    return {left.invariant: left.why} if len(others) < len(faults) else {}, others
