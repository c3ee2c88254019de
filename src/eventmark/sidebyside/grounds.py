"""Where each side is measured: a schema of its own on one server, or a server of its own where it needs one."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlencode

import asyncpg
import msgspec

from eventmark.engine.schema import Purpose, drop_schema
from eventmark.errors import CannotRunError, UsageError
from eventmark.jobs.job import Job
from eventmark.server import provision
from eventmark.server.loop import ask, on_loop
from eventmark.server.search_path import confined_dsn
from eventmark.sidebyside.protocol import Answer, Failure, Place, Request, decode_answer, encode
from eventmark.sidebyside.sides import Side
from eventmark.stores import claimed, drop_scratch, run_id, scratch_name

PROCESS_TIMEOUT_S = 7200.0
_SESSION_CONTEXTS = ("user", "superuser")

_Answer = TypeVar("_Answer", bound=Answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A side and where its store lives."""

    side: Side
    place: Place
    sample: Path

    def ask(self, request: Request, wanted: type[_Answer]) -> _Answer:
        """The side's answer, from a fresh process for it alone. Raises what the side raised, by its name."""
        with self.process() as process:
            return process.ask(request, wanted)

    @contextmanager
    def process(self) -> Iterator[SideProcess]:
        """A fresh process of the side's, ended when the block is left, killed after ``PROCESS_TIMEOUT_S``."""
        with (
            tempfile.TemporaryFile() as words,  # a pipe that nobody reads would fill up and hold the process
            subprocess.Popen(
                [self.side.python, "-m", self.side.program],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, env=self.side.environment,
            ) as running,
        ):  # fmt: skip
            limit = threading.Timer(PROCESS_TIMEOUT_S, running.kill)
            limit.daemon = True
            limit.start()
            try:
                yield SideProcess(self.side, running, words)
            except BaseException:
                running.kill()
                raise
            finally:
                limit.cancel()


@dataclass(frozen=True, slots=True)
class SideProcess:
    """One process of a side: asked, it answers; two may be asked before either has answered."""

    side: Side
    running: subprocess.Popen[bytes]
    words: IO[bytes]

    def ask(self, request: Request, wanted: type[_Answer]) -> _Answer:
        """Raises ``CannotRunError`` or ``UsageError``."""
        self.send(request)
        return self.receive(wanted)

    def send(self, request: Request) -> None:
        assert self.running.stdin is not None
        try:
            self.running.stdin.write(encode(request) + b"\n")
            self.running.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def receive(self, wanted: type[_Answer]) -> _Answer:
        assert self.running.stdout is not None
        line = self.running.stdout.readline()
        try:
            answer = decode_answer(line)
        except msgspec.MsgspecError as error:
            raise self._ended() from error
        if isinstance(answer, Failure):
            kind = UsageError if answer.exit_code == UsageError.exit_code else CannotRunError
            raise kind(f"{self.side.role} {self.side.named}: {answer.message}", remedy=answer.remedy)
        if not isinstance(answer, wanted):
            raise CannotRunError(f"{self.side.role} {self.side.named} answered something else")
        return answer

    def _ended(self) -> CannotRunError:
        self.running.kill()
        self.running.wait()
        self.words.seek(0)
        lines = self.words.read().decode(errors="replace").strip().splitlines()
        return CannotRunError(
            f"{self.side.role} {self.side.named} ended without an answer: {lines[-1] if lines else 'no word'}",
            remedy="run its revision by itself to see what is wrong",
        )


@contextmanager
def grounds(job: Job, sides: tuple[Side, Side], scratch: Path) -> Iterator[tuple[Ground, Ground]]:
    """A ground for each side; schemas are dropped and servers stopped afterwards.

    Raises ``UsageError`` for settings the server does not know, or that need a server of our own.
    """
    names = {name for side in sides for name in side.settings}
    contexts = ask(job.server.dsn, _contexts, names) if names else {}
    for_servers = sorted(name for name, context in contexts.items() if context not in _SESSION_CONTEXTS)
    made: list[Ground] = []
    with ExitStack() as stack:
        for side in sides:
            dsn = _dsn_of(job, side, for_servers, stack)
            on_loop(_check_connects(dsn, side))
            schema = scratch_name(job.schema, f"_gate_{side.role}")
            place = Place(dsn=confined_dsn(dsn, schema), schema=schema, store=side.store)
            ground = Ground(side=side, place=place, sample=scratch / f"{side.role}.sample.json")
            if side.dsn:  # a server that the run has not claimed
                stack.enter_context(claimed(dsn, place.schema))
            ask(dsn, drop_scratch, place.schema)
            # All that the side has made where nothing was before. An older revision's marker tells no purpose.
            stack.callback(
                ask,
                dsn,
                drop_schema,
                place.schema,
                purposes={Purpose.CORPUS, Purpose.SCRATCH},
                owner=run_id(),
            )
            made.append(ground)
        yield made[0], made[1]


def _dsn_of(job: Job, side: Side, for_servers: list[str], stack: ExitStack) -> str:
    if side.dsn:
        return stack.enter_context(provision(side.dsn)).dsn
    if for_servers:
        if job.server.kind not in ("embedded", "local"):
            raise UsageError(
                f"{', '.join(for_servers)} can only be set on a server of our own",
                remedy="use --server embedded or local, or start both servers and name them by DSN",
            )
        return stack.enter_context(provision(job.server.kind, settings=side.settings)).dsn
    return with_settings(job.server.dsn, side)


def with_settings(dsn: str, side: Side) -> str:
    """The DSN with the side's settings, which the driver sets when it connects."""
    if not side.settings:
        return dsn
    return f"{dsn}{'&' if '?' in dsn else '?'}{urlencode(side.settings)}"


async def _check_connects(dsn: str, side: Side) -> None:
    try:
        await (await asyncpg.connect(dsn)).close()
    except asyncpg.PostgresError as error:
        raise UsageError(
            f"{side.role} {side.named}: {str(error).partition(chr(10))[0]}", remedy="correct its settings"
        ) from error


async def _contexts(connection: asyncpg.Connection[Any], names: set[str]) -> dict[str, str]:
    """When each setting can be changed, as the server says."""
    rows = await connection.fetch(
        "select name, context from pg_settings where name = any($1::text[])", sorted(names)
    )
    contexts = {row["name"]: row["context"] for row in rows}
    if unknown := sorted(names - contexts.keys()):
        raise UsageError(f"the server has no setting {', '.join(unknown)}", remedy="see pg_settings")
    return contexts
