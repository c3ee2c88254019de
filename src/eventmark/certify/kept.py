"""Parts that are finished, kept in the output directory, so that a certification can go on where it ended."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from eventmark.certify.criteria import Part
from eventmark.errors import UsageError
from eventmark.jobs.job import Job
from eventmark.results.files import read_result, write_result, write_whole
from eventmark.results.results import RunResult

FOLDER, HEAD = "parts", "certification.json"


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """What the parts in a folder are of: parts of anything else answer another question."""

    store: str
    digest: str  # of the store's schema, statements and targets
    server: str
    events: int
    corpus: str


@dataclass(frozen=True, slots=True)
class KeptParts:
    """The folder ``out``/parts."""

    out: Path

    def begin(self, job: Job) -> None:
        """An empty folder, for parts of this job. Raises ``CannotRunError`` where it cannot be written."""
        for part in Part:
            self._path(part).unlink(missing_ok=True)
        write_whole(self._head, msgspec.json.encode(_head(job)))

    def finished(self, job: Job) -> dict[Part, RunResult]:
        """What there is of this job. Raises ``UsageError`` where the folder holds nothing, or something else."""
        self._check(_head(job))
        return {part: read_result(self._path(part)) for part in Part if self._path(part).exists()}

    def keep(self, part: Part, result: RunResult) -> None:
        write_result(result, self._path(part))

    def _check(self, head: _Head) -> None:
        try:
            kept = msgspec.json.decode(self._head.read_bytes(), type=_Head)
        except FileNotFoundError:
            raise UsageError(
                f"{self.out} holds no certification to resume", remedy="leave --resume out"
            ) from None
        except (OSError, msgspec.MsgspecError) as error:
            raise UsageError(f"{self._head} cannot be read: {error}", remedy="leave --resume out") from error
        for name in head.__struct_fields__:
            if getattr(kept, name) != getattr(head, name):
                what = "store, its files or its targets" if name == "digest" else name
                raise UsageError(
                    f"the certification in {self.out} was made with another {what}",
                    remedy="give it the same settings, or leave --resume out",
                )

    @property
    def _head(self) -> Path:
        return self.out / FOLDER / HEAD

    def _path(self, part: Part) -> Path:
        return self.out / FOLDER / f"{part}.json"


def _head(job: Job) -> _Head:
    definition, corpus = job.definition, job.corpus
    texts = [
        definition.schema_sha256,
        *(f"{name}\n{statement.template}" for name, statement in sorted(definition.statements.items())),
        *(f"{name} {target}" for name, target in sorted(job.targets.items())),
    ]
    return _Head(
        store=definition.name, digest=hashlib.sha256("\n".join(texts).encode()).hexdigest(),
        server=job.server.kind if job.server.ours else job.server.address, events=corpus.events,
        corpus=f"{len(corpus.tenants)} tenants, {corpus.payload_profile}, seed {corpus.seed}, aged {job.aged}"
        + corpus.another_shape
        if job.existing is None else f"existing in {job.schema}, appends {job.existing.appends}",
    )  # fmt: skip
