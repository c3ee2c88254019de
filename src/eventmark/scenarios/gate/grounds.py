"""Where each side is measured: a schema of its own on one server, or a server of its own where it needs one."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

import asyncpg
import msgspec

from eventmark.errors import CannotRunError, UsageError
from eventmark.scenarios.gate.protocol import Answer, Failure, Place, Request, decode_answer, encode
from eventmark.scenarios.gate.sides import Side
from eventmark.scenarios.job import Job
from eventmark.server import Server, provision
from eventmark.stores import drop_scratch_schema, scratch_name

ANSWER_TIMEOUT_S = 3600.0
_SESSION_CONTEXTS = ("user", "superuser")

_Answer = TypeVar("_Answer", bound=Answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A side and where its store lives."""

    side: Side
    place: Place
    sample: Path

    def ask(self, request: Request, wanted: type[_Answer]) -> _Answer:
        """The side's answer, from a fresh process of its own. Raises what the side raised, by its name."""
        done = subprocess.run(
            [self.side.python, "-m", "eventmark.scenarios.gate.side"],
            input=encode(request), capture_output=True, timeout=ANSWER_TIMEOUT_S, check=False,
            env=self.side.environment,
        )  # fmt: skip
        answer = self._read(done)
        if isinstance(answer, Failure):
            kind = UsageError if answer.exit_code == UsageError.exit_code else CannotRunError
            raise kind(f"{self.side.role} {self.side.named}: {answer.message}", remedy=answer.remedy)
        if not isinstance(answer, wanted):
            raise CannotRunError(f"{self.side.role} {self.side.named} answered something else")
        return answer

    def _read(self, done: subprocess.CompletedProcess[bytes]) -> Answer:
        try:
            return decode_answer(done.stdout)
        except msgspec.MsgspecError as error:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise CannotRunError(
                f"{self.side.role} {self.side.named} ended without an answer: {said[-1] if said else error}",
                remedy="run its revision by itself to see what is wrong",
            ) from error


@contextmanager
def grounds(job: Job, sides: Iterable[Side], scratch: Path) -> Iterator[list[Ground]]:
    """A ground for each side; schemas are dropped and servers stopped afterwards.

    Raises ``UsageError`` for settings the server does not know, or that need a server of our own.
    """
    listed = list(sides)
    contexts = asyncio.run(_contexts(job.server, {name for side in listed for name in side.settings}))
    own_server = any(context not in _SESSION_CONTEXTS for context in contexts.values())
    made: list[Ground] = []
    with ExitStack() as stack:
        for side in listed:
            dsn = _dsn_of(job, side, own_server, stack)
            place = Place(dsn=dsn, schema=scratch_name(job.schema, f"_gate_{side.role}"), store=side.store)
            ground = Ground(side=side, place=place, sample=scratch / f"{side.role}.sample.json")
            stack.callback(_drop, place)
            _drop(place)
            made.append(ground)
        yield made


def _drop(place: Place) -> None:
    asyncio.run(drop_scratch_schema(place.dsn, place.schema))


def _dsn_of(job: Job, side: Side, own_server: bool, stack: ExitStack) -> str:
    if side.dsn:
        stack.enter_context(provision(side.dsn))  # checks that it may be tested
        return side.dsn
    if own_server:
        if job.server.kind not in ("embedded", "local"):
            raise UsageError(
                f"{', '.join(side.settings)} can only be set on a server of our own",
                remedy="use --server embedded or local, or start both servers and name them by DSN",
            )
        return stack.enter_context(provision(job.server.kind, settings=side.settings)).dsn
    return with_settings(job.server.dsn, side)


def with_settings(dsn: str, side: Side) -> str:
    """The DSN with the side's settings, which the driver sets when it connects."""
    if not side.settings:
        return dsn
    return f"{dsn}{'&' if '?' in dsn else '?'}{urlencode(side.settings)}"


async def _contexts(server: Server, names: set[str]) -> dict[str, str]:
    """When each setting can be changed, as the server says."""
    if not names:
        return {}
    connection = await asyncpg.connect(server.dsn)
    try:
        rows = await connection.fetch(
            "select name, context from pg_settings where name = any($1::text[])", sorted(names)
        )
    finally:
        await connection.close()
    found = {row["name"]: row["context"] for row in rows}
    if unknown := sorted(names - found.keys()):
        raise UsageError(f"the server has no setting {', '.join(unknown)}", remedy="see pg_settings")
    return found
