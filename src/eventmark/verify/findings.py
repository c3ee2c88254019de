"""Faults as findings: what happened, why it matters, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from eventmark.results.results import Finding, Verdict
from eventmark.verify.checker import INVARIANTS, Fault

LOST = "Your consumers miss events"
_PLACES = {
    "tail": "a consumer that reads from the log's start",
    "head": "a consumer that began at the log's end",
    "middle": "a consumer that began at an instant",
}
_CAUSES = {
    True: "reads by number, and a transaction with a lower number committed after a higher one was read",
    False: "reads by transaction id, and a transaction with a lower id committed after a higher one was read",
}
_BEGUN_BEYOND = "the consumer's first token was beyond a transaction that was still running"
_ORDERING_PAGE = "docs/ordering.md, 'In a store of SQL files'"
READ_BELOW = (
    "Read below the oldest transaction that is still running: add `written_by xid8 default pg_current_xact_id()`, "
    f"an index that begins with it, and this WHERE: {_ORDERING_PAGE}."
)
TOKENS_BELOW = f"Let tokens be made below the oldest transaction that is still running: {_ORDERING_PAGE}."
REMEDIES = {
    "out of order": f"let append_events.sql refuse to follow an event of a younger transaction ({_ORDERING_PAGE})",
    "stored before their predecessors": (
        f"let append_events.sql refuse to follow an event of a younger transaction ({_ORDERING_PAGE})"
    ),
    "acknowledged and not stored": "an append that stores nothing must be refused: no ON CONFLICT DO NOTHING",
    "stored twice": "make the event id unique within its tenant",
    "gaps or repetitions": "compare the expected version with the stream's last one in append_events.sql",
    "won by several": "make tenant, stream and sequence number unique together",
    "stored at another place": "refuse an append whose expected version is not the stream's last one",
    "stored in part": "append the whole batch in one transaction",
    "stored by several transactions": "append the whole batch in one transaction",
    "events of other tenants": "compare the tenant in the WHERE of every statement that reads",
    "events changed by another": "let the tenant lead every unique key",
    "appends refused for what another tenant": "let the tenant lead every unique key",
    "snapshots of other tenants": "compare the tenant in read_snapshot.sql, and let it lead the key of snapshots",
    "duplicated": "read events beyond the token alone: >, not >=",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How consumers read: by number or by transaction id, and with which file; "" for the engine's own."""

    by_number: bool
    statement: str = ""


def findings(
    faults: Iterable[Fault],
    *,
    reader: Reader | None = None,
    not_asked: Mapping[str, str] | None = None,
    undecided: Mapping[str, str] | None = None,
    notes: Mapping[str, str] | None = None,
) -> list[Finding]:
    """One for each invariant that was asked for, and one more for each further fault of it.

    ``undecided`` maps invariants that nothing put to the test to what was missing, ``notes`` those that held to what
    is to be known of it.
    """
    by_invariant: dict[str, list[Fault]] = {name: [] for name in INVARIANTS}
    for fault in faults:
        by_invariant[fault.invariant].append(fault)
    reader = reader or Reader(by_number=False)
    result: list[Finding] = []
    for name, rule in INVARIANTS.items():
        if by_invariant[name]:
            result += [_broken(name, rule, fault, reader) for fault in by_invariant[name]]
        elif name not in (not_asked or {}):
            result.append(_held(name, rule, (undecided or {}).get(name, ""), (notes or {}).get(name, "")))
    return result


def described_fault(fault: Fault, reader: Reader) -> str:
    """What is wrong, in a sentence that stands alone."""
    if not fault.what.startswith("lost"):
        return f"{fault.count:,} {fault.what}"
    begun, _, whose = fault.consumer.partition(", ")
    text = (
        f"{LOST}: {_PLACES.get(begun, 'a consumer')}{f' ({whose})' if whose else ''} never "
        f"received {fault.count:,} of {fault.due:,} committed events. They are in the table."
    )
    if 2 * fault.begun_beyond >= fault.count:
        text += f" Cause: {_BEGUN_BEYOND}."
    elif 2 * fault.passed >= fault.count:
        statement = f"`{reader.statement}`" if reader.statement else "the ordering"
        text += f" Cause: {statement} {_CAUSES[reader.by_number]}."
    return text


def merged(faults: Sequence[Fault], forced: Sequence[Fault]) -> list[Fault]:
    """Those of the hunt, and of the forced interleavings what the hunt itself did not meet."""
    known = {(fault.invariant, fault.what) for fault in faults}
    return [*faults, *(fault for fault in forced if (fault.invariant, fault.what) not in known)]


def _held(name: str, rule: str, undecided: str, note: str) -> Finding:
    if undecided:
        return Finding(
            name=name, verdict=Verdict.INCONCLUSIVE, observed=undecided, expected=rule,
            remedy="hunt with more --events, or on a quieter machine",
        )  # fmt: skip
    return Finding(name=name, verdict=Verdict.MET, observed=f"no exception{note}", expected=rule)


def _broken(name: str, rule: str, fault: Fault, reader: Reader) -> Finding:
    examples = "; ".join(fault.examples)
    return Finding(
        name=name, verdict=Verdict.BROKEN, expected=rule, remedy=_remedy(fault),
        observed=described_fault(fault, reader) + (f" Such as {examples}." if examples else ""),
    )  # fmt: skip


def _remedy(fault: Fault) -> str:
    if fault.what.startswith("lost"):
        begun_beyond, passed = (2 * count >= fault.count for count in (fault.begun_beyond, fault.passed))
        return TOKENS_BELOW if begun_beyond else READ_BELOW if passed else ""
    return next((remedy for what, remedy in REMEDIES.items() if fault.what.startswith(what)), "")
