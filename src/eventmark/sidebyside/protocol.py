"""What the gate asks of a side, and what it answers: a line of JSON each, over standard input and output.

Each side may be another revision of Eventmark, with its own engine and its own harness. So the two only share
this protocol, which has a version.
"""

from __future__ import annotations

from typing import Any

import msgspec

from eventmark.results.results import PlanResult
from eventmark.sidebyside.unique_keys import UniqueKey
from eventmark.workload import USUAL_SHAPE, CorpusShape

PROTOCOL_VERSION = 1


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a side's store lives. ``store`` is a name or a folder."""

    dsn: str
    schema: str
    store: str


class Corpus(msgspec.Struct, frozen=True, kw_only=True):
    events: int
    seed: int
    tenants: int
    payload: str
    samples: tuple[str, ...] = ()
    shape: CorpusShape = USUAL_SHAPE


class Prepare(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Seed the store in place of what is in its schema, and draw the sample into the file ``sample``."""

    version: int = PROTOCOL_VERSION
    place: Place
    corpus: Corpus
    sample: str


class Examine(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """EXPLAIN every statement."""

    version: int = PROTOCOL_VERSION
    place: Place


class Open(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Open the store for turns. ``fork`` numbers the forks of a side: the same number draws the same arguments."""

    version: int = PROTOCOL_VERSION
    place: Place
    sample: str
    operations: list[str]
    fork: int


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Warm the operation up: so many calls are thrown away, so many told, to see how long one takes."""

    operation: str
    calls: int


class Turn(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Call the operation so often, and tell how long each call took."""

    operation: str
    calls: int


class End(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """No more turns of this operation. What does the server do for a call of it, by the account of so many more?

    With 0 ``calls`` nothing is counted. Nobody else may be at work meanwhile.
    """

    operation: str
    calls: int


Request = Prepare | Examine | Open | Begin | Turn | End


class Prepared(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """``operations`` ask the server and can be measured; ``skipped`` says why others cannot.

    ``unique_keys`` is None where a revision does not tell them.
    """

    eventmark: str
    store: str
    schema_sha256: str
    events: int
    operations: list[str]
    skipped: dict[str, str]
    unique_keys: list[UniqueKey] | None = None


class Examined(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    plans: list[PlanResult]


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Ready for turns."""


class Turned(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Nanoseconds of each call that went right, in their order; ``failed`` others, and what the first one said."""

    samples_ns: list[int]
    failed: int
    failure: str


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The server's work per call, as in a result; empty where it does not tell."""

    work: dict[str, float]


class Failure(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An error of Eventmark's, to be raised again by the gate."""

    message: str
    remedy: str
    exit_code: int


Answer = Prepared | Examined | Opened | Turned | Ended | Failure


def encode(document: Request | Answer) -> bytes:
    return msgspec.json.encode(document)


def decode_request(content: bytes) -> Request:
    """Raises ``msgspec.MsgspecError``."""
    request: Any = msgspec.json.decode(content, type=Request)
    return request  # type: ignore[no-any-return]


def decode_answer(content: bytes) -> Answer:
    """Raises ``msgspec.MsgspecError``."""
    answer: Any = msgspec.json.decode(content, type=Answer)
    return answer  # type: ignore[no-any-return]
